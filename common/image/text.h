/*
 * text: comparing slices of the lists. Private to this folder.
 */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/file_table.h"

/* What memcmp takes, unlike {0}. */
#define TEXT_EMPTY    \
	{             \
		"", 0 \
	}

static inline bool text_equal(struct text a, struct text b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* By bytes, so that a path sorts before all that lies below it. */
static inline int text_compare(struct text a, struct text b)
{
	int c = memcmp(a.at, b.at, MIN_OF(a.len, b.len));

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool text_is(struct text a, const char *s)
{
	return a.len == strlen(s) && memcmp(a.at, s, a.len) == 0;
}

static inline bool text_begins(struct text a, const char *s)
{
	return a.len >= strlen(s) && memcmp(a.at, s, strlen(s)) == 0;
}
