/*
 * image_source: fetching and believing an image's metadata. Contract: image_source.h.
 *
 * Order: which format → metadata.jwt → certificate → signature → lists, each against its digest → table. Files
 * come one after the other over one client; small ones into memory, lists into unnamed files that are mapped.
 */
#include "otaclient/image_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/codec/json.h"
#include "common/crypto/digest.h"
#include "common/image/list_text.h"
#include "common/net/http_url.h"

enum {
	PROBE_MAX_BYTES = 64 * 1024,
	RUN_MS = 500, /* between two looks at stop() */
};

struct source {
	const struct image_source_config *config;
	struct http_client *client;
	struct digest_ctx *digest;
};

static void source_done(struct source *s)
{
	http_client_free(s->client);
	digest_ctx_free(s->digest);
}

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
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "No memory for the image's URL");
	r = http_url_check(buf_str(&base), err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot use the image's URL");
	*ret_base_url = TAKE_PTR(base.data);
	return 0;
}

/* ---- one file of the image ---- */

struct part {
	const char *name;
	uint64_t max_bytes;
	const struct digest *digest; /* what it must have; NULL = not known before */
	bool outlast_outages;
	uint32_t total_timeout_ms;
	unsigned tries_max;

	/* where its bytes go: one of the two */
	struct buf *buf;
	int fd;

	/* while it is fetched */
	struct source *source;
	uint64_t n_bytes, unreported_bytes;
	struct http_result result;
	bool done;
};

static int part_failed(int r, const struct part *part, struct ota_err *err)
{
	return ota_err_set(err, r,
		r == -ENOSPC || r == -EDQUOT ? OTA_E_STANDBY_SLOT_SPACE : OTA_E_UNSPECIFIC,
		"Cannot keep the image's %s: %s", part->name, strerror(-r));
}

static int part_restart(void *ctx, struct ota_err *err)
{
	struct part *part = ctx;

	digest_start(part->source->digest);
	part->n_bytes = 0;
	if (part->buf)
		part->buf->len_bytes = 0;
	else if (ftruncate(part->fd, 0) < 0 || lseek(part->fd, 0, SEEK_SET) < 0)
		return part_failed(-errno, part, err);
	return 0;
}

static int part_data(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	struct part *part = ctx;
	int r;

	part->n_bytes += len;
	part->unreported_bytes += len;
	digest_add(part->source->digest, data, len);
	r = part->buf ? buf_append(part->buf, data, len) : file_write_all(part->fd, data, len);
	return r < 0 ? part_failed(r, part, err) : 0;
}

static int part_end(void *ctx, struct ota_err *err)
{
	struct part *part = ctx;
	struct digest digest;
	char is[DIGEST_HEX_MAX], wanted[DIGEST_HEX_MAX];

	digest_final(part->source->digest, &digest);
	if (!part->digest || digest_equal(&digest, part->digest))
		return 0;
	digest_to_hex(&digest, is);
	digest_to_hex(part->digest, wanted);
	return ota_err_set(err, -EAGAIN, OTA_E_OTA_IMAGE_INVALID,
		"The server's %s is not the one that the image's metadata.jwt names: its digest is"
		" %s, not %s",
		part->name, is, wanted);
}

static void part_done(void *ctx, const struct http_result *result)
{
	struct part *part = ctx;

	part->result = *result;
	part->done = true;
}

static int part_request(struct source *s, struct part *part, const char *base, struct ota_err *err)
{
	AUTO_BUF struct buf url = {0};
	char hex[DIGEST_HEX_MAX], control[sizeof("file_sha256=") + sizeof(hex)] = "no_cache";
	int r = image_url_part(base, part->name, &url);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "No memory for a URL");
	if (part->digest) {
		digest_to_hex(part->digest, hex);
		snprintf(control, sizeof(control), "file_sha256=%s", hex);
	}
	part->source = s;
	digest_start(s->digest);
	return http_client_add(s->client,
		&(struct http_request){
			.url = buf_str(&url),
			.max_bytes = part->max_bytes,
			.cache_control = control,
			.tries_max = part->tries_max,
			.total_timeout_ms = part->total_timeout_ms,
			.outlast_outages = part->outlast_outages,
 /* A cache on the way may have had it compressed. */
			.undo_encoding = true,
			.sink =
				{
                                       .restart = part_restart,
                                       .data = part_data,
                                       .end = part_end,
				       },
			.sink_ctx = part,
			.done = part_done,
			.done_ctx = part,
        },
		err);
}

static int inactive(struct source *s, uint32_t limit_ms, struct ota_err *err)
{
	struct ota_err trouble = http_client_trouble(s->client);

	if (trouble.errnum == 0)
		ota_err_set(&trouble, -ETIMEDOUT, OTA_E_NETWORK, "The server sends nothing");
	*err = trouble;
	return ota_err_wrap(err, -ETIMEDOUT, "No byte came for %u s", limit_ms / 1000);
}

/* Wait for @part; its result is the result. */
static int part_wait(struct source *s, struct part *part, struct ota_err *err)
{
	const struct image_source_config *config = s->config;
	uint32_t limit_ms = config->inactivity_ms ? config->inactivity_ms
						  : (uint32_t)IMAGE_SOURCE_INACTIVITY_MS;
	uint64_t started_ms = clock_monotonic_ms();

	while (!part->done) {
		int r = http_client_run(s->client, RUN_MS, err);

		if (r < 0)
			return r;
		if (config->progress && part->unreported_bytes > 0)
			config->progress(config->ctx, part->unreported_bytes);
		part->unreported_bytes = 0;
		if (!part->done && config->stop && config->stop(config->ctx))
			return ota_err_set(err, -ECANCELED, OTA_E_ABORTED,
				"The fetching of the image's metadata was stopped");
		if (!part->done && clock_monotonic_ms() - started_ms >= limit_ms &&
			http_client_idle_ms(s->client) >= limit_ms)
			return inactive(s, limit_ms, err);
	}
	if (part->result.r < 0)
		*err = part->result.err;
	return part->result.r;
}

static int part_fetch(struct source *s, struct part *part, const char *base, struct ota_err *err)
{
	int r = part_request(s, part, base, err);

	return r < 0 ? r : part_wait(s, part, err);
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
	struct part part = {
		.name = "oci-layout",
		.max_bytes = PROBE_MAX_BYTES,
		.total_timeout_ms = IMAGE_SOURCE_PROBE_MS,
		.tries_max = 2,
		.buf = &text,
		.fd = -1,
	};
	struct ota_err probe_err = {0};
	int r = part_fetch(s, &part, base, &probe_err);

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
	struct part jwt = {
		.name = "metadata.jwt",
		.max_bytes = IMAGE_META_JWT_MAX_BYTES,
		.buf = &image->jwt,
		.fd = -1,
	};
	struct part cert = {
		.name = image->meta.certificate.name,
		.max_bytes = CERT_PEM_MAX_BYTES,
		.digest = &image->meta.certificate.digest,
		.buf = &image->cert,
		.fd = -1,
	};
	int r = part_fetch(s, &jwt, image->base_url, err);

	if (r == 0)
		r = image_meta_parse(buf_str(&image->jwt), image->jwt.len_bytes, &image->meta, err);
	if (r == 0)
		r = part_fetch(s, &cert, image->base_url, err);
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

static int open_scratch(int dir_fd)
{
	int fd = -1;

	if (dir_fd >= 0)
		fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : memfd_create("image list", MFD_CLOEXEC);
}

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

static int fetch_list(
	struct source *s, struct image *image, enum image_list list, struct ota_err *err)
{
	const struct image_part *signed_part =
		(const struct image_part *)(const void *)((const char *)&image->meta +
							  list_table[list].part_offset);
	struct image_text *text = &image->texts[list];
	AUTO_CLOSE int fd = -1;
	struct part part = {
		.name = signed_part->name,
		.max_bytes = LIST_TEXT_MAX_BYTES,
		.digest = &signed_part->digest,
		.outlast_outages = true, /* part_wait() watches for inactivity */
	};
	int r;

	if (!signed_part->name[0])
		return 0;
	part.fd = fd = open_scratch(s->config->scratch_dir_fd);
	if (fd < 0)
		return part_failed(-errno, &part, err);
	r = part_fetch(s, &part, image->base_url, err);
	if (r < 0)
		return r;
	r = map_text(fd, part.n_bytes, text);
	if (r < 0)
		return part_failed(r, &part, err);
	memcpy(text->name, signed_part->name, sizeof(text->name));
	return 0;
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
		return ota_err_set(
			err, -ENOMEM, OTA_E_UNSPECIFIC, "No memory for the image's lists");
	r = read_lists(image, false, err);
	if (r == 0)
		r = file_table_seal(image->table, err);
	if (r == 0)
		r = read_lists(image, true, err);
	return r;
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
		r = http_client_new(&s->config->http, &s->client, err);
	if (r == 0 && !(s->digest = digest_ctx_new()))
		r = ota_err_set(err, -ENOMEM, OTA_E_UNSPECIFIC, "No memory for a digest");
	if (r == 0)
		r = check_format(s, image->base_url, err);
	if (r == 0)
		r = fetch_signed(s, image, err);
	for (unsigned i = 0; r == 0 && i < IMAGE_LIST_COUNT; i++)
		r = fetch_list(s, image, (enum image_list)i, err);
	return r == 0 ? make_table(image, err) : r;
}

int image_source_open(
	const struct image_source_config *config, struct image *ret_image, struct ota_err *err)
{
	CLEANUP(source_done) struct source s = {.config = config};
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
	for (size_t i = 0; i < IMAGE_LIST_COUNT; i++)
		if (image->texts[i].len_bytes > 0)
			munmap((void *)(uintptr_t)image->texts[i].text, image->texts[i].len_bytes);
	buf_done(&image->jwt);
	buf_done(&image->cert);
	free(image->base_url);
	*image = (struct image){0};
}
