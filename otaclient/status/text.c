/*
 * text: strings that may stand in an answer of the API. Contract: text.h.
 */
#include "otaclient/status/text.h"

#include <string.h>

#include "common/image/utf8.h"

bool text_is_clean(const char *s, size_t len_bytes)
{
	return len_bytes == 0 || (!memchr(s, '\0', len_bytes) && utf8_is_valid(s, len_bytes));
}

size_t text_cut(const char *s, size_t len_bytes, size_t max_bytes)
{
	size_t n = max_bytes;

	if (len_bytes <= max_bytes)
		return len_bytes;
	while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void text_put(char *field, size_t size_bytes, const char *text)
{
	size_t n = text_cut(text, strlen(text), size_bytes - 1);

	memcpy(field, text, n);
	field[n] = '\0';
}

void text_repair(char *s)
{
	size_t len = strlen(s);

	for (size_t at = 0; at < len;) {
		size_t n = 1;

		while (n <= 4 && n <= len - at && !utf8_is_valid(s + at, n))
			n++;
		if (n > 4 || n > len - at) {
			s[at] = '?';
			n = 1;
		}
		at += n;
	}
}
