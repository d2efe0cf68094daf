/*
 * hex: bytes as hexadecimal text. Contract: hex.h.
 */
#include "common/base/hex.h"

#include <errno.h>

void hex_encode(const uint8_t *data, size_t len_bytes, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len_bytes; i++) {
		ret_text[2 * i] = digits[data[i] >> 4];
		ret_text[2 * i + 1] = digits[data[i] & 15];
	}
	ret_text[2 * len_bytes] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_decode(const char *text, size_t text_len, uint8_t *ret_data)
{
	if (text_len % 2)
		return -EBADMSG;
	for (size_t i = 0; i < text_len; i++)
		if (hex_digit(text[i]) < 0)
			return -EBADMSG;
	for (size_t i = 0; i < text_len / 2; i++)
		ret_data[i] = (uint8_t)(hex_digit(text[2 * i]) * 16 + hex_digit(text[2 * i + 1]));
	return 0;
}
