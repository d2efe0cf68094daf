/*
 * page: what is shown while something runs: a table that fits the terminal, or lines for a log.
 *
 * Pure: from a roster to a stream.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "otaclient/ctl/roster.h"

/*
 * A headline, @reason (why the asked ECU has not answered; NULL = it has), and a row per ECU: no line above
 * @columns, no more than @rows lines. What finds no room is left out, the least important first.
 */
void page_print(FILE *out, const struct roster *r, const char *reason, unsigned columns,
	unsigned rows, uint64_t now_ms);

/* A line for each ECU of which a log should have one now. */
void page_print_lines(FILE *out, struct roster *r, const char *reason, uint64_t now_ms);
