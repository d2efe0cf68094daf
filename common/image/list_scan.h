/*
 * list_scan: the scanner beneath the lists: one line at a time, column by column, strictly from
 * left to right. Private to this folder; list_read.c and list_attributes.c are made of it.
 *
 * Every scan_… takes its column off the front of the line. It returns 0, or a negative errno with a
 * sentence that names line and list: "Line 7 of regulars.txt: expected a digest of 64 …, found
 * "zz"".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/image/file_table.h"

/* A list under way: the rest of the current line, and what sentences and entries need. */
struct scan {
	const char *at, *end;
	unsigned line_no;
	const char *list; /* its name */
	struct file_table *t;
	struct ota_err *err;
};

/* Call @fn with each line, blanks around it taken off. A list that is too large: -E2BIG. */
int scan_lines(struct scan *s, const char *text, size_t len_bytes,
	int (*fn)(struct scan *s, void *ctx), void *ctx);

int scan_char(struct scan *s, char c, const char *what);
int scan_number(
	struct scan *s, unsigned base, uint64_t max, const char *what, uint64_t *ret_number);
int scan_skip_number(
	struct scan *s, const char *what); /* any digits, of a column that nobody needs */
int scan_end(struct scan *s);

/* A quoted text as it stands, without its outer quotes; and how many apostrophes are escaped in it.
 */
int scan_raw_quoted(struct scan *s, const char *what, struct text *ret_raw, uint32_t *ret_escapes);
/* Undo the escapes; @ret_plain has room. Returns the length. */
uint32_t scan_unquote(struct text raw, char *ret_plain);
/* Both: the text in place if it has no escapes, else from the table's arena. */
int scan_quoted(struct scan *s, const char *what, struct text *ret_text);

/* The sentences: what was expected where the scanner is; what is wrong with @thing; no memory or a
 * limit (@r). */
int scan_expected(const struct scan *s, const char *what);
int scan_refuse(const struct scan *s, struct text thing, const char *why);
int scan_table_failed(const struct scan *s, int r);
