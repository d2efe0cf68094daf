/*
 * image_parts: the small files of an image. Contract: image_parts.h.
 */
#include "metadata-gen/image_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/path.h"
#include "common/codec/zstd_stream.h"
#include "common/image/list_text.h"
#include "common/image/persistent_path.h"
#include "common/image/utf8.h"
#include "metadata-gen/blob_store.h"

const char *image_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The certificate lies beside the image's other files and must not be taken for one of them. */
static bool name_is_taken(const char *name)
{
	static const char *const taken[] = {"dirs.txt", "symlinks.txt", "regulars.txt",
		"persistents.txt", "attributes.txt", "patches.txt", IMAGE_TOTAL_SIZE, IMAGE_JWT,
		IMAGE_PLAIN_DIR, "oci-layout"};

	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		size_t len = strlen(taken[i]);

		/* All but a few of them are there compressed, too. */
		if (strncmp(name, taken[i], len) == 0 &&
			(name[len] == '\0' || strcmp(name + len, ".zst") == 0))
			return true;
	}
	return false;
}

static int set_name(const char *name, char ret_name[IMAGE_META_NAME_MAX], struct ota_err *err)
{
	size_t len = strlen(name);

	if (!path_is_component(name, len) || len >= IMAGE_META_NAME_MAX ||
		!utf8_is_valid(name, len))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"\"%.100s\" cannot be the name of an image's file", name);
	memcpy(ret_name, name, len + 1);
	return 0;
}

int image_signer_load(struct image_signer *signer, const char *key_path, const char *cert_path,
	struct ota_err *err)
{
	AUTO_SIGNER_CERT struct signer_cert *cert = NULL;
	const char *name = image_base_name(cert_path);
	int r = set_name(name, signer->cert_name, err);

	if (r < 0)
		return r;
	if (name_is_taken(name))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"The certificate cannot be named %s, which is another file of the image",
			name);
	r = file_read(AT_FDCWD, cert_path, CERT_PEM_MAX_BYTES, &signer->cert);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read the certificate %s: %s",
			cert_path, file_read_why(r));
	r = signer_cert_parse(buf_str(&signer->cert), signer->cert.len_bytes, &cert, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot use the certificate %s", cert_path);
	r = sign_key_load(key_path, &signer->key, err);
	if (r < 0)
		return r;
	r = sign_key_matches(signer->key, cert, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot sign with %s for %s", key_path, cert_path) : 0;
}

void image_signer_done(struct image_signer *signer)
{
	sign_key_free(signer->key);
	buf_done(&signer->cert);
}

int image_part_describe(const char *name, const void *data, size_t len_bytes,
	struct image_part *ret_part, struct ota_err *err)
{
	int r = set_name(name, ret_part->name, err);

	if (r == 0)
		digest_of(data, len_bytes, &ret_part->digest);
	return r;
}

int image_part_make(int dir_fd, const char *name, const void *data, size_t len_bytes,
	struct image_part *ret_part, struct ota_err *err)
{
	AUTO_CLOSE int fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	int r = fd < 0 ? -errno : file_write_all(fd, data, len_bytes);

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot write %s into the image", name);
	return ret_part ? image_part_describe(name, data, len_bytes, ret_part, err) : 0;
}

static int collect(void *ctx, const void *data, size_t len)
{
	return buf_append(ctx, data, len);
}

int image_list_compress(
	const void *data, size_t len_bytes, int level, struct buf *ret_zst, struct ota_err *err)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *encoder = NULL;
	AUTO_BUF struct buf zst = {0};
	int r;

	if (len_bytes < LIST_ZST_MIN_BYTES)
		return 0;
	encoder = zstd_encoder_new(level);
	r = encoder ? zstd_encoder_start(encoder, len_bytes) : -ENOMEM;
	if (r == 0)
		r = zstd_encoder_feed(encoder, data, len_bytes, collect, &zst);
	if (r == 0)
		r = zstd_encoder_finish(encoder, collect, &zst);
	if (r < 0) /* of bytes in memory whose number was said nothing else fails */
		return ota_err_no_memory(err, "a compressed list");
	if ((double)zst.len_bytes * BLOB_MIN_RATIO > (double)len_bytes)
		return 0;
	buf_done(ret_zst);
	*ret_zst = zst;
	zst = (struct buf){0};
	return 1;
}

int image_lists_check(const struct image_lists *lists, struct ota_err *err)
{
	AUTO_FILE_TABLE struct file_table *t = file_table_new();
	int r;

	if (!t)
		return ota_err_no_memory(err, "the image's lists");
	r = list_text_read_dirs(buf_str(&lists->dirs), lists->dirs.len_bytes, "dirs.txt", t, err);
	if (r == 0)
		r = list_text_read_symlinks(buf_str(&lists->symlinks), lists->symlinks.len_bytes,
			"symlinks.txt", t, err);
	if (r == 0)
		r = list_text_read_regulars(buf_str(&lists->regulars), lists->regulars.len_bytes,
			"regulars.txt", t, err);
	if (r == 0)
		r = file_table_seal(t, err);
	if (r == 0)
		r = list_text_read_attributes(buf_str(&lists->attributes),
			lists->attributes.len_bytes, "attributes.txt", t, err);
	return r < 0 ? ota_err_wrap(err, r, "No client could install this image") : 0;
}

static int any_path(void *ctx, const char *path, struct ota_err *err)
{
	return 0;
}

int image_persistents_check(
	const char *text, size_t len_bytes, const char *name, struct ota_err *err)
{
	return list_text_read_persistents(text, len_bytes, name, any_path, NULL, err);
}

struct entry_line {
	uint64_t line_no;
	const char *name;
	void (*warn)(const char *sentence);
};

static int check_entry(void *ctx, const char *path, struct ota_err *err)
{
	const struct entry_line *line = ctx;
	const char *why = persistent_path_refusal(path);
	char sentence[OTA_ERR_MSG_MAX + UTF8_SHOW_MAX], shown[UTF8_SHOW_MAX];

	if (!why)
		return 0;
	snprintf(sentence, sizeof(sentence),
		"Line %" PRIu64 " of %s: every machine will refuse the entry \"%s\": %s",
		line->line_no, line->name, utf8_show(path, strlen(path), shown), why);
	line->warn(sentence);
	return 0;
}

void image_persistents_warn(
	const char *text, size_t len_bytes, const char *name, void (*warn)(const char *sentence))
{
	const char *at = text, *end = text + len_bytes;
	struct entry_line line = {.name = name, .warn = warn};

	/* Line by line, since the reader has no number for what it reads without complaint. */
	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		const char *next = lf ? lf + 1 : end;

		line.line_no++;
		(void)list_text_read_persistents(
			at, (size_t)(next - at), name, check_entry, &line, NULL);
		at = next;
	}
}
