/*
 * fuzz_cache_control: any value of ota-file-cache-control; what is written says the same again.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "otaproxy/cache_control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cache_control cc = {0}, again = {0};
	char text[CACHE_CONTROL_TEXT_MAX];

	if (cache_control_parse((const char *)data, size, &cc, NULL) < 0)
		return 0;
	cache_control_write(&cc, text);
	assert(strlen(text) < sizeof(text));
	assert(cache_control_parse(text, strlen(text), &again, NULL) == 0);
	assert(again.no_cache == cc.no_cache && again.retry_caching == cc.retry_caching);
	if (cc.alg == CACHE_ALG_OTHER) {
		assert(!again.has_digest && again.alg == CACHE_ALG_NONE);
		return 0;
	}
	assert(again.has_digest == cc.has_digest && again.alg == cc.alg);
	assert(digest_equal(&again.digest, &cc.digest));
	return 0;
}
