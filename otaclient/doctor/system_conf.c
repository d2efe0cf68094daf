/*
 * system_conf: read systemd's settings. Contract: system_conf.h.
 *
 * Lines are "[Section]" or "Key=value"; one that ends in a backslash goes on with the next; '#' and ';' begin comments.
 */
#include "otaclient/doctor/system_conf.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

struct piece {
	const char *at;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct piece strip(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	while (at < end && is_blank(end[-1]))
		end--;
	return (struct piece){at, (size_t)(end - at)};
}

static bool is(struct piece p, const char *text)
{
	return p.len == strlen(text) && memcmp(p.at, text, p.len) == 0;
}

/* The line at *@at, which is moved behind it and the lines that it goes on with; those are not part of the piece. */
static struct piece take_line(const char **at, const char *end)
{
	const char *begin = *at, *stop = NULL;

	for (bool goes_on = true; goes_on && *at < end;) {
		const char *nl = memchr(*at, '\n', (size_t)(end - *at)), *line_end = nl ? nl : end;

		goes_on = line_end > *at && line_end[-1] == '\\';
		if (!stop)
			stop = goes_on ? line_end - 1 : line_end;
		*at = nl ? nl + 1 : end;
	}
	return strip(begin, stop ? stop : begin);
}

int system_conf_value(const char *text, size_t len_bytes, const char *section, const char *key,
	char *ret_value, size_t size)
{
	const char *end = text + len_bytes;
	bool inside = false, found = false;
	struct piece value = {0};

	while (text < end) {
		struct piece line = take_line(&text, end);
		const char *eq;

		if (line.len == 0 || *line.at == '#' || *line.at == ';')
			continue;
		if (*line.at == '[') {
			inside = line.at[line.len - 1] == ']' &&
				 is((struct piece){line.at + 1, line.len - 2}, section);
			continue;
		}
		eq = memchr(line.at, '=', line.len);
		if (!inside || !eq || !is(strip(line.at, eq), key))
			continue;
		value = strip(eq + 1, line.at + line.len);
		found = true;
	}
	if (!found)
		return -ENOENT;
	if (value.len >= size)
		return -ENAMETOOLONG;
	memcpy(ret_value, value.at, value.len);
	ret_value[value.len] = '\0';
	return 0;
}

/* name, milliseconds; a name is also known with an 's' behind it */
static const struct {
	const char *name;
	uint64_t ms;
} units[] = {
	{"ms",     1		      },
	{"msec",   1		      },
	{"",       1000		   },
	{"s",      1000		   },
	{"sec",    1000                   },
	{"second", 1000                   },
	{"m",      60 * 1000              },
	{"min",    60 * 1000              },
	{"minute", 60 * 1000              },
	{"h",      60 * 60 * 1000         },
	{"hr",     60 * 60 * 1000         },
	{"hour",   60 * 60 * 1000         },
	{"d",      24 * 60 * 60 * 1000    },
	{"day",    24 * 60 * 60 * 1000    },
	{"w",      7 * 24 * 60 * 60 * 1000},
	{"week",   7 * 24 * 60 * 60 * 1000},
};

static bool unit_ms(struct piece unit, uint64_t *ret_ms)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t len = strlen(units[i].name);

		if (!is(unit, units[i].name) &&
			!(len > 2 && unit.len == len + 1 && unit.at[len] == 's' &&
				memcmp(unit.at, units[i].name, len) == 0))
			continue;
		*ret_ms = units[i].ms;
		return true;
	}
	return false;
}

/* The digits behind a point, as thousandths. */
static uint64_t take_fraction(const char **at)
{
	uint64_t v = 0, weight = 100;

	if (**at != '.')
		return 0;
	for (++*at; **at >= '0' && **at <= '9'; ++*at, weight /= 10)
		v += weight * (uint64_t)(**at - '0');
	return v;
}

int system_conf_time(const char *text, uint64_t *ret_ms)
{
	const uint64_t most = (uint64_t)1 << 40; /* milliseconds: thirty years */
	const char *end = text + strlen(text);
	uint64_t sum = 0;

	if (strcmp(text, "off") == 0 || strcmp(text, "no") == 0) {
		*ret_ms = 0;
		return 0;
	}
	if (strcmp(text, "infinity") == 0) {
		*ret_ms = UINT64_MAX;
		return 0;
	}
	if (!*text)
		return -EINVAL;
	while (text < end) {
		struct piece unit = {0};
		uint64_t n, thousandths, ms;

		if (decimal_read(&text, end, most, &n) < 0)
			return -EINVAL;
		thousandths = take_fraction(&text);
		while (is_blank(*text))
			text++;
		unit.at = text;
		while (*text >= 'a' && *text <= 'z')
			text++;
		unit.len = (size_t)(text - unit.at);
		if (!unit_ms(unit, &ms))
			return -EINVAL;
		/* Neither factor has more than 40 bits, of which the second has 30. */
		sum = n > most / ms ? UINT64_MAX : sum + n * ms + thousandths * ms / 1000;
		if (sum > most) {
			*ret_ms = UINT64_MAX;
			return 0;
		}
		while (is_blank(*text))
			text++;
	}
	*ret_ms = sum;
	return 0;
}
