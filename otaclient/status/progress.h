/*
 * progress: while an update runs, its whole status as one line for the log, once a minute.
 *
 * Whoever has a timer asks; nothing runs here by itself.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "otaclient/status/status.h"

enum {
	PROGRESS_INTERVAL_MS = 60 * 1000,
	PROGRESS_TEXT_MAX = 1024, /* a line of the log */
};

/* {0}: none was seen yet. */
struct progress {
	uint64_t began_ms; /* of the update that is watched; 0 = none */
	uint64_t next_ms;  /* when it is due */
};

/* True: a line is due, in @ret_text. Asked more often than once a minute. */
bool progress_tick(struct progress *p, struct status *status, char ret_text[PROGRESS_TEXT_MAX]);
