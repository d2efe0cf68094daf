/*
 * yaml_number: the forms of YAML 1.1 (yaml.org/type/int, float, timestamp), read by hand: regexec() says "no" where
 * memory is short. Contract: yaml_number.h.
 */
#include "common/config/yaml_number.h"

#include <string.h>

#include "common/base/cleanup.h"

#define DIGITS "0123456789"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip(const char *s, const char *characters)
{
	return s + strspn(s, characters);
}

static const char *skip_sign(const char *s)
{
	return *s == '-' || *s == '+' ? s + 1 : s;
}

/* One or more of them up to the end. */
static bool is_all(const char *s, const char *characters)
{
	return *s && !*skip(s, characters);
}

static bool is_integer(const char *s)
{
	s = skip_sign(s);
	if (s[0] == '0' && s[1] == 'b')
		return is_all(s + 2, "01_");
	if (s[0] == '0' && s[1] == 'x')
		return is_all(s + 2, DIGITS "abcdefABCDEF_");
	if (s[0] == '0')
		return !*skip(s, "01234567_");
	return is_digit(*s) && !*skip(s, DIGITS "_");
}

/* "12:30": to the base of 60. */
static bool is_sexagesimal(const char *s)
{
	s = skip_sign(s);
	if (!is_digit(*s) || *s == '0')
		return false;
	s = skip(s, DIGITS "_");
	if (*s != ':')
		return false;
	while (*s == ':') {
		if (!is_digit(s[1]))
			return false;
		s += s[1] <= '5' && is_digit(s[2]) ? 3 : 2;
	}
	return !*(*s == '.' ? skip(s + 1, DIGITS "_") : s);
}

static bool is_float(const char *s)
{
	s = skip_sign(s);
	if (is_digit(*s)) {
		s = skip(s, DIGITS "_");
		if (*s != '.')
			return false;
	} else if (*s != '.' || !is_digit(s[1])) {
		return false;
	}
	s = skip(s + 1, DIGITS "_");
	if (*s == 'e' || *s == 'E')
		return (s[1] == '-' || s[1] == '+') && is_all(s + 2, DIGITS);
	return !*s;
}

static bool is_special(const char *s)
{
	static const char *const words[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(i < 3 ? skip_sign(s) : s, words[i]) == 0)
			return true;
	return false;
}

/* "2024-01-31", perhaps with a time behind it. */
static bool is_date(const char *s)
{
	size_t year = strspn(s, DIGITS), month, day;

	if (year != 4 || s[year] != '-')
		return false;
	s += year + 1;
	month = strspn(s, DIGITS);
	if (month < 1 || month > 2 || s[month] != '-')
		return false;
	s += month + 1;
	day = strspn(s, DIGITS);
	return day >= 1 && day <= 2 && (!s[day] || strchr("Tt \t", s[day]));
}

enum conf_kind yaml_number_kind(const char *text)
{
	if (is_integer(text))
		return CONF_INT;
	if (is_sexagesimal(text) || is_float(text) || is_special(text) || is_date(text))
		return CONF_OTHER_SCALAR;
	return CONF_STRING;
}
