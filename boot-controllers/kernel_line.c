/*
 * kernel_line: find a word on the kernel's command line. Contract: kernel_line.h.
 *
 * Words end at white space that is not between quotes; a quote may stand anywhere in a word and is no part of the value
 * if it stands around it.
 */
#include "boot-controllers/kernel_line.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

enum {
	PANIC_MAX_S = 1000000, /* more is no time that anybody waits */
};

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word at *@at, as it is spelled; 0 = there is none. */
static size_t next_word(const char **at, const char *end)
{
	const char *p = *at;
	bool quoted = false;

	while (p < end && is_blank(*p))
		p++;
	*at = p;
	for (; p < end && (quoted || !is_blank(*p)); p++)
		if (*p == '"')
			quoted = !quoted;
	return (size_t)(p - *at);
}

int kernel_line_value(
	const char *line, size_t len_bytes, const char *name, char *ret_value, size_t size)
{
	const char *end = line + len_bytes, *value = NULL;
	size_t name_len = strlen(name), value_len = 0, len;

	for (; (len = next_word(&line, end)) > 0; line += len) {
		const char *word = line;
		size_t word_len = len;

		if (len == 2 && memcmp(word, "--", 2) == 0)
			break;
		if (*word == '"') { /* the whole word in quotes */
			word++;
			word_len -= len > 1 && line[len - 1] == '"' ? 2 : 1;
		}
		if (word_len <= name_len || memcmp(word, name, name_len) != 0 ||
			word[name_len] != '=')
			continue;
		value = word + name_len + 1;
		value_len = word_len - name_len - 1;
	}
	if (!value)
		return -ENOENT;
	if (value_len > 0 && *value == '"') {
		value++;
		value_len -= value_len > 1 && value[value_len - 2] == '"' ? 2 : 1;
	}
	if (value_len >= size)
		return -ENAMETOOLONG;
	memcpy(ret_value, value, value_len);
	ret_value[value_len] = '\0';
	return 0;
}

int kernel_line_panic_s(const char *line, size_t len_bytes)
{
	char value[16];
	const char *digits = value;
	uint64_t n;

	if (kernel_line_value(line, len_bytes, "panic", value, sizeof(value)) < 0)
		return 0;
	digits += *digits == '-';
	if (decimal_parse(digits, strlen(digits), 0, PANIC_MAX_S, &n) < 0)
		return 0;
	return digits > value ? -(int)n : (int)n;
}
