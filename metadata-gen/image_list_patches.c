/*
 * image_list_patches: make patches of lists. Contract: image_list_patches.h.
 *
 * An older list counts if it has the digest that its own metadata.jwt says: that is the one which machines have. Nobody
 * needs to have signed it, since a patch is only good for who has the very bytes.
 */
#include "metadata-gen/image_list_patches.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/codec/zstd_patch.h"
#include "common/image/list_text.h"
#include "common/image/patch_list.h"
#include "metadata-gen/image_parts.h"

enum {
	PAYS_PCT = 90,    /* of what it saves a client from fetching */
	WORD_BYTES = 250, /* what a patch costs in metadata.jwt, which is base64 */
};

/* ---- one list of one older image ---- */

/* A list of the new image, and what a client would fetch of it without a patch. */
struct subject {
	const struct image_list_patches_config *config;
	struct image_meta *meta;
	const struct image_part *part;
	const struct buf *text;
	uint64_t whole_bytes;
	struct image_list_patches_result *result;
};

/* 1; 0: it is not there, or another than @part says. */
static int read_list(
	int dir_fd, const struct image_part *part, struct buf *ret_text, struct ota_err *err)
{
	struct digest digest;
	int r = file_read(dir_fd, part->name, LIST_TEXT_MAX_BYTES, ret_text);

	if (r == -ENOMEM)
		return ota_err_no_memory(err, "a list");
	if (r < 0)
		return 0;
	digest_of(buf_str(ret_text), ret_text->len_bytes, &digest);
	return digest_equal(&digest, &part->digest);
}

static uint64_t served_bytes(const struct subject *s)
{
	char name[IMAGE_META_ZST_NAME_MAX];
	struct stat st;

	image_part_zst_name(s->part, name);
	if (image_meta_has_zst(s->meta, s->part) &&
		fstatat(s->config->image_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return (uint64_t)st.st_size;
	return s->text->len_bytes;
}

/* 1; 0: there is such a file, of a content with the same bytes. */
static int write_patch(
	const struct subject *s, const char *name, const struct buf *patch, struct ota_err *err)
{
	AUTO_CLOSE int fd = openat(s->config->dir_fd, name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : file_write_all(fd, patch->data, patch->len_bytes);

	if (r == -EEXIST)
		return 0;
	return r < 0 ? ota_err_wrap(err, r, "Cannot write the patch %s", name) : 1;
}

static int keep_patch(struct subject *s, const struct digest *old_digest, const struct buf *old,
	const struct buf *patch, struct ota_err *err)
{
	struct list_patch p = {
		.list_bytes = s->text->len_bytes,
		.old_bytes = old->len_bytes,
		.patch_bytes = patch->len_bytes,
		.old = *old_digest,
	};
	struct patch_sums *sums = &s->result->sums;
	char name[PATCH_NAME_MAX];
	int r;

	digest_of(patch->data, patch->len_bytes, &p.patch);
	patch_name(&s->part->digest, old_digest, name);
	r = write_patch(s, name, patch, err);
	if (r <= 0)
		return r;
	image_meta_add_list_patch(s->meta, s->part, &p);
	sums->n++;
	sums->patch_bytes += patch->len_bytes;
	sums->whole_bytes += s->whole_bytes;
	return 0;
}

static bool is_wanted(const struct subject *s, const struct image_part *old_part)
{
	return old_part->name[0] && !digest_equal(&old_part->digest, &s->part->digest) &&
	       !image_meta_list_patch(s->meta, s->part, &old_part->digest);
}

static int patch_list(
	struct subject *s, int old_fd, const struct image_part *old_part, struct ota_err *err)
{
	AUTO_BUF struct buf old = {0}, patch = {0};
	uint64_t pays = s->whole_bytes / 100 * PAYS_PCT;
	int r;

	if (!is_wanted(s, old_part) || pays <= WORD_BYTES)
		return 0;
	r = read_list(old_fd, old_part, &old, err);
	s->result->n_unreadable += r == 0;
	if (r <= 0 || old.len_bytes == 0 ||
		s->text->len_bytes > PATCH_PAIR_MAX_BYTES - old.len_bytes)
		return r < 0 ? r : 0;
	r = zstd_patch_make(old.data, old.len_bytes, s->text->data, s->text->len_bytes,
		s->config->level, pays - WORD_BYTES, &patch);
	if (r < 0)
		return ota_err_no_memory(err, "the patch of a list");
	return r == 0 ? 0 : keep_patch(s, &old_part->digest, &old, &patch, err);
}

/* ---- all of them ---- */

static int open_old(
	const char *old_image, int *ret_fd, struct image_meta *ret_meta, struct ota_err *err)
{
	AUTO_BUF struct buf jwt = {0};
	int r;

	*ret_fd = open(old_image, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = *ret_fd < 0 ? -errno : file_read(*ret_fd, IMAGE_JWT, IMAGE_META_JWT_MAX_BYTES, &jwt);
	if (r == 0)
		r = image_meta_parse(buf_str(&jwt), jwt.len_bytes, ret_meta, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot read the image %s", old_image) : 0;
}

/* In the older image the part has the same place. */
static const struct image_part *same_part(const struct subject *s, const struct image_meta *old)
{
	size_t offset = (size_t)((const char *)s->part - (const char *)s->meta);

	return (const struct image_part *)(const void *)((const char *)old + offset);
}

static int patch_all_from(struct subject *s, struct ota_err *err)
{
	int r = 0;

	for (size_t i = 0; i < s->config->n_old_images && r == 0; i++) {
		AUTO_CLOSE int old_fd = -1;
		struct image_meta old;

		r = open_old(s->config->old_images[i], &old_fd, &old, err);
		if (r == 0)
			r = patch_list(s, old_fd, same_part(s, &old), err);
	}
	return r;
}

int image_list_patches_make(const struct image_list_patches_config *config, struct image_meta *meta,
	struct image_list_patches_result *ret_result, struct ota_err *err)
{
	struct image_list_patches_result result = {0};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(config->lists) && r == 0; i++) {
		struct subject s = {
			.config = config,
			.meta = meta,
			.part = config->lists[i].part,
			.text = config->lists[i].text,
			.result = &result,
		};

		s.whole_bytes = served_bytes(&s);
		if (s.text->len_bytes >= LIST_ZST_MIN_BYTES)
			r = patch_all_from(&s, err);
	}
	if (r == 0)
		*ret_result = result;
	return r;
}
