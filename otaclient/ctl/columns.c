/*
 * columns: text from outside as a terminal shows it. Contract: columns.h.
 *
 * The widths are a table of our own, since wcwidth() knows nothing but ASCII where no locale is set, as on most ECUs.
 */
#include "otaclient/ctl/columns.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"

struct range {
	uint32_t first, last;
};

/* Control characters, marks and switches of direction, separators of lines, fillers without a width. */
static const struct range hostile[] = {
	{0x00,    0x1f   },
	{0x7f,    0x9f   },
	{0xad,    0xad   },
	{0x61c,   0x61c  },
	{0x180e,  0x180e },
	{0x200b,  0x200f },
	{0x2028,  0x202e },
	{0x2060,  0x206f },
	{0xfeff,  0xfeff },
	{0xfff9,  0xfffb },
	{0xe0000, 0xe007f},
};

static const struct range without_width[] = {
	{0x300,   0x36f  },
	{0x483,   0x489  },
	{0x591,   0x5bd  },
	{0x610,   0x61a  },
	{0x64b,   0x65f  },
	{0x1ab0,  0x1aff },
	{0x1dc0,  0x1dff },
	{0x20d0,  0x20ff },
	{0xfe00,  0xfe0f },
	{0xfe20,  0xfe2f },
	{0xe0100, 0xe01ef},
};

static const struct range wide[] = {
	{0x1100,  0x115f },
	{0x231a,  0x231b },
	{0x2329,  0x232a },
	{0x23e9,  0x23ec },
	{0x2e80,  0x303e },
	{0x3041,  0xa4cf },
	{0xa960,  0xa97f },
	{0xac00,  0xd7a3 },
	{0xf900,  0xfaff },
	{0xfe30,  0xfe6f },
	{0xff00,  0xff60 },
	{0xffe0,  0xffe6 },
	{0x16fe0, 0x18aff},
	{0x1b000, 0x1b2ff},
	{0x1f000, 0x1faff},
	{0x20000, 0x3fffd},
};

static bool is_in(uint32_t c, const struct range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

/* Bytes of the character at @s, or 0 if there is none. */
static size_t decode(const unsigned char *s, uint32_t *ret_c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80   ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;
	uint32_t c = n > 1 ? s[0] & (0x7fu >> n) : s[0];

	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) /* the NUL as well */
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (n == 0 || c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_c = c;
	return n;
}

unsigned columns_next(const char **text, char ret_bytes[COLUMNS_CHARACTER_MAX])
{
	uint32_t c = 0;
	size_t n = decode((const unsigned char *)*text, &c);

	if (n == 0 || is_in(c, hostile, ARRAY_SIZE(hostile))) {
		memcpy(ret_bytes, "?", 2);
		*text += n > 0 ? n : 1;
		return 1;
	}
	memcpy(ret_bytes, *text, n);
	ret_bytes[n] = '\0';
	*text += n;
	if (is_in(c, without_width, ARRAY_SIZE(without_width)))
		return 0;
	return is_in(c, wide, ARRAY_SIZE(wide)) ? 2 : 1;
}

unsigned columns_of(const char *text)
{
	char bytes[COLUMNS_CHARACTER_MAX];
	unsigned n = 0;

	while (*text)
		n += columns_next(&text, bytes);
	return n;
}

void columns_print(FILE *out, const char *text)
{
	char bytes[COLUMNS_CHARACTER_MAX];

	while (*text) {
		columns_next(&text, bytes);
		fputs(bytes, out);
	}
}

unsigned columns_print_cut(FILE *out, const char *text, unsigned width)
{
	unsigned all = columns_of(text), room = all <= width ? width : width - 1, n = 0;
	char bytes[COLUMNS_CHARACTER_MAX];

	if (width == 0)
		return 0;
	while (*text) {
		unsigned columns = columns_next(&text, bytes);

		if (n + columns > room)
			break;
		fputs(bytes, out);
		n += columns;
	}
	if (all <= width)
		return n;
	fputs("\xe2\x80\xa6", out);
	return n + 1;
}

static void fill(FILE *out, unsigned n)
{
	for (; n > 0; n--)
		fputc(' ', out);
}

void columns_print_left(FILE *out, const char *text, unsigned width)
{
	fill(out, width - columns_print_cut(out, text, width));
}

void columns_print_right(FILE *out, const char *text, unsigned width)
{
	unsigned n = columns_of(text);

	fill(out, n < width ? width - n : 0);
	columns_print_cut(out, text, width);
}
