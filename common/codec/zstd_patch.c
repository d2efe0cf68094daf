/*
 * zstd_patch: patches by libzstd's prefixes. Contract: zstd_patch.h.
 *
 * The decoder's output is one "stable" buffer: libzstd then looks back into it instead of keeping a window, which
 * would be as large as the content. The setting is one of those that libzstd calls experimental, so its refusal is
 * an answer too.
 */
#define ZSTD_STATIC_LINKING_ONLY
#include "common/codec/zstd_patch.h"

#include <errno.h>
#include <stdlib.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_frame.h"
#include "common/codec/zstd_stream.h"

enum {
	WINDOW_LOG_MIN = 17,
	WINDOW_LOG_MAX = 30,
};

#define AUTO_CCTX CLEANUP(free_cctx)

static void free_cctx(ZSTD_CCtx **ctx)
{
	ZSTD_freeCCtx(*ctx);
}

/* ---- making ---- */

/* A window that reaches from the last byte of the new content to the first of the old one. */
static int window_log(size_t total)
{
	int log = WINDOW_LOG_MIN;

	while (log < WINDOW_LOG_MAX && (size_t)1 << log < total)
		log++;
	return log;
}

static bool set_up(ZSTD_CCtx *ctx, int level, size_t total, const void *old, size_t old_len)
{
	/* Long-distance matching finds what lies far apart, which the tables of low levels forget. */
	return !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, level)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, window_log(total))) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(ctx, ZSTD_c_enableLongDistanceMatching, 1)) &&
	       !ZSTD_isError(ZSTD_CCtx_refPrefix(ctx, old, old_len));
}

int zstd_patch_make(const void *old, size_t old_len, const void *made, size_t made_len, int level,
	size_t max_bytes, struct buf *ret_patch)
{
	AUTO_CCTX ZSTD_CCtx *ctx = ZSTD_createCCtx();
	AUTO_FREE char *out = NULL;
	size_t n;
	int r;

	max_bytes = MIN_OF(max_bytes, ZSTD_compressBound(made_len));
	out = malloc(max_bytes);
	if (!ctx || !out || !set_up(ctx, level, old_len + made_len, old, old_len))
		return -ENOMEM;
	n = ZSTD_compress2(ctx, out, max_bytes, made, made_len);
	if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
		return 0;
	if (ZSTD_isError(n))
		return -ENOMEM; /* nothing else can be wrong */
	r = buf_append(ret_patch, out, n);
	return r < 0 ? r : 1;
}

/* ---- decoding ---- */

enum decoder_state {
	DECODER_HEADER, /* collecting the frame header */
	DECODER_BODY,
	DECODER_COMPLETE,
	DECODER_FAILED,
};

struct zstd_patch_decoder {
	ZSTD_DCtx *ctx;
	ZSTD_outBuffer out;
	enum decoder_state state;
	size_t header_len;
	unsigned char header[ZSTD_HEADER_MAX_BYTES];
};

bool zstd_patch_says_size(const void *data, size_t len_bytes, uint64_t made_len)
{
	uint64_t size;

	return zstd_frame_look(data, len_bytes, &size) == 1 && size == made_len;
}

struct zstd_patch_decoder *zstd_patch_decoder_new(void)
{
	struct zstd_patch_decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->ctx = ZSTD_createDCtx();
	d->state = DECODER_FAILED;
	if (d->ctx)
		return d;
	free(d);
	return NULL;
}

void zstd_patch_decoder_free(struct zstd_patch_decoder *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->ctx);
	free(d);
}

void zstd_patch_decoder_freep(struct zstd_patch_decoder **d)
{
	zstd_patch_decoder_free(*d);
}

int zstd_patch_decoder_start(
	struct zstd_patch_decoder *d, const void *old, size_t old_len, void *made, size_t made_len)
{
	ZSTD_DCtx_reset(d->ctx, ZSTD_reset_session_and_parameters);
	d->out = (ZSTD_outBuffer){.dst = made, .size = made_len};
	d->header_len = 0;
	d->state = DECODER_FAILED;
	if (ZSTD_isError(ZSTD_DCtx_setParameter(d->ctx, ZSTD_d_windowLogMax,
		    old_len > 0 ? WINDOW_LOG_MAX : ZSTD_WINDOW_LOG_MAX)) ||
		ZSTD_isError(ZSTD_DCtx_setParameter(d->ctx, ZSTD_d_stableOutBuffer, 1)) ||
		ZSTD_isError(ZSTD_DCtx_refPrefix(d->ctx, old, old_len)))
		return -ENOTSUP;
	d->state = DECODER_HEADER;
	return 0;
}

/* 1: the header is whole, and says the right size; 0: more bytes are needed; or -EBADMSG. */
static int look_at_header(const struct zstd_patch_decoder *d)
{
	uint64_t size;
	int r = zstd_frame_look(d->header, d->header_len, &size);

	return r == 1 && size != d->out.size ? -EBADMSG : r;
}

static int decode(struct zstd_patch_decoder *d, const void *data, size_t len_bytes)
{
	ZSTD_inBuffer in = {.src = data, .size = len_bytes};
	size_t before, left;

	do {
		before = in.pos + d->out.pos;
		left = ZSTD_decompressStream(d->ctx, &d->out, &in);
		if (ZSTD_isError(left))
			return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM
										       : -EBADMSG;
		if (left == 0) {
			d->state = DECODER_COMPLETE;
			return in.pos == in.size ? 0 : -EBADMSG;
		}
	} while (in.pos < in.size && in.pos + d->out.pos > before);
	/* Nothing moves although there is input: the frame has more than its header says. */
	return in.pos == in.size ? 0 : -EBADMSG;
}

static int feed(struct zstd_patch_decoder *d, const unsigned char *data, size_t len_bytes)
{
	while (d->state == DECODER_HEADER && len_bytes > 0) {
		int r;

		d->header[d->header_len++] = *data++;
		len_bytes--;
		r = look_at_header(d);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		d->state = DECODER_BODY;
		r = decode(d, d->header, d->header_len);
		if (r < 0)
			return r;
	}
	if (len_bytes == 0)
		return 0;
	return d->state == DECODER_BODY ? decode(d, data, len_bytes) : -EBADMSG;
}

int zstd_patch_decoder_feed(struct zstd_patch_decoder *d, const void *data, size_t len_bytes)
{
	int r = feed(d, data, len_bytes);

	if (r < 0)
		d->state = DECODER_FAILED;
	return r;
}

size_t zstd_patch_decoder_made(const struct zstd_patch_decoder *d)
{
	return d->out.pos;
}

int zstd_patch_decoder_finish(const struct zstd_patch_decoder *d)
{
	return d->state == DECODER_COMPLETE && d->out.pos == d->out.size ? 0 : -EBADMSG;
}
