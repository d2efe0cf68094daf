/*
 * zstd_stream: contents compressed as one zstd frame. The door to libzstd.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum {
	ZSTD_WINDOW_LOG_MAX = 27,         /* what every client of the format can decode: 128 MiB */
	ZSTD_SHARED_MIN_BYTES = 64 << 20, /* below, other contents keep the processors busy */
};

/*
 * Decode exactly one frame from pieces of any size. The frame must be the first byte to the last: a leading
 * skippable frame, a second frame or trailing bytes are refused. A declared content size over @max_bytes is
 * refused at once, and so is output beyond it.
 */
struct zstd_decoder;

struct zstd_decoder *zstd_decoder_new(void); /* NULL: no memory. Reusable, one thread at a time. */
void zstd_decoder_free(struct zstd_decoder *d);
void zstd_decoder_freep(struct zstd_decoder **d);
#define AUTO_ZSTD_DECODER CLEANUP(zstd_decoder_freep)

void zstd_decoder_start(struct zstd_decoder *d, uint64_t max_bytes);

/* @sink gets the plain bytes; its negative return ends the decoding and is returned. -EBADMSG: bad frame. */
typedef int zstd_sink_fn(void *ctx, const void *data, size_t len_bytes);
int zstd_decoder_feed(struct zstd_decoder *d, const void *data, size_t len_bytes,
	zstd_sink_fn *sink, void *sink_ctx);

/* Was the frame complete? 0 or -EBADMSG. */
int zstd_decoder_finish(struct zstd_decoder *d);

/*
 * Compress pieces of any size into one frame (content size in its header, window ≤ 2^27), handing the frame's
 * bytes to @sink. start() says the exact number of plain bytes; -EBADMSG from feed() or finish() if they turn
 * out to be more or fewer. Same bytes, level and library: same frame, however the pieces are cut.
 */
struct zstd_encoder;
struct zstd_encoder *zstd_encoder_new(int level); /* 1…19; NULL: no memory. One thread at a time. */
void zstd_encoder_free(struct zstd_encoder *e);
void zstd_encoder_freep(struct zstd_encoder **e);
#define AUTO_ZSTD_ENCODER CLEANUP(zstd_encoder_freep)
/*
 * Contents of ZSTD_SHARED_MIN_BYTES and more are compressed by so many threads besides the caller's, 1 by default. The
 * frame does not depend on their number.
 */
void zstd_encoder_share(struct zstd_encoder *e, unsigned n_threads);
int zstd_encoder_start(struct zstd_encoder *e, uint64_t size_bytes);
int zstd_encoder_feed(struct zstd_encoder *e, const void *data, size_t len_bytes,
	zstd_sink_fn *sink, void *sink_ctx);
int zstd_encoder_finish(struct zstd_encoder *e, zstd_sink_fn *sink, void *sink_ctx);
