/*
 * body: a sink for the HTTP client. Contract: body.h.
 *
 * Wrong bytes are asked for again, without a range and past the caches on the way: that is what -EAGAIN means to the
 * client. A patch is not worth that: it is refused, and the daemon has the whole content fetched. Nor is its digest
 * looked at, for what it makes has one, and the daemon hashes that.
 */
#include "otaclient/fetcher/body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/codec/zstd_patch.h"
#include "common/codec/zstd_stream.h"
#include "otaclient/fetcher/mapped_frame.h"

enum {
	CONTROL_MAX = 160,
	PREALLOC_MIN_BYTES = 1 << 20,
	/* From here on a frame is decoded into its mapped file, if it says its size: a window costs up to 4 MiB in an
	 * ordinary image. */
	LARGE_MIN_BYTES = 512 * 1024,
};

struct body {
	struct packet_head job;
	char *url, *name, *cache_control; /* owned; name and cache_control: NULL = none */
	int fd, base_fd; /* base_fd: of the content that a patch starts from; -1 = it is no patch */
	struct mapped_frame
		*mapped; /* a patch, or a large frame; NULL = neither, or not yet known */
	struct digest_ctx *digest;
	struct zstd_decoder *zstd; /* while a small frame comes: it keeps its window */
	bool is_zst;               /* the body is a frame; an answer may say otherwise */
	bool is_frame_begun;       /* its first bytes have come */
	uint64_t n_bytes;          /* plain ones that came */
	uint64_t wire_bytes;       /* not yet taken */
	struct ota_err *err;       /* of the callback that runs */
};

static bool is_set(const struct body *b, enum job_flag flag)
{
	return b->job.flags & flag;
}

/* ---- sentences ---- */

/* Bytes that are not the content's: ask again. */
static int wrong_bytes(struct body *b, const char *how)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(&b->job.digest, hex);
	if (b->name)
		return ota_err_set(b->err, -EAGAIN, OTA_E_OTA_IMAGE_INVALID,
			"The server's %s is not the one that the image's metadata.jwt "
			"names: %s",
			b->name, how);
	if (is_set(b, JOB_IS_PATCH))
		return ota_err_set(b->err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"What the server sends is not the patch %s: %s", hex, how);
	return ota_err_set(b->err, -EAGAIN, OTA_E_OTA_IMAGE_INVALID,
		"What the server sends is not the content %s: %s", hex, how);
}

/* A failure of ours: @what could not be done. */
static int file_failed(struct body *b, int r, const char *what)
{
	bool full = r == -ENOSPC || r == -EDQUOT;

	if (b->name)
		return ota_err_set(b->err, r, full ? OTA_E_STANDBY_SLOT_SPACE : OTA_E_UNSPECIFIC,
			"Cannot keep the image's %s: %s", b->name, strerror(-r));
	return ota_err_set(b->err, r,
		full ? OTA_E_STANDBY_SLOT_SPACE : OTA_E_APPLY_OTAUPDATE_FAILED, "Cannot %s: %s",
		what, strerror(-r));
}

/* ---- the file ---- */

static int preallocate(struct body *b)
{
	uint64_t size = b->job.plain_bytes;

	if (!is_set(b, JOB_SIZE_KNOWN) || size < PREALLOC_MIN_BYTES)
		return 0;
	/* One piece of disk, and a full disk is known before the bytes are paid for. */
	if (fallocate(b->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) < 0 &&
		(errno == ENOSPC || errno == EDQUOT))
		return file_failed(b, -errno, "reserve space for it");
	return 0;
}

static int decoder_ready(struct body *b)
{
	if (!b->zstd)
		b->zstd = zstd_decoder_new();
	if (!b->zstd)
		return ota_err_no_memory(b->err, "the decompression");
	zstd_decoder_start(b->zstd, b->job.plain_bytes);
	return 0;
}

static int begin(struct body *b)
{
	b->n_bytes = 0;
	b->is_zst = is_set(b, JOB_IS_ZST);
	b->is_frame_begun = false;
	mapped_frame_end(TAKE_PTR(b->mapped));
	if (is_set(b, JOB_IS_PATCH))
		return 0;
	digest_start(b->digest);
	return preallocate(b);
}

static int on_restart(void *ctx, struct ota_err *err)
{
	struct body *b = ctx;

	b->err = err;
	if (ftruncate(b->fd, 0) < 0 || lseek(b->fd, 0, SEEK_SET) < 0)
		return file_failed(b, -errno, "empty its file");
	return begin(b);
}

/* ---- what a cache on the way says ---- */

/* "name" or "name=value" up to the next comma, spaces around it gone. */
static bool next_directive(char **rest, char **ret_name, char **ret_value)
{
	char *name = strsep(rest, ","), *end;

	if (!name)
		return false;
	name += strspn(name, " \t");
	end = name + strlen(name);
	while (end > name && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	*ret_name = strsep(&name, "=");
	*ret_value = name ? name : end;
	return true;
}

static bool has_begun(const struct body *b)
{
	return b->is_frame_begun || b->n_bytes > 0;
}

/* A cache says what it really sends, if it knows. */
static int on_header(void *ctx, const char *name, const char *value, struct ota_err *err)
{
	struct body *b = ctx;
	char copy[CONTROL_MAX], *rest = copy, *directive, *argument;
	bool has_digest = false, has_alg = false, was_zst = b->is_zst;
	struct digest digest;

	if (!is_set(b, JOB_DIGEST_KNOWN) || strcasecmp(name, "ota-file-cache-control") != 0 ||
		strlen(value) >= sizeof(copy))
		return 0;
	b->err = err;
	memcpy(copy, value, strlen(value) + 1);
	while (next_directive(&rest, &directive, &argument)) {
		if (strcmp(directive, "file_sha256") == 0) {
			has_digest = true;
			if (digest_from_hex(argument, strlen(argument), &digest) < 0 ||
				!digest_equal(&digest, &b->job.digest))
				return wrong_bytes(
					b, "the cache on the way says that it is another");
		} else if (strcmp(directive, "file_compression_alg") == 0) {
			has_alg = true;
			b->is_zst = strcmp(argument, "zst") == 0 || strcmp(argument, "zstd") == 0;
		}
	}
	/* It has the content by its digest, and no compression to tell of. */
	if (has_digest && !has_alg)
		b->is_zst = false;
	/* The frame of a patch is no caches' business. */
	if (is_set(b, JOB_IS_PATCH) && b->is_zst)
		return wrong_bytes(b, "the cache on the way has compressed it");
	return b->is_zst != was_zst && has_begun(b)
		       ? wrong_bytes(b, "the cache on the way has the rest in another form")
		       : 0;
}

/* ---- the bytes ---- */

static int take_plain(void *ctx, const void *data, size_t len)
{
	struct body *b = ctx;
	int r;

	if (len > b->job.plain_bytes - b->n_bytes)
		return wrong_bytes(b, "it is longer");
	b->n_bytes += len;
	digest_add(b->digest, data, len);
	r = file_write_all(b->fd, data, len);
	return r < 0 ? file_failed(b, r, "write its file") : 0;
}

/* Its decoder is made with its first bytes: of the patches that are asked for at once few have come. */
static int take_patch(struct body *b, const void *data, size_t len)
{
	int r = 0;

	if (!b->mapped)
		r = mapped_frame_start(
			b->base_fd, b->job.base_bytes, b->fd, b->job.plain_bytes, &b->mapped);
	if (r == 0)
		r = mapped_frame_feed(b->mapped, data, len, NULL);
	if (r == -EBADMSG)
		return wrong_bytes(b, "it does not fit the older content");
	if (r == -ESTALE)
		return ota_err_set(b->err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
			"The older content that it starts from has another size by now");
	return r < 0 ? file_failed(b, r, "apply a patch in its file") : 0;
}

/* How is it to be decoded? That is seen from its first bytes. */
static int frame_begin(struct body *b, const void *data, size_t len)
{
	uint64_t size = b->job.plain_bytes;
	int r = -ENOTSUP;

	b->is_frame_begun = true;
	if (is_set(b, JOB_SIZE_KNOWN) && size >= LARGE_MIN_BYTES &&
		zstd_patch_says_size(data, len, size))
		r = mapped_frame_start(-1, 0, b->fd, size, &b->mapped);
	/* Whatever else cannot be had, as addresses for a large content on a machine of 32 bits: a window will do. */
	return r < 0 && r != -ENOSPC && r != -EDQUOT ? decoder_ready(b)
	       : r < 0 ? file_failed(b, r, "decompress it into its file")
		       : 0;
}

static int take_frame(struct body *b, const void *data, size_t len)
{
	int r = b->is_frame_begun ? 0 : frame_begin(b, data, len);

	if (r < 0)
		return r;
	r = b->mapped ? mapped_frame_feed(b->mapped, data, len, b->digest)
		      : zstd_decoder_feed(b->zstd, data, len, take_plain, b);
	if (r == -EBADMSG)
		return wrong_bytes(b, "it is no whole zstd frame of that size");
	return r == -EIO && b->mapped ? file_failed(b, r, "decompress it into its file") : r;
}

static int on_data(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	struct body *b = ctx;

	b->err = err;
	b->wire_bytes += len;
	if (is_set(b, JOB_IS_PATCH))
		return take_patch(b, data, len);
	return b->is_zst ? take_frame(b, data, len) : take_plain(b, data, len);
}

static int check_digest(struct body *b)
{
	struct digest digest;
	char is[DIGEST_HEX_MAX], wanted[DIGEST_HEX_MAX], how[sizeof(is) + sizeof(wanted) + 32];

	digest_final(b->digest, &digest);
	if (!is_set(b, JOB_DIGEST_KNOWN) || digest_equal(&digest, &b->job.digest))
		return 0;
	digest_to_hex(&digest, is);
	digest_to_hex(&b->job.digest, wanted);
	snprintf(how, sizeof(how), "its digest is %s, not %s", is, wanted);
	return wrong_bytes(b, b->name ? how : "its digest is another");
}

static int patch_end(struct body *b)
{
	int r = b->mapped ? mapped_frame_finish(b->mapped) : -EBADMSG;

	mapped_frame_end(TAKE_PTR(b->mapped));
	b->n_bytes = b->job.plain_bytes;
	return r < 0 ? wrong_bytes(b, "it ends early") : 0;
}

static int frame_end(struct body *b)
{
	int r;

	if (!b->mapped)
		return b->is_frame_begun ? zstd_decoder_finish(b->zstd) : -EBADMSG;
	r = mapped_frame_finish(b->mapped);
	mapped_frame_end(TAKE_PTR(b->mapped));
	b->n_bytes = b->job.plain_bytes;
	return r;
}

static int on_end(void *ctx, struct ota_err *err)
{
	struct body *b = ctx;

	b->err = err;
	if (is_set(b, JOB_IS_PATCH))
		return patch_end(b);
	if (b->is_zst && frame_end(b) < 0)
		return wrong_bytes(b, "its zstd frame ends early");
	if (is_set(b, JOB_SIZE_KNOWN) && b->n_bytes != b->job.plain_bytes)
		return wrong_bytes(b, "it is shorter");
	return check_digest(b);
}

/* ---- the contract ---- */

static bool copy_text(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return !text || *ret_copy;
}

struct body *body_new(void)
{
	struct body *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->fd = b->base_fd = -1;
	b->digest = digest_ctx_new();
	if (b->digest)
		return b;
	body_free(b);
	return NULL;
}

int body_set(struct body *b, const struct packet *packet, const int fds[PACKET_FDS_MAX])
{
	body_rest(b);
	b->fd = fds[0];
	b->base_fd = fds[1];
	b->job = packet->head;
	if (copy_text(packet->text[JOB_URL], &b->url) &&
		copy_text(packet->text[JOB_NAME], &b->name) &&
		copy_text(packet->text[JOB_CACHE_CONTROL], &b->cache_control))
		return 0;
	return -ENOMEM;
}

void body_rest(struct body *b)
{
	mapped_frame_end(TAKE_PTR(b->mapped));
	closep(&b->fd);
	closep(&b->base_fd);
	b->fd = b->base_fd = -1;
	free(TAKE_PTR(b->url));
	free(TAKE_PTR(b->name));
	free(TAKE_PTR(b->cache_control));
	zstd_decoder_free(TAKE_PTR(b->zstd));
}

void body_free(struct body *b)
{
	if (!b)
		return;
	body_rest(b);
	digest_ctx_free(b->digest);
	free(b);
}

int body_start(struct body *b, struct http_client *client,
	void (*done)(void *ctx, const struct http_result *result), void *ctx, struct ota_err *err)
{
	const struct http_request request = {
		.url = b->url,
		.max_bytes = b->job.max_wire_bytes,
		.cache_control = b->cache_control,
		.tries_max = b->job.tries_max,
		.total_timeout_ms = b->job.total_timeout_ms,
		.outlast_outages = is_set(b, JOB_OUTLAST_OUTAGES),
		.undo_encoding = is_set(b, JOB_UNDO_ENCODING),
		.sink = {.restart = on_restart,
			 .header = on_header,
			 .data = on_data,
			 .end = on_end},
		.sink_ctx = b,
		.done = done,
		.done_ctx = ctx,
	};
	int r;

	b->err = err;
	r = begin(b);
	return r < 0 ? r : http_client_add(client, &request, err);
}

uint32_t body_id(const struct body *b)
{
	return b->job.id;
}

uint64_t body_plain_bytes(const struct body *b)
{
	return b->n_bytes;
}

uint64_t body_take_wire_bytes(struct body *b)
{
	uint64_t n = b->wire_bytes;

	b->wire_bytes = 0;
	return n;
}
