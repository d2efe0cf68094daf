/*
 * source_lists: the forms of a list. Contract: source_lists.h.
 *
 * In turn: the running system's own, if it is the very same; a patch from that; compressed; plain. All but the last
 * only spare bytes: whatever is wrong with one, the next is tried.
 */
#include "otaclient/source/source_lists.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/base/log.h"
#include "common/image/list_text.h"
#include "otaclient/slot/file_copy.h"

enum {
	ZST_TRIES_MAX = 3, /* the plain list will do */
	PATCH_TRIES_MAX = 1,
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

/* ---- from the running system's list ---- */

/* A copy: what the table borrows must not be a file that others may write to. */
static int copy_old(struct source *s, const struct image_part *old_part, struct source_part *part,
	struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	struct digest digest;
	int r = old_lists_file(&s->old, old_part, &fd, err);

	if (r == 0)
		r = source_part_scratch(s, part, err);
	if (r < 0)
		return r;
	digest_start(s->digest);
	r = file_copy(
		&(struct file_copy){
			.src_fd = fd,
			.dst_fd = part->fd,
			.max_bytes = part->max_bytes,
			.hash = s->digest,
			.stop = s->config->stop,
			.stop_ctx = s->config->ctx,
		},
		&part->n_bytes);
	if (r == -ECANCELED)
		return source_stopped(err);
	if (r < 0 && r != -EPIPE && r != -EFBIG)
		return source_part_failed(r, part, err);
	digest_final(s->digest, &digest);
	return r < 0 || !digest_equal(&digest, part->digest) ? old_lists_wrong(old_part, err) : 0;
}

/* 1: it has another one. */
static int take_same(struct source *s, const struct image_part *old_part,
	const struct image_part *signed_part, struct image_text *text, struct ota_err *err)
{
	struct source_part part = {
		.name = signed_part->name,
		.max_bytes = LIST_TEXT_MAX_BYTES,
		.digest = &signed_part->digest,
		.fd = -1,
	};
	struct ota_err why = {0};
	int r;

	if (!digest_equal(&old_part->digest, &signed_part->digest))
		return 1;
	r = copy_old(s, old_part, &part, &why);
	if (r == 0) {
		r = map_text(part.fd, part.n_bytes, text);
		r = r < 0 ? source_part_failed(r, &part, &why) : 0;
	}
	closep(&part.fd);
	if (r == 0)
		return 0;
	if (r == -ECANCELED) {
		*err = why;
		return r;
	}
	log_warning("The image's %s is fetched, although it is the running system's: %s",
		signed_part->name, why.msg);
	return 1;
}

/* The older list, open, with the bytes that the patch was made for. */
static int open_base(struct source *s, const struct image_part *old_part,
	const struct list_patch *patch, int *ret_fd, struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	struct digest digest;
	struct stat st;
	uint64_t size;
	int r = old_lists_file(&s->old, old_part, &fd, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != patch->old_bytes)
		return old_lists_wrong(old_part, err);
	r = digest_of_fd_unless(s->digest, fd, s->config->stop, s->config->ctx, &digest, &size);
	if (r == -ECANCELED)
		return source_stopped(err);
	if (r < 0 || !digest_equal(&digest, &patch->old))
		return old_lists_wrong(old_part, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* 1: the list has to be fetched in another form. */
static int fetch_patched(struct source *s, const struct image *image,
	const struct image_part *old_part, const struct image_part *signed_part,
	struct image_text *text, struct ota_err *err)
{
	struct source_part part = {
		.name = signed_part->name,
		.digest = &signed_part->digest,
		.patch = image_meta_list_patch(&image->meta, signed_part, &old_part->digest),
		.base_fd = -1,
		.tries_max = PATCH_TRIES_MAX,
		.fd = -1,
	};
	struct ota_err why = {0};
	bool tried = false;
	int r;

	if (!part.patch)
		return 1;
	part.max_bytes = part.patch->list_bytes;
	r = open_base(s, old_part, part.patch, &part.base_fd, &why);
	if (r == 0) {
		tried = true;
		r = fetch_form(s, image, &part, text, &why);
	}
	closep(&part.base_fd);
	if (r == 0)
		return 0;
	if (r == -ECANCELED || (tried && !part.done)) { /* an abort, or there is no network */
		*err = why;
		return r;
	}
	log_warning("The patch to the image's %s is not used: %s", signed_part->name, why.msg);
	return 1;
}

static int use_old(struct source *s, const struct image *image,
	const struct image_part *signed_part, struct image_text *text, struct ota_err *err)
{
	const struct image_part *old_part = old_lists_part(&s->old, &image->meta, signed_part);
	int r;

	if (!old_part)
		return 1;
	r = take_same(s, old_part, signed_part, text, err);
	return r > 0 ? fetch_patched(s, image, old_part, signed_part, text, err) : r;
}

/* ---- from the server alone ---- */

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
	int r = use_old(s, image, signed_part, text, err);

	if (r > 0)
		r = fetch_compressed(s, image, signed_part, text, err);
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
