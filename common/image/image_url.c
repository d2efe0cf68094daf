/*
 * image_url: where the files of an image are found on its server. Contract: image_meta.h.
 *
 * Every client of the format and every proxy between must spell a URL alike, because the proxy's cache is
 * keyed by it. So exactly the unreserved characters and '/' stand for themselves, all else is %XX in upper case.
 * Format: docs/formats.md, "URLs".
 */
#include "common/image/image_meta.h"

#include <string.h>

#include "common/image/patch_list.h"

static bool stands_for_itself(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_.-~/", c));
}

static int put_encoded(const char *path, size_t len_bytes, struct buf *url)
{
	size_t at = 0;
	int r = 0;

	while (at < len_bytes && r == 0) {
		size_t run = 0;

		while (at + run < len_bytes && stands_for_itself((unsigned char)path[at + run]))
			run++;
		r = buf_append(url, path + at, run);
		at += run;
		if (r == 0 && at < len_bytes)
			r = buf_printf(url, "%%%02X", (unsigned char)path[at++]);
	}
	return r;
}

/* <base><dir>/<rest>, the last two encoded; on failure @url is as before. */
static int put_url(
	const char *base, const char *dir, const char *rest, size_t rest_len, struct buf *url)
{
	size_t before = url->len_bytes;
	int r = buf_puts(url, base);

	if (r == 0 && dir)
		r = put_encoded(dir, strlen(dir), url);
	if (r == 0 && dir)
		r = buf_puts(url, "/");
	if (r == 0)
		r = put_encoded(rest, rest_len, url);
	if (r < 0 && url->data) {
		url->len_bytes = before;
		url->data[before] = '\0';
	}
	return r;
}

int image_url_part(const char *base, const char *name, struct buf *ret_url)
{
	return put_url(base, NULL, name, strlen(name), ret_url);
}

int image_url_plain(const char *base, const char *rootfs_dir, const char *path, size_t path_len,
	struct buf *ret_url)
{
	while (path_len > 0 && *path == '/') {
		path++;
		path_len--;
	}
	return put_url(base, rootfs_dir, path, path_len, ret_url);
}

int image_url_blob(const char *base, const char *compressed_dir, const struct digest *digest,
	struct buf *ret_url)
{
	char name[DIGEST_HEX_MAX + sizeof(".zst")];

	digest_to_hex(digest, name);
	memcpy(name + DIGEST_HEX_MAX - 1, ".zst", sizeof(".zst"));
	return put_url(base, compressed_dir, name, strlen(name), ret_url);
}

int image_url_patch(
	const char *base, const struct digest *made, const struct digest *old, struct buf *ret_url)
{
	char name[PATCH_NAME_MAX];

	patch_name(made, old, name);
	return put_url(base, PATCH_DIR, name, strlen(name), ret_url);
}
