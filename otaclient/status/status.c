/*
 * status: what this ECU is doing, for everyone who asks. Contract: status.h.
 *
 * One mutex guards the one snapshot; it is held for copies and small changes only, never over I/O.
 * The clock is read before it is taken.
 */
#include "otaclient/status/status.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/status/text.h"

struct status {
	pthread_mutex_t lock;
	struct status_snapshot now; /* under lock */
};

static const char *const phase_names[PHASE_COUNT] = {
	[PHASE_INITIALIZING] = "INITIALIZING",
	[PHASE_PROCESSING_METADATA] = "PROCESSING_METADATA",
	[PHASE_CALCULATING_DELTA] = "CALCULATING_DELTA",
	[PHASE_DOWNLOADING_OTA_FILES] = "DOWNLOADING_OTA_FILES",
	[PHASE_APPLYING_UPDATE] = "APPLYING_UPDATE",
	[PHASE_PROCESSING_POSTUPDATE] = "PROCESSING_POSTUPDATE",
	[PHASE_FINALIZING_UPDATE] = "FINALIZING_UPDATE",
	[PHASE_DOWNLOADING_OTA_CLIENT] = "DOWNLOADING_OTA_CLIENT",
};

const char *update_phase_name(enum update_phase p)
{
	return (unsigned)p < PHASE_COUNT ? phase_names[p] : "";
}

struct status *status_new(void)
{
	struct status *s = calloc(1, sizeof(*s));

	if (s)
		pthread_mutex_init(&s->lock, NULL);
	return s;
}

void status_free(struct status *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void status_get(struct status *s, struct status_snapshot *ret_snapshot)
{
	pthread_mutex_lock(&s->lock);
	*ret_snapshot = s->now;
	pthread_mutex_unlock(&s->lock);
}

static void forget_failure(struct status_snapshot *now)
{
	now->has_failure = false;
	now->failure_is_recoverable = false;
	now->failure_reason[0] = '\0';
}

void status_set_booted(struct status *s, enum ota_status stored, const char *firmware_version,
	const struct release_detail *release)
{
	pthread_mutex_lock(&s->lock);
	s->now.known = true;
	s->now.ota_status = stored == STATUS_NONE ? STATUS_INITIALIZED : stored;
	text_put(s->now.firmware_version, sizeof(s->now.firmware_version), firmware_version);
	if (release)
		s->now.release = *release;
	else
		memset(&s->now.release, 0, sizeof(s->now.release));
	pthread_mutex_unlock(&s->lock);
}

void status_set_live(struct status *s, enum ota_status live)
{
	pthread_mutex_lock(&s->lock);
	s->now.ota_status = live;
	pthread_mutex_unlock(&s->lock);
}

/* A machine whose boot controller could not start has a status too: this failure. */
void status_set_failure(struct status *s, enum ota_status live, const struct ota_err *err)
{
	char reason[sizeof(s->now.failure_reason)];

	snprintf(reason, sizeof(reason), "E%03d: %s", (int)err->code,
		err->msg[0] ? err->msg : ota_code_text(err->code));
	pthread_mutex_lock(&s->lock);
	s->now.known = true;
	s->now.ota_status = live;
	s->now.has_failure = true;
	s->now.failure_is_recoverable = ota_code_is_recoverable(err->code);
	text_put(s->now.failure_reason, sizeof(s->now.failure_reason), reason);
	pthread_mutex_unlock(&s->lock);
}

/* 0 says "not yet", so a phase that begins at the very first tick counts from the next. */
static uint64_t began_now(void)
{
	return MAX_OF(clock_monotonic_ms(), (uint64_t)1);
}

void status_begin_update(struct status *s, const char *version)
{
	uint64_t began_ms = began_now();
	int64_t unix_s = clock_unix_s();
	struct update_stats *u = &s->now.update;

	pthread_mutex_lock(&s->lock);
	forget_failure(&s->now);
	memset(u, 0, sizeof(*u));
	text_put(u->version, sizeof(u->version), version);
	u->start_unix_s = unix_s > 0 ? (uint64_t)unix_s : 0;
	u->phase = PHASE_INITIALIZING;
	u->phase_began_ms[PHASE_INITIALIZING] = began_ms;
	s->now.ota_status = STATUS_UPDATING;
	pthread_mutex_unlock(&s->lock);
}

void status_begin_rollback(struct status *s)
{
	pthread_mutex_lock(&s->lock);
	forget_failure(&s->now);
	s->now.ota_status = STATUS_ROLLBACKING;
	pthread_mutex_unlock(&s->lock);
}

void status_begin_trial(struct status *s)
{
	uint64_t began_ms = began_now();
	int64_t unix_s = clock_unix_s();
	struct update_stats *u = &s->now.update;

	pthread_mutex_lock(&s->lock);
	memset(u, 0, sizeof(*u));
	text_put(u->version, sizeof(u->version), s->now.firmware_version);
	u->start_unix_s = unix_s > 0 ? (uint64_t)unix_s : 0;
	u->phase = PHASE_FINALIZING_UPDATE;
	u->phase_began_ms[PHASE_INITIALIZING] = began_ms;
	u->phase_began_ms[PHASE_FINALIZING_UPDATE] = began_ms;
	pthread_mutex_unlock(&s->lock);
}

/* Several steps share a phase; it began with the first of them. */
void status_set_phase(struct status *s, enum update_phase phase)
{
	uint64_t began_ms = began_now();

	pthread_mutex_lock(&s->lock);
	s->now.update.phase = phase;
	if (s->now.update.phase_began_ms[phase] == 0)
		s->now.update.phase_began_ms[phase] = began_ms;
	pthread_mutex_unlock(&s->lock);
}

void status_set_remark(struct status *s, const char *sentence)
{
	pthread_mutex_lock(&s->lock);
	forget_failure(&s->now);
	text_put(s->now.failure_reason, sizeof(s->now.failure_reason), sentence);
	pthread_mutex_unlock(&s->lock);
}

void status_change(
	struct status *s, void (*change)(struct update_stats *u, const void *arg), const void *arg)
{
	pthread_mutex_lock(&s->lock);
	change(&s->now.update, arg);
	pthread_mutex_unlock(&s->lock);
}

/* Whole seconds from the begin of @from to the begin of the first later phase that has begun, or to
 * now. */
static uint64_t phase_spent_s(const struct update_stats *u, enum update_phase from, uint64_t now_ms)
{
	uint64_t began = u->phase_began_ms[from];
	uint64_t end = now_ms;

	if (began == 0)
		return 0;
	for (int p = (int)from + 1; p <= PHASE_FINALIZING_UPDATE; p++) {
		if (u->phase_began_ms[p] == 0)
			continue;
		end = MIN_OF(end, u->phase_began_ms[p]);
		break;
	}
	return end > began ? (end - began) / 1000 : 0;
}

void update_stats_times(
	const struct update_stats *u, uint64_t now_ms, struct update_times *ret_times)
{
	uint64_t start = u->phase_began_ms[PHASE_INITIALIZING];

	*ret_times = (struct update_times){
		.total_s = start > 0 && now_ms > start ? (now_ms - start) / 1000 : 0,
		.delta_s = phase_spent_s(u, PHASE_CALCULATING_DELTA, now_ms),
		.download_s = phase_spent_s(u, PHASE_DOWNLOADING_OTA_FILES, now_ms),
		.apply_s = phase_spent_s(u, PHASE_APPLYING_UPDATE, now_ms),
	};
}
