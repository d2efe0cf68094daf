/*
 * image_source: fetching and believing an image's metadata. Contract: image_source.h.
 *
 * Order: which format → metadata.jwt → certificate → signature → lists, each against its digest → table → patches.
 * Files come one after the other by one fetcher into unnamed files; small ones are read from there, lists are mapped.
 *
 * Lists that metadata.jwt says so of are fetched compressed. That only spares bytes: whatever is wrong with such a
 * file, the plain list is fetched in its place.
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
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/crypto/digest.h"
#include "common/image/list_text.h"
#include "common/net/http_url.h"
#include "otaclient/fetcher/fetcher.h"

enum {
	PROBE_MAX_BYTES = 64 * 1024,
	FETCH_CONTROL_MAX = 128,
	RUN_MS = 500,          /* between two looks at stop() */
	PATCHES_TRIES_MAX = 2, /* the update can do without them */
	ZST_TRIES_MAX = 3,     /* the plain list will do */
};

struct source {
	const struct image_source_config *config;
	struct fetcher *fetcher;
	struct digest_ctx *digest;
};

static void source_done(struct source *s)
{
	fetcher_free(s->fetcher);
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
		return ota_err_no_memory(err, "the image's URL");
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
	bool is_zst;                 /* the server has one zstd frame of it */
	bool outlast_outages;
	uint32_t total_timeout_ms;
	unsigned tries_max;

	struct buf *buf; /* where its bytes go; NULL = they stay in the file */

	int fd; /* owned by whoever asks for it, -1 before */
	uint64_t n_bytes;
	struct fetcher_result result;
	bool done;
};

static int part_failed(int r, const struct part *part, struct ota_err *err)
{
	return ota_err_set(err, r,
		r == -ENOSPC || r == -EDQUOT ? OTA_E_STANDBY_SLOT_SPACE : OTA_E_UNSPECIFIC,
		"Cannot keep the image's %s: %s", part->name, strerror(-r));
}

static void part_done(void *ctx, const struct fetcher_result *result)
{
	struct part *part = ctx;

	part->result = *result;
	part->done = true;
}

/* Opened anew, since the kernel does not count the writers of what memfd_create() has returned. */
static int open_memory(void)
{
	AUTO_CLOSE int fd = memfd_create("image list", MFD_CLOEXEC);
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd < 0 ? fd : open(path, O_RDWR | O_CLOEXEC);
}

/* On disk, if the file system there can tell whether the fetcher still writes to it. */
static int open_scratch(int dir_fd)
{
	AUTO_CLOSE int fd = -1;

	if (dir_fd >= 0)
		fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 && fetcher_can_take(fd) ? TAKE_FD(fd) : open_memory();
}

static int part_request(struct source *s, struct part *part, const char *base, struct ota_err *err)
{
	AUTO_BUF struct buf url = {0};
	char hex[DIGEST_HEX_MAX], control[FETCH_CONTROL_MAX] = "no_cache";
	int r = image_url_part(base, part->name, &url);

	if (r < 0)
		return ota_err_no_memory(err, "a URL");
	if (part->digest) {
		digest_to_hex(part->digest, hex);
		snprintf(control, sizeof(control), "file_sha256=%s%s", hex,
			part->is_zst ? ",file_compression_alg=zst" : "");
	}
	part->fd = open_scratch(s->config->scratch_dir_fd);
	if (part->fd < 0)
		return part_failed(-errno, part, err);
	return fetcher_add(s->fetcher,
		&(struct fetcher_job){
			.url = buf_str(&url),
			.name = part->name,
			.cache_control = control,
			.fd = part->fd,
			.digest = part->digest,
			.is_zst = part->is_zst,
			.plain_bytes = part->max_bytes,
			.max_wire_bytes = part->max_bytes,
			.tries_max = part->tries_max,
			.total_timeout_ms = part->total_timeout_ms,
			.outlast_outages = part->outlast_outages,
			/* A cache on the way may have had it compressed, but not once more. */
			.undo_encoding = !part->is_zst,
			.done = part_done,
			.ctx = part,
		},
		err);
}

static int inactive(struct source *s, uint32_t limit_ms, struct ota_err *err)
{
	struct ota_err trouble = fetcher_trouble(s->fetcher);

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
		int r = fetcher_run(s->fetcher, RUN_MS, err);
		uint64_t wire_bytes = fetcher_take_wire_bytes(s->fetcher);

		if (config->progress && wire_bytes > 0)
			config->progress(config->ctx, wire_bytes);
		if (r < 0)
			return r;
		if (!part->done && config->stop && config->stop(config->ctx))
			return ota_err_set(err, -ECANCELED, OTA_E_ABORTED,
				"The fetching of the image's metadata was stopped");
		if (!part->done && clock_monotonic_ms() - started_ms >= limit_ms &&
			fetcher_idle_ms(s->fetcher) >= limit_ms)
			return inactive(s, limit_ms, err);
	}
	if (part->result.r < 0)
		*err = part->result.err;
	return part->result.r;
}

/* The fetcher says that it is right. What counts is what is seen here. */
static int part_check(struct source *s, struct part *part, struct ota_err *err)
{
	struct digest digest;
	int r = fetcher_take(&part->fd, part->max_bytes, s->digest, &digest, &part->n_bytes);

	if (r < 0)
		return part_failed(r, part, err);
	if (part->digest && !digest_equal(&digest, part->digest))
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"The fetcher's %s is not the one that the image's metadata.jwt names",
			part->name);
	if (!part->buf)
		return 0;
	if (lseek(part->fd, 0, SEEK_SET) < 0)
		return part_failed(-errno, part, err);
	r = file_read_fd(part->fd, part->max_bytes, part->buf);
	return r < 0 ? part_failed(r, part, err) : 0;
}

/* With its bytes in part->buf, or in part->fd, which the caller closes. */
static int part_fetch_file(
	struct source *s, struct part *part, const char *base, struct ota_err *err)
{
	int r = part_request(s, part, base, err);

	if (r == 0)
		r = part_wait(s, part, err);
	return r == 0 ? part_check(s, part, err) : r;
}

static int part_fetch(struct source *s, struct part *part, const char *base, struct ota_err *err)
{
	int r = part_fetch_file(s, part, base, err);

	closep(&part->fd);
	part->fd = -1;
	return r;
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
static int fetch_form(struct source *s, const struct image *image, struct part *part,
	struct image_text *text, struct ota_err *err)
{
	int r = part_fetch_file(s, part, image->base_url, err);

	if (r == 0) {
		r = map_text(part->fd, part->n_bytes, text);
		r = r < 0 ? part_failed(r, part, err) : 0;
	}
	closep(&part->fd);
	return r;
}

/* 1: the plain list has to be fetched. */
static int fetch_compressed(struct source *s, const struct image *image,
	const struct image_part *signed_part, struct image_text *text, struct ota_err *err)
{
	char name[IMAGE_META_ZST_NAME_MAX];
	struct part part = {
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

/* @tries_max: 0 = as many as for all. */
static int fetch_text(struct source *s, const struct image *image,
	const struct image_part *signed_part, unsigned tries_max, struct image_text *text,
	struct ota_err *err)
{
	struct part part = {
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

static int fetch_list(
	struct source *s, struct image *image, enum image_list list, struct ota_err *err)
{
	const struct image_part *signed_part =
		(const struct image_part *)(const void *)((const char *)&image->meta +
							  list_table[list].part_offset);

	if (!signed_part->name[0])
		return 0;
	return fetch_text(s, image, signed_part, 0, &image->texts[list], err);
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

static void text_done(struct image_text *text)
{
	if (text->len_bytes > 0)
		munmap((void *)(uintptr_t)text->text, text->len_bytes);
}

/* Whatever is wrong with them, the update can do without; only an abort is one. */
static int fetch_patches(struct source *s, struct image *image, struct ota_err *err)
{
	const struct image_part *part = &image->meta.patches;
	CLEANUP(text_done) struct image_text text = {.text = ""};
	struct ota_err why = {0};
	int r;

	if (!part->name[0])
		return 0;
	r = fetch_text(s, image, part, PATCHES_TRIES_MAX, &text, &why);
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
	for (unsigned i = 0; r == 0 && i < IMAGE_LIST_COUNT; i++)
		r = fetch_list(s, image, (enum image_list)i, err);
	if (r == 0)
		r = make_table(image, err);
	return r == 0 ? fetch_patches(s, image, err) : r;
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
	patch_list_free(image->patches);
	for (size_t i = 0; i < IMAGE_LIST_COUNT; i++)
		text_done(&image->texts[i]);
	buf_done(&image->jwt);
	buf_done(&image->cert);
	free(image->base_url);
	*image = (struct image){0};
}
