/*
 * source_lists: the forms of a list. Contract: source_lists.h.
 *
 * Lists that metadata.jwt says so of are fetched compressed. That only spares bytes: whatever is wrong with such a
 * file, the plain list is fetched in its place.
 */
#include "otaclient/source_lists.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/image/list_text.h"

enum {
	ZST_TRIES_MAX = 3, /* the plain list will do */
};

static int map_text(int fd, uint64_t size, struct image_text *text)
{
	void *at;

	if (size == 0)
		return 0;
	at = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	text->text = at;
	text->len_bytes = size;
	return 0;
}

/* One form of a list. */
static int fetch_form(struct source *s, const struct image *image, struct source_part *part,
	struct image_text *text, struct ota_err *err)
{
	int r = source_part_fetch_file(s, part, image->base_url, err);

	if (r == 0) {
		r = map_text(part->fd, part->n_bytes, text);
		r = r < 0 ? source_part_failed(r, part, err) : 0;
	}
	closep(&part->fd);
	return r;
}

/* 1: the plain list has to be fetched. */
static int fetch_compressed(struct source *s, const struct image *image,
	const struct image_part *signed_part, struct image_text *text, struct ota_err *err)
{
	char name[IMAGE_META_ZST_NAME_MAX];
	struct source_part part = {
		.name = name,
		.max_bytes = LIST_TEXT_MAX_BYTES,
		.digest = &signed_part->digest,
		.is_zst = true,
		.tries_max = ZST_TRIES_MAX,
		.fd = -1,
	};
	struct ota_err why = {0};
	int r;

	if (!image_meta_has_zst(&image->meta, signed_part))
		return 1;
	image_part_zst_name(signed_part, name);
	r = fetch_form(s, image, &part, text, &why);
	if (r == 0)
		return 0;
	if (!part.done) { /* an abort, or there is no network: that is not the file's */
		*err = why;
		return r;
	}
	log_warning(
		"The image's %s is fetched in place of %s: %s", signed_part->name, name, why.msg);
	return 1;
}

int source_text_fetch(struct source *s, const struct image *image,
	const struct image_part *signed_part, unsigned tries_max, struct image_text *text,
	struct ota_err *err)
{
	struct source_part part = {
		.tries_max = tries_max,
		.name = signed_part->name,
		.max_bytes = LIST_TEXT_MAX_BYTES,
		.digest = &signed_part->digest,
		.outlast_outages = true, /* part_wait() watches for inactivity */
		.fd = -1,
	};
	int r = fetch_compressed(s, image, signed_part, text, err);

	if (r > 0)
		r = fetch_form(s, image, &part, text, err);
	if (r < 0)
		return r;
	memcpy(text->name, signed_part->name, sizeof(text->name));
	return 0;
}

void source_text_done(struct image_text *text)
{
	if (text->len_bytes > 0)
		munmap((void *)(uintptr_t)text->text, text->len_bytes);
}
