/*
 * image_source: fetching and believing an image's metadata. Contract: image_source.h.
 *
 * Order: which format → metadata.jwt → certificate → signature → lists, each against its digest → table → patches.
 * Files come one after the other by one fetcher into unnamed files; small ones are read from there, lists are mapped.
 *
 * Elsewhere: one file (source_part), and the forms of a list (source_lists).
 */
#include "otaclient/source/image_source.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/image/list_text.h"
#include "common/net/http_url.h"
#include "otaclient/source/source_lists.h"

enum {
	PROBE_MAX_BYTES = 64 * 1024,
	PATCHES_TRIES_MAX = 2, /* the update can do without them */
};

/* ---- the base URL ---- */

static bool is_hex_pair(const char *s)
{
	uint8_t byte;

	return s[0] && s[1] && hex_decode(s, 2, &byte) == 0;
}

/* Characters that must not stand in a URL's path but do in people's URLs. Controls stay, to be refused. */
static bool wants_encoding(const char *s)
{
	unsigned char c = (unsigned char)*s;

	return c == ' ' || c >= 0x80 || strchr("\"<>\\^`{|}", c) ||
	       (c == '%' && !is_hex_pair(s + 1));
}

int image_source_base_url(const char *url, char **ret_base_url, struct ota_err *err)
{
	AUTO_BUF struct buf base = {0};
	const char *authority = strstr(url, "://");
	const char *path, *end = url + strcspn(url, "?#");
	int r = 0;

	path = authority ? authority + 3 + strcspn(authority + 3, "/?#") : end;
	while (end > path && end[-1] == '/')
		end--;
	r = buf_append(&base, url, (size_t)(path - url));
	for (const char *s = path; s < end && r == 0; s++)
		r = wants_encoding(s) ? buf_printf(&base, "%%%02X", (unsigned char)*s)
				      : buf_append(&base, s, 1);
	if (r == 0)
		r = buf_puts(&base, "/");
	if (r < 0)
		return ota_err_no_memory(err, "the image's URL");
	r = http_url_check(buf_str(&base), err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot use the image's URL");
	*ret_base_url = TAKE_PTR(base.data);
	return 0;
}

/* ---- which format ---- */

static bool says_image_layout(const struct buf *text)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;

	return json_doc_parse(buf_str(text), text->len_bytes, PROBE_MAX_BYTES, &doc, NULL) == 0 &&
	       json_value_member(json_doc_root(doc), "imageLayoutVersion");
}

/*
 * Images of format v1 have a file oci-layout, ours have not. Whatever the server says but 200 means "not there":
 * storage services have several words for it. A server that has every file cannot be asked about any.
 */
static int check_format(struct source *s, const char *base, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	char shown[HTTP_URL_TEXT_MAX];
	struct source_part part = {
		.name = "oci-layout",
		.max_bytes = PROBE_MAX_BYTES,
		.total_timeout_ms = IMAGE_SOURCE_PROBE_MS,
		.tries_max = 2,
		.buf = &text,
		.fd = -1,
	};
	struct ota_err probe_err = {0};
	int r = source_part_fetch(s, &part, base, &probe_err);

	if (r < 0 && !part.done) {
		*err = probe_err;
		return r;
	}
	if (part.result.status != 200 || (r < 0 && r != -EFBIG))
		return 0;
	if (r == 0 && says_image_layout(&text))
		return ota_err_set(err, -ENOTSUP, OTA_E_OTA_IMAGE_INVALID,
			"The image at %s is an OTA image of format v1 (it has a file oci-layout), "
			"which"
			" this version cannot install",
			http_url_text(base, shown));
	return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"The server of %s answers 200 for oci-layout, a file that does not exist",
		http_url_text(base, shown));
}

/* ---- the signed part ---- */

static int fetch_signed(struct source *s, struct image *image, struct ota_err *err)
{
	struct source_part jwt = {
		.name = "metadata.jwt",
		.max_bytes = IMAGE_META_JWT_MAX_BYTES,
		.buf = &image->jwt,
		.fd = -1,
	};
	struct source_part cert = {
		.name = image->meta.certificate.name,
		.max_bytes = CERT_PEM_MAX_BYTES,
		.digest = &image->meta.certificate.digest,
		.buf = &image->cert,
		.fd = -1,
	};
	int r = source_part_fetch(s, &jwt, image->base_url, err);

	if (r == 0)
		r = image_meta_parse(buf_str(&image->jwt), image->jwt.len_bytes, &image->meta, err);
	if (r == 0)
		r = source_part_fetch(s, &cert, image->base_url, err);
	if (r < 0)
		return r;
	return image_meta_verify(buf_str(&image->jwt), image->jwt.len_bytes, &image->meta,
		buf_str(&image->cert), image->cert.len_bytes, s->config->certs, err);
}

/* ---- the lists ---- */

static int ignore_path(void *ctx, const char *path, struct ota_err *err)
{
	return 0;
}

/* Only whether it can be read, so that an update with a broken one does not begin. */
static int check_persistents(
	const char *text, size_t len, const char *name, struct file_table *t, struct ota_err *err)
{
	return list_text_read_persistents(text, len, name, ignore_path, NULL, err);
}

typedef int read_list_fn(
	const char *text, size_t len, const char *name, struct file_table *t, struct ota_err *err);

/* clang-format off */
static const struct list_row {
	size_t part_offset; /* in struct image_meta */
	read_list_fn *read;
	bool after_seal;
} list_table[IMAGE_LIST_COUNT] = {
	[IMAGE_LIST_DIRS]        = {offsetof(struct image_meta, dirs),        list_text_read_dirs,       false},
	[IMAGE_LIST_SYMLINKS]    = {offsetof(struct image_meta, symlinks),    list_text_read_symlinks,   false},
	[IMAGE_LIST_REGULARS]    = {offsetof(struct image_meta, regulars),    list_text_read_regulars,   false},
	[IMAGE_LIST_PERSISTENTS] = {offsetof(struct image_meta, persistents), check_persistents,         false},
	[IMAGE_LIST_ATTRIBUTES]  = {offsetof(struct image_meta, attributes),  list_text_read_attributes, true},
};
/* clang-format on */

static int fetch_list(
	struct source *s, struct image *image, enum image_list list, struct ota_err *err)
{
	const struct image_part *signed_part =
		(const struct image_part *)(const void *)((const char *)&image->meta +
							  list_table[list].part_offset);

	if (!signed_part->name[0])
		return 0;
	return source_text_fetch(s, image, signed_part, 0, &image->texts[list], err);
}

static int read_lists(struct image *image, bool after_seal, struct ota_err *err)
{
	for (size_t i = 0; i < IMAGE_LIST_COUNT; i++) {
		const struct image_text *text = &image->texts[i];
		int r;

		if (list_table[i].after_seal != after_seal || !text->name[0])
			continue;
		r = list_table[i].read(text->text, text->len_bytes, text->name, image->table, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_table(struct image *image, struct ota_err *err)
{
	int r;

	image->table = file_table_new();
	if (!image->table)
		return ota_err_no_memory(err, "the image's lists");
	r = read_lists(image, false, err);
	if (r == 0)
		r = file_table_seal(image->table, err);
	if (r == 0)
		r = read_lists(image, true, err);
	return r;
}

/* ---- patches ---- */

/* Whatever is wrong with them, the update can do without; only an abort is one. */
static int fetch_patches(struct source *s, struct image *image, struct ota_err *err)
{
	const struct image_part *part = &image->meta.patches;
	CLEANUP(source_text_done) struct image_text text = {.text = ""};
	struct ota_err why = {0};
	int r;

	if (!part->name[0])
		return 0;
	r = source_text_fetch(s, image, part, PATCHES_TRIES_MAX, &text, &why);
	if (r == 0)
		r = patch_list_read(
			text.text, text.len_bytes, part->name, image->table, &image->patches, &why);
	if (r == -ECANCELED) {
		*err = why;
		return r;
	}
	if (r < 0)
		log_warning("The image's patches are not used: %s", why.msg);
	return 0;
}

/* ---- the contract ---- */

static void image_init(struct image *image)
{
	*image = (struct image){0};
	for (size_t i = 0; i < IMAGE_LIST_COUNT; i++)
		image->texts[i].text = "";
}

static int open_image(struct source *s, struct image *image, struct ota_err *err)
{
	int r = image_source_base_url(s->config->url, &image->base_url, err);

	if (r == 0)
		r = fetcher_new(&s->config->http, &s->fetcher, err);
	if (r == 0 && !(s->digest = digest_ctx_new()))
		r = ota_err_no_memory(err, "a digest");
	if (r == 0)
		r = check_format(s, image->base_url, err);
	if (r == 0)
		r = fetch_signed(s, image, err);
	if (r < 0)
		return r;
	if (image->meta.list_patches.unusable)
		log_warning("The image's patches of lists are not used: in its metadata.jwt, %s",
			image->meta.list_patches.unusable);
	old_lists_open(s->config->running_root, &s->old);
	for (unsigned i = 0; r == 0 && i < IMAGE_LIST_COUNT; i++)
		r = fetch_list(s, image, (enum image_list)i, err);
	if (r == 0)
		r = make_table(image, err);
	return r == 0 ? fetch_patches(s, image, err) : r;
}

int image_source_open(
	const struct image_source_config *config, struct image *ret_image, struct ota_err *err)
{
	CLEANUP(source_done) struct source s = {.config = config, .old = {.dir_fd = -1}};
	AUTO_IMAGE struct image image;
	struct ota_err why = {0};
	int r;

	image_init(&image);
	r = open_image(&s, &image, &why);
	if (r < 0) {
		if (why.code == OTA_E_NETWORK) /* while metadata is fetched it has another number */
			why.code = OTA_E_OTAMETA_DOWNLOAD_FAILED;
		if (err)
			*err = why;
		return r;
	}
	*ret_image = image;
	image_init(&image);
	return 0;
}

void image_done(struct image *image)
{
	file_table_free(image->table);
	patch_list_free(image->patches);
	for (size_t i = 0; i < IMAGE_LIST_COUNT; i++)
		source_text_done(&image->texts[i]);
	buf_done(&image->jwt);
	buf_done(&image->cert);
	free(image->base_url);
	*image = (struct image){0};
}
