/*
 * fuzz_zstd: never more output than allowed, and the same verdict whatever the pieces.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_stream.h"

enum {
	MAX_PLAIN_BYTES = 100 * 1000,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *ctx, const void *data, size_t len_bytes)
{
	*(uint64_t *)ctx += len_bytes;
	assert(*(uint64_t *)ctx <= MAX_PLAIN_BYTES);
	return 0;
}

static int decode(
	struct zstd_decoder *d, const uint8_t *data, size_t size, size_t piece, uint64_t *ret_plain)
{
	*ret_plain = 0;
	zstd_decoder_start(d, MAX_PLAIN_BYTES);
	for (size_t at = 0; at < size; at += piece) {
		int r = zstd_decoder_feed(d, data + at, MIN_OF(piece, size - at), count, ret_plain);

		if (r < 0)
			return r;
	}
	return zstd_decoder_finish(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct zstd_decoder *d;
	uint64_t plain, plain_again;
	int r;

	if (!d)
		d = zstd_decoder_new();
	assert(d);
	r = decode(d, data, size, size + 1, &plain);
	assert(decode(d, data, size, 3, &plain_again) == r);
	assert(r < 0 || plain == plain_again);
	return 0;
}
