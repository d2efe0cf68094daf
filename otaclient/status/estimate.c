/*
 * estimate: rates, and what they make of the work that is left. Contract: estimate.h.
 *
 * Writing is not measured before something is written, and nothing must be written to find out; so it counts as twice
 * the reading, which is about what flash does.
 */
#include "otaclient/status/estimate.h"

#include <stdbool.h>

#include "common/base/cleanup.h"
#include "otaclient/status/status.h"

enum {
	RUNNING_MS = 3000, /* so long what a phase has just begun with says nothing */

	WRITE_COST = 2,             /* of a byte, in bytes read */
	COPY_COST = 1 + WRITE_COST, /* 〃 */
};

static bool is_known(uint64_t ms)
{
	return ms != ESTIMATE_UNKNOWN;
}

static uint64_t sum(uint64_t a_ms, uint64_t b_ms)
{
	return is_known(a_ms) && is_known(b_ms) ? a_ms + b_ms : ESTIMATE_UNKNOWN;
}

static uint64_t minus(uint64_t ms, uint64_t spent_ms)
{
	if (!is_known(ms))
		return ms;
	return ms > spent_ms ? ms - spent_ms : 0;
}

static uint64_t missing(uint64_t total, uint64_t there)
{
	return total > there ? total - there : 0;
}

/* A small sample still tells of as little again. */
static uint64_t time_of(double bytes, const struct sample *s, uint64_t least_bytes)
{
	double ms;

	if (bytes <= 0)
		return 0;
	if (s->ms == 0 || s->bytes == 0 || (s->bytes < least_bytes && bytes > (double)s->bytes))
		return ESTIMATE_UNKNOWN;
	ms = bytes * (double)s->ms / (double)s->bytes;
	/* Whoever is told of years does not wait, and the number must fit. */
	return ms < 1e15 ? (uint64_t)ms : ESTIMATE_UNKNOWN;
}

static uint64_t disk_time(double bytes, const struct sample *disk)
{
	return time_of(bytes, disk, ESTIMATE_DISK_MIN_BYTES);
}

/* What comes in is written meanwhile; the slower of the two counts. */
static uint64_t fetch_time(
	const struct workload *w, const struct sample *net, const struct sample *disk)
{
	uint64_t receive_ms = time_of((double)w->download_bytes, net, ESTIMATE_NET_MIN_BYTES);
	uint64_t write_ms = disk_time((double)w->fetch_bytes * WRITE_COST, disk);

	if (!is_known(receive_ms) || !is_known(write_ms))
		return receive_ms;
	return MAX_OF(receive_ms, write_ms);
}

void estimate_make(const struct workload *w, const struct sample *net, const struct sample *disk,
	struct estimate *ret_estimate)
{
	*ret_estimate = (struct estimate){
		.copy_ms = disk_time((double)w->copy_bytes * COPY_COST, disk),
		.fetch_ms = fetch_time(w, net, disk),
		.finish_ms = disk_time((double)w->check_bytes, disk),
	};
}

static uint64_t whole_s(uint64_t ms)
{
	return is_known(ms) ? (ms + 999) / 1000 : ESTIMATE_UNKNOWN;
}

uint64_t estimate_total_s(const struct estimate *e)
{
	return whole_s(sum(sum(e->copy_ms, e->fetch_ms), e->finish_ms));
}

/* ---- while it runs ---- */

static uint64_t since(const struct update_stats *u, enum update_phase phase, uint64_t now_ms)
{
	uint64_t began = u->phase_began_ms[phase];

	return began > 0 && now_ms > began ? now_ms - began : 0;
}

/* Where the slots had nothing to be hashed, the copying has shown what the disk does. */
static struct sample disk_sample(const struct update_stats *u)
{
	const struct plan_figures *f = &u->planned;
	uint64_t copied_ms = u->phase_began_ms[PHASE_DOWNLOADING_OTA_FILES];
	struct sample copying = {.bytes = f->work.copy_bytes * COPY_COST};

	if (f->disk.bytes >= ESTIMATE_DISK_MIN_BYTES || copied_ms <= f->made_ms)
		return f->disk;
	copying.ms = copied_ms - f->made_ms;
	return copying.bytes > f->disk.bytes ? copying : f->disk;
}

/*
 * By the bytes received, and by the plain ones that they were: where blobs are compressed the first says too much, for
 * the lists do not say how large they are.
 */
static uint64_t fetch_left(const struct update_stats *u, const struct estimate *e, uint64_t now_ms)
{
	const struct plan_figures *f = &u->planned;
	uint64_t spent_ms = since(u, PHASE_DOWNLOADING_OTA_FILES, now_ms);
	const struct sample wire = {missing(u->downloaded_bytes, f->received_bytes), spent_ms};
	const struct sample plain = {u->downloaded_files_size, spent_ms};
	uint64_t wire_ms, plain_ms;

	if (spent_ms < RUNNING_MS)
		return minus(e->fetch_ms, spent_ms);
	plain_ms = time_of((double)missing(u->total_download_files_size, plain.bytes), &plain, 0);
	if (wire.bytes >= f->work.download_bytes)
		return plain_ms;
	wire_ms = time_of((double)(f->work.download_bytes - wire.bytes), &wire, 0);
	return MIN_OF(wire_ms, plain_ms);
}

uint64_t estimate_left_s(const struct update_stats *u, uint64_t now_ms)
{
	const struct plan_figures *f = &u->planned;
	struct sample disk = disk_sample(u);
	struct estimate e;
	uint64_t copy_ms;

	if (f->made_ms == 0)
		return ESTIMATE_UNKNOWN;
	estimate_make(&f->work, &f->net, &disk, &e);
	switch (u->phase) {
	case PHASE_CALCULATING_DELTA:
		copy_ms = minus(e.copy_ms, missing(now_ms, f->made_ms));
		return whole_s(sum(sum(copy_ms, e.fetch_ms), e.finish_ms));
	case PHASE_DOWNLOADING_OTA_FILES:
		return whole_s(sum(fetch_left(u, &e, now_ms), e.finish_ms));
	case PHASE_APPLYING_UPDATE:
	case PHASE_PROCESSING_POSTUPDATE:
		return whole_s(minus(e.finish_ms, since(u, PHASE_APPLYING_UPDATE, now_ms)));
	default:
		return ESTIMATE_UNKNOWN;
	}
}
