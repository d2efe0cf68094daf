/*
 * view: what otactl prints of an ECU's answers for people: a block per ECU, or a line.
 *
 * Pure: from structs to a stream. Text that comes from an ECU never carries control characters to the terminal.
 */
#pragma once

#include <stdio.h>

#include "otaclient/api/wire.h"

/* One row of a block; nothing if there is nothing to say. */
void view_row(FILE *out, const char *label, const char *text);

/* One block per ECU; those of the vehicle that have not reported too. */
void view_status(FILE *out, const struct wire_status *status);

/* One line per ECU. */
void view_answer(FILE *out, enum api_method m, const struct wire_answer *answer);

/* The API's names; "UNKNOWN" for numbers of a newer peer. */
const char *view_status_name(int status);
const char *view_phase_name(enum update_phase phase);
const char *view_result_name(enum api_method m, int result);
