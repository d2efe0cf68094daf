/*
 * utf8: validation and display of names that come from outside. Contract: utf8.h.
 */
#include "common/image/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"

enum {
	SHOW_WHOLE_MAX = 160, /* a longer text is shown by its two ends */
	SHOW_START = 60,
	SHOW_END = 90,
};

/* The length of the character at @s, or 0 if there is none. Lead byte, length, range of the second
 * byte. */
static size_t char_len(const unsigned char *s, size_t len)
{
	static const struct {
		unsigned char first, last, len, second_min, second_max;
	} leads[] = {
		{0x00, 0x7F, 1, 0x00, 0x00},
                {0xC2, 0xDF, 2, 0x80, 0xBF},
		{0xE0, 0xE0, 3, 0xA0, 0xBF}, /* below: overlong */
		{0xE1, 0xEC, 3, 0x80, 0xBF},
                {0xED, 0xED, 3, 0x80, 0x9F}, /* above: surrogates */
		{0xEE, 0xEF, 3, 0x80, 0xBF},
                {0xF0, 0xF0, 4, 0x90, 0xBF}, /* below: overlong */
		{0xF1, 0xF3, 4, 0x80, 0xBF},
		{0xF4, 0xF4, 4, 0x80, 0x8F}, /* above: beyond U+10FFFF */
	};

	for (size_t i = 0; i < ARRAY_SIZE(leads); i++) {
		if (s[0] < leads[i].first || s[0] > leads[i].last)
			continue;
		if (leads[i].len > len)
			return 0;
		if (leads[i].len > 1 && (s[1] < leads[i].second_min || s[1] > leads[i].second_max))
			return 0;
		for (size_t k = 2; k < leads[i].len; k++)
			if ((s[k] & 0xC0) != 0x80)
				return 0;
		return leads[i].len;
	}
	return 0;
}

bool utf8_is_valid(const char *s, size_t len_bytes)
{
	size_t at = 0;

	while (at < len_bytes) {
		uint64_t eight;
		size_t n;

		/* Nearly all names are ASCII: take them eight bytes at a time. */
		if (len_bytes - at >= sizeof(eight)) {
			memcpy(&eight, s + at, sizeof(eight));
			if ((eight & 0x8080808080808080) == 0) {
				at += sizeof(eight);
				continue;
			}
		}
		n = char_len((const unsigned char *)s + at, len_bytes - at);
		if (n == 0)
			return false;
		at += n;
	}
	return true;
}

/* Append the shown form of @s to @out from @used on, whole characters only. Returns the new end. */
static size_t show_piece(char *out, size_t used, size_t cap, const char *s, size_t len)
{
	size_t at = 0;

	while (at < len) {
		const unsigned char *c = (const unsigned char *)s + at;
		size_t n = char_len(c, len - at);
		bool plain = n > 1 || (n == 1 && *c >= ' ' && *c != 0x7F);
		size_t need = plain ? n : strlen("\\x00");

		if (used + need >= cap)
			break;
		if (plain)
			memcpy(out + used, c, n);
		else
			snprintf(out + used, cap - used, "\\x%02X", *c);
		used += need;
		at += plain ? n : 1;
	}
	return used;
}

const char *utf8_show(const char *s, size_t len_bytes, char ret_shown[UTF8_SHOW_MAX])
{
	size_t used;

	if (len_bytes <= SHOW_WHOLE_MAX) {
		used = show_piece(ret_shown, 0, UTF8_SHOW_MAX, s, len_bytes);
	} else {
		used = show_piece(ret_shown, 0, SHOW_START + 1, s, SHOW_START);
		used = show_piece(ret_shown, used, UTF8_SHOW_MAX, "...", 3);
		used = show_piece(
			ret_shown, used, UTF8_SHOW_MAX, s + len_bytes - SHOW_END, SHOW_END);
	}
	ret_shown[used] = '\0';
	return ret_shown;
}
