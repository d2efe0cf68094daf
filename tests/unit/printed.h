/*
 * printed: what is printed into a stream, caught in memory.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

/* All of it, once the stream of print_begin() is closed; to be freed. */
static char *printed;
static size_t printed_len;

static inline FILE *print_begin(void)
{
	FILE *f = open_memstream(&printed, &printed_len);

	assert_non_null(f);
	return f;
}

/* Closes @f, and frees it all. */
static inline void assert_printed(FILE *f, const char *want)
{
	fclose(f);
	assert_string_equal(printed, want);
	free(printed);
}
