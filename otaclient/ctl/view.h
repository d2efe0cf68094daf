/*
 * view: what otactl shows of an ECU's answers: blocks for people, one line while something runs, JSON for scripts.
 *
 * Pure: from structs to a stream. Text that comes from an ECU never carries control characters to the terminal.
 * The JSON's keys are the API's field names; otactl(1) lists them. They only ever grow.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "otaclient/api/wire.h"

/* One block per ECU; those of the vehicle that have not reported too. */
void view_status(FILE *out, const struct wire_status *status);
void view_status_json(FILE *out, const struct wire_status *status);

/* One line per ECU. */
void view_answer(FILE *out, enum api_method m, const struct wire_answer *answer);
void view_answer_json(FILE *out, enum api_method m, const struct wire_answer *answer);

const char *view_result_name(enum api_method m, int result); /* "RECOVERABLE" */

/* How fast the bytes of one ECU come in, smoothed over some seconds. {0} is a fresh one. */
struct view_rate {
	uint64_t at_ms;    /* of the last look; 0 = none yet */
	uint64_t bytes;    /* downloaded by then */
	double bytes_per_s; /* 0 = not known */
};
void view_rate_look(struct view_rate *rate, uint64_t downloaded_bytes, uint64_t now_ms);

/* Share of the new system that is in place, 0…100. */
unsigned view_percent(const struct update_stats *u);

/*
 * What the ECU is doing, as one line without its end: with a bar and cut to @width columns, or plain when @width
 * is 0. @rate may be NULL.
 */
void view_progress(FILE *out, const struct wire_status_ecu *ecu, const struct view_rate *rate,
	unsigned width);

/* @text with '?' for control characters. */
void view_text(FILE *out, const char *text);
