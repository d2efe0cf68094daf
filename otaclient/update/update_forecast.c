/*
 * update_forecast: what the plan comes to, for whoever wants to know. Contract: update_forecast.h.
 *
 * Rates: of the network that with which the image's lists came; of the disk that with which the slots were looked
 * through, or some files read where little had to be. Both are told with the plan; from then on estimate goes by what
 * the update does.
 */
#include "otaclient/update/update_forecast.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/log/journal.h"
#include "otaclient/update/disk_sample.h"

struct change {
	uint64_t now_ms;
	const struct update_session *s;
};

/* What was received before the first plan was all for the lists. */
static void change_planned(struct update_stats *u, const void *arg)
{
	const struct change *c = arg;
	struct plan_figures *f = &u->planned;

	if (f->made_ms == 0)
		f->made_ms = c->now_ms;
	f->received_bytes = u->downloaded_bytes;
	f->work = c->s->forecast.work;
	f->net = c->s->net;
	f->disk = c->s->disk;
}

/* Where the last update has left notes, nothing is read for the plan. */
static void sample_disk(struct update_session *s)
{
	struct sample sample;

	if (s->writer || s->disk.bytes >= ESTIMATE_DISK_MIN_BYTES)
		return;
	disk_sample_take(s->image.table, s->inventory, s->mount.standby_fd, s->mount.active_fd,
		session_poll, s, &sample);
	if (sample.bytes > s->disk.bytes)
		s->disk = sample;
}

void update_forecast_publish(struct update_session *s)
{
	struct change change = {.s = s};

	sample_disk(s);
	change.now_ms = MAX_OF(clock_monotonic_ms(), (uint64_t)1);
	forecast_make(s->plan, s->image.table, s->image.patches, &s->net, &s->disk, &s->forecast);
	status_change(s->env->status, change_planned, &change);
}

static void put_time(uint64_t s, char ret_text[48])
{
	if (s == ESTIMATE_UNKNOWN)
		snprintf(ret_text, 48, "in a time that is not known yet");
	else
		snprintf(ret_text, 48, "in about %" PRIu64 " s", s);
}

int update_forecast_tell(struct update_session *s, struct ota_err *err)
{
	const struct forecast *f = &s->forecast;
	bool known = f->whole_s != ESTIMATE_UNKNOWN;
	const struct log_number numbers[] = {
		{"OTA_DOWNLOAD_BYTES", f->work.download_bytes},
		{"OTA_WRITE_BYTES",    f->work.write_bytes   },
		{"OTA_ABOUT_S",        known ? f->whole_s : 0},
	};
	const struct log_event event = {
		.id = s->looks_only ? NULL : JOURNAL_FORECAST,
		.session = s->id,
		.phase = update_phase_name(PHASE_CALCULATING_DELTA),
		.numbers = numbers,
		.n_numbers = known ? 3 : 2,
	};
	char time[48];
	int r;

	put_time(f->whole_s, time);
	log_event(LOG_LEVEL_INFO, &event,
		"Forecast: to download up to %" PRIu64 " bytes, to write %" PRIu64 " bytes, %s",
		f->work.download_bytes, f->work.write_bytes, time);
	r = forecast_check(f, s->env->max_download_bytes, err);
	/* Nothing was touched, as with a hook that says no; unless the plan had to be made again. */
	s->refused = r < 0 && !s->may_destroy;
	return r;
}
