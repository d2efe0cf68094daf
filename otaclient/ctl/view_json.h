/*
 * view_json: what otactl prints of an ECU's answers for scripts: one JSON object a line.
 *
 * Pure. The keys are the API's field names; otactl(1) lists them. They only ever grow.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "otaclient/api/wire.h"
#include "otaclient/ctl/follow.h"
#include "otaclient/ctl/roster.h"

void view_json_status(FILE *out, const struct wire_status *status);
void view_json_answer(FILE *out, enum api_method m, const struct wire_answer *answer);

/*
 * A look of a watch: the status, the ECUs that are silent, and why there is no answer (@reason, or NULL). With
 * @durations false every passing of time is 0: equal lines then say that nothing has happened.
 */
void view_json_look(FILE *out, const struct wire_status *status, const struct roster *r,
	const char *reason, bool durations, uint64_t now_ms);

/* The end of a wait: the last status, and what has become of every ECU. */
void view_json_end(FILE *out, const struct wire_status *status, const struct follow *f);
