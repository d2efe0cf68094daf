/*
 * options: parse and explain the command line of one verb. Contract: options.h.
 */
#include "metadata-gen/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

static void show_help(const struct option_table *table)
{
	printf("Usage: metadata_gen %s", table->verb);
	for (size_t i = 0; i < table->n_rows; i++)
		if (table->rows[i].required)
			printf(" --%s %s", table->rows[i].name, table->rows[i].arg);
	printf(" [OPTIONS]%s%s\n\n%s\n\nOptions:\n", table->operands ? " " : "",
		table->operands ? table->operands : "", table->summary);
	for (size_t i = 0; i < table->n_rows; i++) {
		const struct option_row *row = &table->rows[i];
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", row->name, row->arg ? " " : "",
			row->arg ? row->arg : "");
		printf("  %-30s %s\n", left, row->help);
	}
	printf("  %-30s %s\n", "-h, --help", "show this text");
	printf("\nExit status: 0 done, 1 failed (stderr says what and why), 2 wrong usage.\n");
}

static bool usage(const struct option_table *table, int *ret_exit, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool usage(const struct option_table *table, int *ret_exit, const char *fmt, ...)
{
	char sentence[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	fprintf(stderr, "metadata_gen %s: %s; see metadata_gen %s --help\n", table->verb, sentence,
		table->verb);
	*ret_exit = OPTION_EXIT_USAGE;
	return false;
}

static bool parse_number(const struct option_row *row, const char *text)
{
	return decimal_parse(text, strlen(text), row->min, row->max, row->target) == 0;
}

static bool parse_real(const struct option_row *row, const char *text)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (errno != 0 || end == text || *end != '\0' || !isfinite(v) || v <= 0)
		return false;
	*(double *)row->target = v;
	return true;
}

static bool take_value(const struct option_table *table, const struct option_row *row,
	const char *text, int *ret_exit)
{
	struct option_texts *texts = row->target;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)row->target = true;
		return true;
	case OPTION_TEXT:
		if (text[0] == '\0')
			return usage(table, ret_exit, "--%s must not be empty", row->name);
		*(const char **)row->target = text;
		return true;
	case OPTION_NUMBER:
		if (parse_number(row, text))
			return true;
		return usage(table, ret_exit, "--%s wants a number from %llu to %llu, not \"%s\"",
			row->name, (unsigned long long)row->min, (unsigned long long)row->max,
			text);
	case OPTION_REAL:
		if (parse_real(row, text))
			return true;
		return usage(table, ret_exit, "--%s wants a number above 0, not \"%s\"", row->name,
			text);
	case OPTION_TEXTS:
		if (texts->n == OPTION_TEXTS_MAX)
			return usage(table, ret_exit, "--%s is given more than %d times", row->name,
				OPTION_TEXTS_MAX);
		texts->at[texts->n++] = text;
		return true;
	}
	return false;
}

/* @name up to @len is a row's name, or NULL. */
static const struct option_row *find_row(
	const struct option_table *table, const char *name, size_t len)
{
	for (size_t i = 0; i < table->n_rows; i++)
		if (strlen(table->rows[i].name) == len &&
			strncmp(table->rows[i].name, name, len) == 0)
			return &table->rows[i];
	return NULL;
}

/* Take argv[*at], and the value behind it where it wants one. */
static bool take_option(
	const struct option_table *table, int argc, char **argv, int *at, bool *seen, int *ret_exit)
{
	const char *name = argv[*at] + 2;
	const char *value = strchr(name, '=');
	size_t len = value ? (size_t)(value - name) : strlen(name);
	const struct option_row *row = find_row(table, name, len);

	if (!row)
		return usage(table, ret_exit, "there is no option --%.*s", (int)len, name);
	if (row->kind == OPTION_FLAG && value)
		return usage(table, ret_exit, "--%s takes no value", row->name);
	if (row->kind != OPTION_FLAG) {
		if (!value && *at + 1 >= argc)
			return usage(table, ret_exit, "--%s wants a value", row->name);
		value = value ? value + 1 : argv[++*at];
	}
	seen[row - table->rows] = true;
	return take_value(table, row, value, ret_exit);
}

bool options_parse(const struct option_table *table, int argc, char **argv,
	const char **ret_operands, int *ret_exit)
{
	AUTO_FREE bool *seen = calloc(table->n_rows + 1, sizeof(*seen));
	bool only_operands = false;
	size_t n = 0;

	if (!seen) {
		fprintf(stderr, "metadata_gen: out of memory\n");
		*ret_exit = 1;
		return false;
	}
	for (int i = 1; i < argc; i++) {
		if (!only_operands && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
			show_help(table);
			*ret_exit = 0;
			return false;
		}
		if (!only_operands && strcmp(argv[i], "--") == 0) {
			only_operands = true;
		} else if (!only_operands && strncmp(argv[i], "--", 2) == 0) {
			if (!take_option(table, argc, argv, &i, seen, ret_exit))
				return false;
		} else {
			if (n == table->n_operands)
				return usage(
					table, ret_exit, "\"%s\" is one name too many", argv[i]);
			if (argv[i][0] == '\0')
				return usage(
					table, ret_exit, "%s must not be empty", table->operands);
			ret_operands[n++] = argv[i];
		}
	}
	for (size_t i = 0; i < table->n_rows; i++)
		if (table->rows[i].required && !seen[i])
			return usage(table, ret_exit, "--%s is missing", table->rows[i].name);
	if (n < table->n_operands)
		return usage(table, ret_exit, "%s is missing", table->operands);
	return true;
}
