/*
 * fuzz_cache_meta: the head of a cache's entry. What is read is written again as it was, and no value has a line end.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaproxy/cache_meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char head[CACHE_META_BYTES] = {0}, again[CACHE_META_BYTES];
	struct cache_meta meta;

	/* Filled up with zeros as in the file, so that inputs can be short. */
	memcpy(head, data, MIN_OF(size, sizeof(head)));
	if (cache_meta_read(head, sizeof(head), &meta) < 0)
		return 0;
	assert(meta.url[0] && !strpbrk(meta.url, "\r\n") && !strpbrk(meta.content_type, "\r\n"));
	assert(cache_meta_write(&meta, again) == 0);
	assert(memcmp(head, again, sizeof(head)) == 0);
	return 0;
}
