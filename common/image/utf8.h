/*
 * utf8: is a text UTF-8, and how is one shown that may not be?
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8: no overlong form, no surrogate, nothing above U+10FFFF. NUL counts as a
 * character. */
bool utf8_is_valid(const char *s, size_t len_bytes);

enum {
	UTF8_SHOW_MAX =
		200, /* with the NUL; two of them and the words around fit into a sentence */
};

/*
 * A form of @s for a sentence or a log line: control characters and what is not UTF-8 as \xNN, and
 * the middle of a long text as "...". Returns @ret_shown.
 */
const char *utf8_show(const char *s, size_t len_bytes, char ret_shown[UTF8_SHOW_MAX]);
