/*
 * screen: a page of lines that is redrawn in place on a terminal.
 *
 * Between two pages the terminal is as it was found: what a page needs (no cursor, no wrapping of lines) is switched
 * on and off within it. So there is nothing to restore, however the program ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct screen {
	FILE *out;
	bool on_terminal; /* false: nothing here draws */
	char *shown;      /* the page drawn last */
	char *text;       /* being collected */
	size_t len_bytes;
	FILE *page;
};
void screen_init(struct screen *s, FILE *out);
void screen_done(struct screen *s);
#define AUTO_SCREEN CLEANUP(screen_done)

/* Columns and rows that a page may fill now: one less than the terminal has. */
unsigned screen_columns(const struct screen *s);
unsigned screen_rows(const struct screen *s);

/* Collect lines in the stream that is returned (NULL: no memory), then draw them over the last page. */
FILE *screen_begin(struct screen *s);
void screen_end(struct screen *s);

/* Take the page away, for what is printed from here on. */
void screen_clear(struct screen *s);
