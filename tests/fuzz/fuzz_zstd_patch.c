/*
 * fuzz_zstd_patch: any bytes as a patch. The first two say how large the content is to be, the rest is the patch. The
 * same verdict and the same bytes whatever the pieces, and never a byte outside.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char old[] =
	"What was there before, and what a patch may repeat: there, before, and before that.";

static int decode(struct zstd_patch_decoder *d, const uint8_t *data, size_t size, size_t piece,
	char *made, size_t made_len)
{
	assert(zstd_patch_decoder_start(d, old, sizeof(old), made, made_len) == 0);
	for (size_t at = 0; at < size; at += piece) {
		int r = zstd_patch_decoder_feed(d, data + at, MIN_OF(piece, size - at));

		if (r < 0)
			return r;
	}
	return zstd_patch_decoder_finish(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct zstd_patch_decoder *d;
	AUTO_FREE char *made = NULL, *again = NULL;
	size_t len;
	int r;

	if (!d)
		d = zstd_patch_decoder_new();
	if (size < 2)
		return 0;
	len = data[0] | (size_t)data[1] << 8;
	made = calloc(1, len + 1);
	again = calloc(1, len + 1);
	assert(d && made && again);
	r = decode(d, data + 2, size - 2, size, made, len);
	assert(decode(d, data + 2, size - 2, 3, again, len) == r);
	assert(r < 0 || memcmp(made, again, len) == 0);
	assert(made[len] == 0 && again[len] == 0);
	return 0;
}
