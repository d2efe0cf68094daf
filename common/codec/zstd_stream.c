/*
 * zstd_stream: one zstd frame in, plain bytes out, and back. Contract: zstd_stream.h.
 *
 * The decoder looks at the first bytes itself before libzstd sees any: libzstd would skip a skippable frame
 * and start a second frame in silence, and would allocate the window before anybody has asked how large the
 * content is going to be.
 */
#include "common/codec/zstd_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_frame.h"

enum {
	OUTPUT_BYTES = 128 * 1024, /* the largest block of the format */
	SHARING_MAX = 16,          /* threads for one content; each takes memory for 16 MiB of it */
};

enum decoder_state {
	DECODER_HEADER, /* collecting the frame header */
	DECODER_BODY,
	DECODER_COMPLETE, /* the frame has ended: nothing may follow */
	DECODER_FAILED,
};

struct zstd_decoder {
	ZSTD_DCtx *ctx;
	enum decoder_state state;
	uint64_t left_bytes; /* of plain bytes that may still come */
	size_t header_len;
	unsigned char header[ZSTD_HEADER_MAX_BYTES];
	unsigned char output[OUTPUT_BYTES];
};

struct zstd_encoder {
	ZSTD_CCtx *ctx;
	int n_threads; /* for contents of ZSTD_SHARED_MIN_BYTES and more */
	unsigned char output[OUTPUT_BYTES];
};

static int errno_of(size_t zstd_result)
{
	return ZSTD_getErrorCode(zstd_result) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
}

struct zstd_decoder *zstd_decoder_new(void)
{
	struct zstd_decoder *d = malloc(sizeof(*d));

	if (!d)
		return NULL;
	d->ctx = ZSTD_createDCtx();
	if (!d->ctx || ZSTD_isError(ZSTD_DCtx_setParameter(
			       d->ctx, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX))) {
		zstd_decoder_free(d);
		return NULL;
	}
	zstd_decoder_start(d, 0);
	return d;
}

void zstd_decoder_free(struct zstd_decoder *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->ctx);
	free(d);
}

void zstd_decoder_freep(struct zstd_decoder **d)
{
	zstd_decoder_free(*d);
}

void zstd_decoder_start(struct zstd_decoder *d, uint64_t max_bytes)
{
	ZSTD_DCtx_reset(d->ctx, ZSTD_reset_session_only);
	d->state = DECODER_HEADER;
	d->left_bytes = max_bytes;
	d->header_len = 0;
}

static int decode(struct zstd_decoder *d, const void *data, size_t len_bytes, zstd_sink_fn *sink,
	void *sink_ctx)
{
	ZSTD_inBuffer in = {.src = data, .size = len_bytes};
	ZSTD_outBuffer out;

	do {
		size_t hint;
		int r;

		out = (ZSTD_outBuffer){.dst = d->output, .size = sizeof(d->output)};
		hint = ZSTD_decompressStream(d->ctx, &out, &in);
		if (ZSTD_isError(hint))
			return errno_of(hint);
		if (out.pos > d->left_bytes)
			return -EBADMSG;
		d->left_bytes -= out.pos;
		r = out.pos > 0 ? sink(sink_ctx, d->output, out.pos) : 0;
		if (r < 0)
			return r;
		if (hint == 0) {
			d->state = DECODER_COMPLETE;
			return in.pos == in.size ? 0 : -EBADMSG;
		}
	} while (in.pos < in.size || out.pos == out.size);
	return 0;
}

/* 1: the header is whole and fits; 0: more bytes are needed; or -EBADMSG. */
static int look_at_header(const struct zstd_decoder *d)
{
	uint64_t size;
	int r = zstd_frame_look(d->header, d->header_len, &size);

	if (r == 1 && size != UINT64_MAX && size > d->left_bytes)
		return -EBADMSG;
	return r;
}

static int feed(struct zstd_decoder *d, const unsigned char *data, size_t len_bytes,
	zstd_sink_fn *sink, void *sink_ctx)
{
	int r;

	if (len_bytes == 0)
		return 0;
	if (d->state == DECODER_COMPLETE || d->state == DECODER_FAILED)
		return -EBADMSG;
	while (d->state == DECODER_HEADER && len_bytes > 0) {
		d->header[d->header_len++] = *data++;
		len_bytes--;
		r = look_at_header(d);
		if (r < 0)
			return r;
		if (r == 1) {
			d->state = DECODER_BODY;
			r = decode(d, d->header, d->header_len, sink, sink_ctx);
			if (r < 0)
				return r;
		}
	}
	return len_bytes > 0 ? decode(d, data, len_bytes, sink, sink_ctx) : 0;
}

int zstd_decoder_feed(struct zstd_decoder *d, const void *data, size_t len_bytes,
	zstd_sink_fn *sink, void *sink_ctx)
{
	int r = feed(d, data, len_bytes, sink, sink_ctx);

	if (r < 0)
		d->state = DECODER_FAILED;
	return r;
}

int zstd_decoder_finish(struct zstd_decoder *d)
{
	return d->state == DECODER_COMPLETE ? 0 : -EBADMSG;
}

struct zstd_encoder *zstd_encoder_new(int level)
{
	struct zstd_encoder *e = malloc(sizeof(*e));

	/* Up to level 19 the window is at most 8 MiB; beyond, it might pass what clients accept. */
	assert(level >= 1 && level <= 19);
	if (!e)
		return NULL;
	e->n_threads = 1;
	e->ctx = ZSTD_createCCtx();
	if (!e->ctx ||
		ZSTD_isError(ZSTD_CCtx_setParameter(e->ctx, ZSTD_c_compressionLevel, level))) {
		zstd_encoder_free(e);
		return NULL;
	}
	return e;
}

void zstd_encoder_free(struct zstd_encoder *e)
{
	if (!e)
		return;
	ZSTD_freeCCtx(e->ctx);
	free(e);
}

void zstd_encoder_freep(struct zstd_encoder **e)
{
	zstd_encoder_free(*e);
}

void zstd_encoder_share(struct zstd_encoder *e, unsigned n_threads)
{
	e->n_threads = (int)MIN_OF(MAX_OF(n_threads, 1U), (unsigned)SHARING_MAX);
}

/*
 * With any number of workers libzstd cuts a content into the same jobs, so the frame is the same; without one it makes
 * another. So a large content has one at least. A libzstd that was built without threads makes what it can.
 */
static void choose_threads(struct zstd_encoder *e, uint64_t size_bytes)
{
	int n = size_bytes >= ZSTD_SHARED_MIN_BYTES ? e->n_threads : 0;

	(void)ZSTD_CCtx_setParameter(e->ctx, ZSTD_c_nbWorkers, n);
}

int zstd_encoder_start(struct zstd_encoder *e, uint64_t size_bytes)
{
	size_t z = ZSTD_CCtx_reset(e->ctx, ZSTD_reset_session_only);

	choose_threads(e, size_bytes);
	if (!ZSTD_isError(z))
		z = ZSTD_CCtx_setPledgedSrcSize(e->ctx, size_bytes);
	return ZSTD_isError(z) ? errno_of(z) : 0;
}

static int encode(struct zstd_encoder *e, ZSTD_inBuffer *in, ZSTD_EndDirective end,
	zstd_sink_fn *sink, void *sink_ctx)
{
	size_t rest;

	do {
		ZSTD_outBuffer out = {.dst = e->output, .size = sizeof(e->output)};
		int r;

		rest = ZSTD_compressStream2(e->ctx, &out, in, end);
		if (ZSTD_isError(rest))
			return errno_of(rest);
		r = out.pos > 0 ? sink(sink_ctx, e->output, out.pos) : 0;
		if (r < 0)
			return r;
	} while (end == ZSTD_e_end ? rest > 0 : in->pos < in->size);
	return 0;
}

int zstd_encoder_feed(struct zstd_encoder *e, const void *data, size_t len_bytes,
	zstd_sink_fn *sink, void *sink_ctx)
{
	ZSTD_inBuffer in = {.src = data, .size = len_bytes};

	return len_bytes > 0 ? encode(e, &in, ZSTD_e_continue, sink, sink_ctx) : 0;
}

int zstd_encoder_finish(struct zstd_encoder *e, zstd_sink_fn *sink, void *sink_ctx)
{
	ZSTD_inBuffer in = {0};

	return encode(e, &in, ZSTD_e_end, sink, sink_ctx);
}
