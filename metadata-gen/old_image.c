/*
 * old_image: believe an older image, and take patches from it. Contract: old_image.h.
 */
#include "metadata-gen/old_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/image/image_meta.h"
#include "common/image/list_text.h"
#include "metadata-gen/image_parts.h"
#include "metadata-gen/old_file.h"

/*
 * What is meant where an image does not say how it was compressed: those who made images before ours, and our own
 * first ones, had no other settings unless told so. If they were told, blobs are larger or smaller, but not wrong.
 */
static const char *settings_of(const struct image_meta *meta)
{
	if (meta->compression[0] != '\0')
		return meta->compression;
	return meta->compressed_dir[0] != '\0' ? "zstd level=10 min_bytes=16384 min_ratio=1.25"
					       : "none level=10";
}

static int read_meta(
	int dir_fd, struct buf *ret_jwt, struct image_meta *ret_meta, struct ota_err *err)
{
	int r = file_read(dir_fd, IMAGE_JWT, IMAGE_META_JWT_MAX_BYTES, ret_jwt);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Its %s cannot be read: %s", IMAGE_JWT,
			file_read_why(r));
	return image_meta_parse(buf_str(ret_jwt), ret_jwt->len_bytes, ret_meta, err);
}

bool old_image_has_settings(int dir_fd, const char *settings)
{
	AUTO_BUF struct buf jwt = {0};
	struct image_meta meta;

	return read_meta(dir_fd, &jwt, &meta, NULL) == 0 &&
	       strcmp(settings_of(&meta), settings) == 0;
}

/* ---- who made it ---- */

/* A list with the digest that was signed, and no other. */
static int read_part(int dir_fd, const struct image_part *part, size_t max_bytes,
	struct buf *ret_text, struct ota_err *err)
{
	struct digest digest;
	int r = file_read(dir_fd, part->name, max_bytes, ret_text);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Its %s cannot be read: %s",
			part->name, file_read_why(r));
	digest_of(buf_str(ret_text), ret_text->len_bytes, &digest);
	if (!digest_equal(&digest, &part->digest))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"Its %s has another digest than %s says", part->name, IMAGE_JWT);
	return 0;
}

static int check_is_ours(
	const struct buf *pem, const struct old_image_trust *trust, struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	int r = signer_cert_parse(buf_str(pem), pem->len_bytes, &cert, err);

	if (r == 0 && sign_key_matches(trust->key, cert, NULL) < 0)
		r = ota_err_set(err, -EPERM, OTA_E_UNSPECIFIC,
			"It is signed by another key than that of %s; --certs names the "
			"certificates that may vouch for it",
			trust->cert_path);
	return r;
}

static int check_signer(int dir_fd, const struct buf *jwt, const struct image_meta *meta,
	const struct old_image_trust *trust, struct ota_err *err)
{
	AUTO_CERT_STORE struct cert_store *store = NULL;
	AUTO_BUF struct buf pem = {0};
	int r = read_part(dir_fd, &meta->certificate, CERT_PEM_MAX_BYTES, &pem, err);

	if (r == 0 && trust->certs_dir)
		r = cert_store_open(trust->certs_dir, NULL, NULL, &store, err);
	if (r == 0 && !store)
		r = check_is_ours(&pem, trust, err);
	if (r == 0)
		r = image_meta_verify(buf_str(jwt), jwt->len_bytes, meta, buf_str(&pem),
			pem.len_bytes, store, err);
	return r;
}

/* ---- what is in it ---- */

static int read_patches(
	int dir_fd, const struct image_meta *meta, struct old_image *old, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r;

	if (meta->patches.name[0] == '\0')
		return 0;
	r = read_part(dir_fd, &meta->patches, LIST_TEXT_MAX_BYTES, &text, err);
	if (r == 0)
		r = patch_list_read(buf_str(&text), text.len_bytes, meta->patches.name,
			old->reader.table, &old->patches, err);
	if (r == 0)
		old->patch_fd =
			openat(dir_fd, PATCH_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return r;
}

static int read_image(int dir_fd, const struct old_image_trust *trust, const char *settings,
	struct old_image *old, struct ota_err *err)
{
	AUTO_BUF struct buf jwt = {0}, regulars = {0};
	struct image_meta meta;
	int r = read_meta(dir_fd, &jwt, &meta, err);

	if (r == 0)
		r = check_signer(dir_fd, &jwt, &meta, trust, err);
	if (r == 0)
		r = read_part(dir_fd, &meta.regulars, LIST_TEXT_MAX_BYTES, &regulars, err);
	if (r == 0)
		r = image_reader_open_parts(dir_fd, meta.rootfs_dir,
			meta.compressed_dir[0] ? meta.compressed_dir : NULL, &regulars,
			&old->reader, err);
	if (r == 0)
		r = read_patches(dir_fd, &meta, old, err);
	if (r < 0)
		return r;
	snprintf(old->settings, sizeof(old->settings), "%s", settings_of(&meta));
	old->same_settings = strcmp(old->settings, settings) == 0;
	return 0;
}

int old_image_open(const char *image_dir, const struct old_image_trust *trust, const char *settings,
	struct old_image *ret, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd = open(image_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir_fd < 0 ? ota_err_wrap(err, -errno, "It cannot be opened") : 0;

	if (r == 0)
		r = read_image(dir_fd, trust, settings, ret, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot reuse the image %s", image_dir) : 0;
}

void old_image_done(struct old_image *old)
{
	image_reader_done(&old->reader);
	patch_list_free(old->patches);
	closep(&old->patch_fd);
}

/* ---- patches ---- */

/* NULL: it has none between these. */
static const struct patch *find_patch(
	const struct old_image *old, const struct digest *made, const struct digest *base)
{
	const struct patch_list *list = old->patches;
	uint32_t content, from;

	if (!list || old->patch_fd < 0)
		return NULL;
	content = file_table_find_content(old->reader.table, made);
	from = patch_list_find_base(list, base);
	if (content == FILE_TABLE_NONE || from == FILE_TABLE_NONE)
		return NULL;
	for (uint32_t i = list->first[content]; i < list->first[content + 1]; i++)
		if (list->patches[i].base == from)
			return &list->patches[i];
	return NULL;
}

int old_image_patch(const struct old_image *old, struct digest_ctx *ctx, const struct digest *made,
	const struct digest *base, uint64_t max_bytes, int dir_fd, struct patch *ret_patch,
	struct ota_err *err)
{
	const struct patch *p = find_patch(old, made, base);
	char name[PATCH_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	struct digest digest;
	struct stat st;
	uint64_t size;
	int r;

	if (!p || p->size_bytes > max_bytes)
		return 0;
	patch_name(made, base, name);
	if (old_file_open(old->patch_fd, name, &fd, &st) < 0 ||
		(uint64_t)st.st_size != p->size_bytes)
		return 0;
	r = old_file_put(old->patch_fd, dir_fd, name, &st, &fd);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot write the patch %s", name);
	if (r == 0)
		return 0;
	if (digest_of_fd(ctx, fd, &digest, &size) < 0 || size != p->size_bytes ||
		!digest_equal(&digest, &p->digest)) {
		unlinkat(dir_fd, name, 0);
		return 0;
	}
	*ret_patch = *p;
	return 1;
}
