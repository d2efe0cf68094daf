/*
 * fuzz_http_answer: the fields of an answer, one per line, and the cookies of a request.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/http.h"
#include "common/net/http_answer.h"
#include "common/net/http_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_fields(const char *text, size_t len)
{
	struct http_answer a;

	http_answer_init(&a);
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line_len = end ? (size_t)(end - text) + 1 : len;
		struct http_field field;

		if (http_field_split(text, line_len, &field))
			http_answer_add(&a, &field);
		text += line_len;
		len -= line_len;
	}
	assert(strlen(http_answer_validator(&a)) < HTTP_VALIDATOR_MAX);
	if (a.has_range)
		assert(a.range_first <= a.range_last && a.range_last < a.range_total);
}

static void read_cookies(const char *text, size_t len)
{
	char *header = NULL;

	if (http_cookies_from_json(text, len, &header, NULL) == 0 && header)
		assert(http_text_is_field_value(header));
	free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_fields((const char *)data, size);
	read_cookies((const char *)data, size);
	return 0;
}
