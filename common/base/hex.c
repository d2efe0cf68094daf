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

/*
 * A table: a third of reading an image's lists was spent comparing characters. A digit's value with IS_DIGIT; 0 =
 * none.
 */
enum {
	IS_DIGIT = 0x10,
};
static const uint8_t digit_of[256] = {
	['0'] = 0x10,
	0x11,
	0x12,
	0x13,
	0x14,
	0x15,
	0x16,
	0x17,
	0x18,
	0x19,
	['A'] = 0x1a,
	0x1b,
	0x1c,
	0x1d,
	0x1e,
	0x1f,
	['a'] = 0x1a,
	0x1b,
	0x1c,
	0x1d,
	0x1e,
	0x1f,
};

int hex_decode(const char *text, size_t text_len, uint8_t *ret_data)
{
	const unsigned char *in = (const unsigned char *)text;
	unsigned all = IS_DIGIT;

	if (text_len % 2)
		return -EBADMSG;
	/* Nothing is written before everything was seen to be right. */
	for (size_t i = 0; i < text_len; i++)
		all &= digit_of[in[i]];
	if (!(all & IS_DIGIT))
		return -EBADMSG;
	for (size_t i = 0; i < text_len / 2; i++)
		ret_data[i] =
			(uint8_t)((digit_of[in[2 * i]] & 15) << 4 | (digit_of[in[2 * i + 1]] & 15));
	return 0;
}
