/*
 * options: the command line of one verb, described by one table that parser, messages and --help share.
 *
 * Forms: --name VALUE, --name=VALUE, --flag, and what is left over in order. See verb_build.c for use.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_FLAG,   /* bool: set when given */
	OPTION_TEXT,   /* const char *: borrowed from argv */
	OPTION_NUMBER, /* uint64_t: min … max of the row */
	OPTION_REAL,   /* double: greater than 0 */
	OPTION_TEXTS,  /* struct option_texts: may be given again */
};

enum {
	OPTION_TEXTS_MAX = 32,
	OPTION_EXIT_USAGE = 2, /* wrong usage */
};

struct option_texts {
	const char *at[OPTION_TEXTS_MAX]; /* borrowed from argv */
	size_t n;
};

struct option_row {
	const char *name; /* without the dashes */
	enum option_kind kind;
	void *target;    /* keeps its value, the default, when the option is not given */
	const char *arg; /* how --help names the value; NULL for flags */
	const char *help;
	bool required;
	uint64_t min, max; /* OPTION_NUMBER */
};

struct option_table {
	const char *verb;
	const char *operands; /* how --help names what is left over; NULL = nothing is allowed */
	size_t n_operands;    /* exactly so many */
	const char *summary;
	const struct option_row *rows;
	size_t n_rows;
};

/*
 * Parse argv[1…]. Returns true to go on, @ret_operands then has n_operands texts; false when the verb is
 * done with @ret_exit: 0 after --help, 2 after a sentence on stderr.
 */
bool options_parse(const struct option_table *table, int argc, char **argv,
	const char **ret_operands, int *ret_exit);
