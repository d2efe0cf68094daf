/*
 * figures: sizes, times, shares and speeds as people read them. Contract: figures.h.
 */
#include "otaclient/ctl/figures.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/cleanup.h"

enum {
	LEFT_MAX_S = 99 * 3600, /* whoever is told more than that waits for nothing */
	MEMORY_MS = 4000,       /* of a speed: about this long counts */
};

const char *figures_size(double bytes, char ret_text[FIGURES_TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t u = 0;

	for (; bytes >= 999.5 && u + 1 < ARRAY_SIZE(units); u++)
		bytes /= 1024;
	snprintf(ret_text, FIGURES_TEXT_MAX, u > 0 && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes,
		units[u]);
	return ret_text;
}

const char *figures_time(uint64_t s, char ret_text[FIGURES_TEXT_MAX])
{
	if (s < 60)
		snprintf(ret_text, FIGURES_TEXT_MAX, "%" PRIu64 " s", s);
	else if (s < 3600)
		snprintf(ret_text, FIGURES_TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s", s / 60,
			s % 60);
	else
		snprintf(ret_text, FIGURES_TEXT_MAX, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
			s / 60 % 60);
	return ret_text;
}

const char *figures_short_time(uint64_t s, char ret_text[FIGURES_TEXT_MAX])
{
	if (s > LEFT_MAX_S)
		snprintf(ret_text, FIGURES_TEXT_MAX, "%s", FIGURES_UNKNOWN);
	else if (s < 60)
		snprintf(ret_text, FIGURES_TEXT_MAX, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(ret_text, FIGURES_TEXT_MAX, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(ret_text, FIGURES_TEXT_MAX, "%" PRIu64 "h%02" PRIu64 "m", s / 3600,
			s / 60 % 60);
	return ret_text;
}

unsigned figures_percent(const struct update_stats *u)
{
	if (u->total_files_size == 0)
		return 0;
	if (u->processed_files_size >= u->total_files_size)
		return 100;
	return (unsigned)((double)u->processed_files_size * 100 / (double)u->total_files_size);
}

void speed_look(struct speed *s, uint64_t bytes, uint64_t now_ms)
{
	double now_rate, weight;

	if (s->at_ms == 0 || bytes < s->bytes) {
		*s = (struct speed){.at_ms = now_ms, .bytes = bytes};
		return;
	}
	if (now_ms <= s->at_ms)
		return;
	now_rate = (double)(bytes - s->bytes) * 1000 / (double)(now_ms - s->at_ms);
	weight = (double)(now_ms - s->at_ms) / (double)(now_ms - s->at_ms + MEMORY_MS);
	s->bytes_per_s = s->bytes_per_s > 0 ? s->bytes_per_s + weight * (now_rate - s->bytes_per_s)
					    : now_rate;
	s->at_ms = now_ms;
	s->bytes = bytes;
}

/* How fast the phase before was tells nothing about this one. */
void pace_look(struct pace *p, const struct update_stats *u, uint64_t now_ms)
{
	if (u->phase != p->phase)
		*p = (struct pace){.phase = u->phase};
	speed_look(&p->wire, u->downloaded_bytes, now_ms);
	speed_look(&p->place, u->processed_files_size, now_ms);
}

double pace_rate(const struct pace *p, const struct update_stats *u)
{
	double rate = u->phase == PHASE_DOWNLOADING_OTA_FILES ? p->wire.bytes_per_s
							      : p->place.bytes_per_s;

	return u->phase == p->phase && rate >= 1 ? rate : 0;
}

static uint64_t missing(uint64_t total, uint64_t there)
{
	return total > there ? total - there : 0;
}

uint64_t pace_left_s(const struct pace *p, const struct update_stats *u)
{
	double rate = pace_rate(p, u), seconds;
	uint64_t bytes;

	if (u->remaining_s > 0)
		return u->remaining_s <= LEFT_MAX_S ? u->remaining_s : PACE_UNKNOWN;
	if (u->phase == PHASE_DOWNLOADING_OTA_FILES) {
		bytes = missing(u->total_download_files_size, u->downloaded_files_size);
		/* Compressed bytes come in, sizes are of plain files. */
		if (u->downloaded_bytes > 0 && u->downloaded_files_size > 0)
			rate *= (double)u->downloaded_files_size / (double)u->downloaded_bytes;
	} else if (u->phase == PHASE_APPLYING_UPDATE) {
		bytes = missing(u->total_files_size, u->processed_files_size);
	} else {
		return PACE_UNKNOWN; /* no figure says how much there is to do */
	}
	if (bytes == 0 || rate <= 0)
		return PACE_UNKNOWN;
	seconds = (double)bytes / rate;
	return seconds <= LEFT_MAX_S ? (uint64_t)seconds : PACE_UNKNOWN;
}
