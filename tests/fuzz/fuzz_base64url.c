/*
 * fuzz_base64url: what decodes has exactly one padded spelling, and that one leads back.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/base64url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf plain = {0};
	AUTO_BUF struct buf text = {0};

	if (base64url_decode((const char *)data, size, &plain) < 0)
		return 0;
	assert(base64url_encode(buf_str(&plain), plain.len_bytes, &text) == 0);
	assert(text.len_bytes >= size && text.len_bytes - size <= 2);
	assert(memcmp(buf_str(&text), data, size) == 0);
	assert(strspn(buf_str(&text) + size, "=") == text.len_bytes - size);
	return 0;
}
