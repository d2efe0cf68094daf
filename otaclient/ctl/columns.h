/*
 * columns: text from outside as a terminal shows it, counted and cut in columns.
 *
 * Pure. What could move the cursor, hide text or turn its direction is shown as '?', and so is what is not UTF-8.
 * A character takes one column, two (CJK, emoji) or none (accents), whatever the locale is.
 */
#pragma once

#include <stdio.h>

enum {
	COLUMNS_CHARACTER_MAX = 5, /* bytes of one character, with the NUL */
};

/* Take the next character of @text, which is not at its end. Returns its columns; @ret_bytes: what to print. */
unsigned columns_next(const char **text, char ret_bytes[COLUMNS_CHARACTER_MAX]);

unsigned columns_of(const char *text);

/* All of @text. */
void columns_print(FILE *out, const char *text);

/* At most @width columns of @text; one that is cut ends with "…". Returns the columns printed. */
unsigned columns_print_cut(FILE *out, const char *text, unsigned width);

/* The same, filled up with spaces to @width: behind the text, or in front of it. */
void columns_print_left(FILE *out, const char *text, unsigned width);
void columns_print_right(FILE *out, const char *text, unsigned width);
