/*
 * screen: a few lines that are redrawn in place on a terminal, or printed now and then where there is none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	SCREEN_PLAIN_MS = 10 * 1000, /* without a terminal, changes within one phase are shown this often */
};

struct screen {
	FILE *out;
	bool on_terminal;
	unsigned lines;      /* drawn last */
	uint64_t shown_ms;   /* plain: when the last lines were printed */
	unsigned long stage; /* plain: what they were about */
	char *text;          /* being collected */
	size_t len_bytes;
	FILE *page;
};

void screen_init(struct screen *s, FILE *out);

/* Columns of the terminal now; 0 without one. */
unsigned screen_width(const struct screen *s);

/* Collect lines in the stream that is returned (NULL: no memory), then show them. */
FILE *screen_begin(struct screen *s);

/* @stage: any number that changes when something happens that a log should have at once. */
void screen_end(struct screen *s, unsigned long stage, uint64_t now_ms);
