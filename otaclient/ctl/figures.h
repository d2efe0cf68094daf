/*
 * figures: sizes, times, shares and speeds of an update, as people read them.
 *
 * Pure. What is not known is FIGURES_UNKNOWN, never a made-up number.
 */
#pragma once

#include <stdint.h>

#include "otaclient/status/status.h"

#define FIGURES_UNKNOWN "\xe2\x80\x94" /* a dash */

enum {
	FIGURES_TEXT_MAX = 32, /* bytes of a figure with the NUL */
};

/* All return @ret_text. "12.3 MiB", three digits */
const char *figures_size(double bytes, char ret_text[FIGURES_TEXT_MAX]);

/* "1 min 15 s" */
const char *figures_time(uint64_t s, char ret_text[FIGURES_TEXT_MAX]);

/* "1m15s", six columns at most up to 99 hours; longer is not known */
const char *figures_short_time(uint64_t s, char ret_text[FIGURES_TEXT_MAX]);

/* Share of the new system that is in place, 0…100. */
unsigned figures_percent(const struct update_stats *u);

/* How fast a counter grows, smoothed over some seconds. {0} is a fresh one. */
struct speed {
	uint64_t at_ms;     /* of the last look; 0 = none yet */
	uint64_t bytes;     /* counted by then */
	double bytes_per_s; /* 0 = not known */
};
void speed_look(struct speed *s, uint64_t bytes, uint64_t now_ms);

/* What an update does at the moment: bytes off the wire while it downloads, else files' bytes that get into place. */
struct pace {
	struct speed wire, place;
	enum update_phase phase; /* of the last look */
};
void pace_look(struct pace *p, const struct update_stats *u, uint64_t now_ms);

/* Bytes a second of this phase; 0 = not known. */
double pace_rate(const struct pace *p, const struct update_stats *u);

#define PACE_UNKNOWN UINT64_MAX
/*
 * Seconds until the new system is set up to boot, as the ECU says it; if it does not, until this phase is over;
 * PACE_UNKNOWN if there is nothing to tell it by.
 */
uint64_t pace_left_s(const struct pace *p, const struct update_stats *u);
