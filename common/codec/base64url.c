/*
 * base64url: RFC 4648 §5. Contract: base64url.h.
 *
 * The decoder is strict: one value has one padded and one unpadded spelling, so no white space, no alphabet of
 * plain base64 and no stray bits in the last character.
 */
#include "common/codec/base64url.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/cleanup.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int base64url_encode(const void *data, size_t len_bytes, struct buf *ret_text)
{
	const uint8_t *in = data;
	AUTO_FREE char *text = malloc((len_bytes + 2) / 3 * 4 + 1);
	size_t n = 0;

	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < len_bytes; i += 3) {
		size_t have = MIN_OF(len_bytes - i, (size_t)3);
		uint32_t v = (uint32_t)in[i] << 16;

		if (have > 1)
			v |= (uint32_t)in[i + 1] << 8;
		if (have > 2)
			v |= in[i + 2];
		text[n++] = alphabet[v >> 18];
		text[n++] = alphabet[v >> 12 & 63];
		text[n++] = (char)(have > 1 ? alphabet[v >> 6 & 63] : '=');
		text[n++] = (char)(have > 2 ? alphabet[v & 63] : '=');
	}
	return buf_append(ret_text, text, n);
}

static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

int base64url_decode(const char *text, size_t len_bytes, struct buf *ret_data)
{
	AUTO_FREE uint8_t *data = NULL;
	uint32_t bits = 0; /* those not yet written out, in the low n_bits */
	unsigned n_bits = 0;
	size_t n = 0;

	if (len_bytes % 4 == 0 && len_bytes > 0 && text[len_bytes - 1] == '=') {
		len_bytes--;
		if (text[len_bytes - 1] == '=')
			len_bytes--;
	}
	if (len_bytes % 4 == 1)
		return -EBADMSG;
	data = malloc(len_bytes / 4 * 3 + 3);
	if (!data)
		return -ENOMEM;
	for (size_t i = 0; i < len_bytes; i++) {
		int v = sextet(text[i]);

		if (v < 0)
			return -EBADMSG;
		bits = (bits << 6 | (uint32_t)v) & 0xfff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			data[n++] = (uint8_t)(bits >> n_bits);
		}
	}
	if (bits & ((1u << n_bits) - 1))
		return -EBADMSG;
	return buf_append(ret_data, data, n);
}
