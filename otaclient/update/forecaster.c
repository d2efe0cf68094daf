/*
 * forecaster: who asked for a forecast, how far it is, and what came out. Contract: forecaster.h.
 */
#include "otaclient/update/forecaster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

enum {
	WANTED_NO_MORE_MS = 0, /* in place of the end of a lease: an update has taken its place */
};

int forecaster_init(struct forecaster *f)
{
	f->status = status_new();
	return f->status ? 0 : -ENOMEM;
}

void forecaster_done(struct forecaster *f)
{
	status_free(f->status);
	update_request_free(f->asked);
	*f = (struct forecaster){0};
}

struct update_session *forecaster_session(
	struct forecaster *f, const struct update_env *env, struct update_request *request)
{
	struct update_request *asked = update_request_dup(request);
	struct update_session *s;

	f->env = *env;
	f->env.status = f->status;
	f->env.recorder = NULL;
	f->env.children = NULL;
	f->env.report = NULL;
	f->max_download_bytes = env->max_download_bytes;
	f->env.max_download_bytes = 0;
	s = asked ? session_new(&f->env, request) : NULL;
	if (!s) {
		update_request_free(asked);
		update_request_free(request);
		return NULL;
	}
	s->looks_only = true;
	atomic_store(&s->wanted_until_ms, clock_monotonic_ms() + FORECASTER_LEASE_MS);
	update_request_free(f->asked);
	f->asked = asked;
	f->displaced = f->ended = false;
	f->err = (struct ota_err){0};
	f->report = (struct forecast_report){0};
	return s;
}

void forecaster_forget(struct forecaster *f)
{
	update_request_free(f->asked);
	f->asked = NULL;
}

void forecaster_displace(struct forecaster *f, struct update_session *s)
{
	f->displaced = true;
	if (s)
		atomic_store(&s->wanted_until_ms, WANTED_NO_MORE_MS);
}

int forecaster_say_unwanted(const struct update_session *s, struct ota_err *err)
{
	if (atomic_load(&s->wanted_until_ms) == WANTED_NO_MORE_MS)
		return ota_err_set(err, -ECANCELED, OTA_E_ABORTED,
			"An update has taken the place of the forecast");
	return ota_err_set(err, -ECANCELED, OTA_E_ABORTED,
		"The forecast was stopped because nobody has asked for it for %d s",
		FORECASTER_LEASE_MS / 1000);
}

bool forecaster_knows(const struct forecaster *f, const struct update_request *request)
{
	const struct update_request *asked = f->asked;

	return asked && strcmp(asked->request_id, request->request_id) == 0 &&
	       strcmp(asked->url, request->url) == 0 &&
	       strcmp(asked->version, request->version) == 0;
}

int forecaster_answer(struct forecaster *f, struct update_session *s,
	struct forecast_report *ret_report, struct ota_err *err)
{
	struct status_snapshot now;

	if (f->ended && f->err.errnum != 0) {
		*err = f->err;
		return err->errnum;
	}
	if (s)
		atomic_store(&s->wanted_until_ms, clock_monotonic_ms() + FORECASTER_LEASE_MS);
	status_get(f->status, &now);
	*ret_report = f->report;
	ret_report->ended = f->ended;
	ret_report->phase = now.update.phase;
	return 0;
}

static void add_remark(struct forecast_report *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void add_remark(struct forecast_report *r, const char *fmt, ...)
{
	size_t len = strlen(r->remark);
	va_list ap;

	if (len > 0)
		len += (size_t)snprintf(r->remark + len, sizeof(r->remark) - len, "; ");
	if (len >= sizeof(r->remark))
		return;
	va_start(ap, fmt);
	vsnprintf(r->remark + len, sizeof(r->remark) - len, fmt, ap);
	va_end(ap);
}

static void remark(struct forecast_report *r, const struct update_session *s, uint64_t max_bytes)
{
	struct ota_err err = {0};

	if (forecast_check(&r->forecast, max_bytes, &err) < 0)
		add_remark(r, "An update would be refused: %s", err.msg);
	if (!s->mount.usable)
		add_remark(r,
			"The standby slot holds nothing that can be read as it is; an update, "
			"which may mend it first, may find more");
	if (r->forecast.n_unsized > 0)
		add_remark(r,
			"%" PRIu64
			" contents count as nothing, for the image does not say how large they are",
			r->forecast.n_unsized);
}

void forecaster_keep(
	struct forecaster *f, const struct update_session *s, const struct ota_err *err)
{
	f->err = *err;
	if (err->errnum != 0)
		return;
	f->report.forecast = s->forecast;
	remark(&f->report, s, f->max_download_bytes);
}

int step_look_at_slots(struct update_session *s, struct ota_err *err)
{
	int r = s->env->boot->ops->slots(s->env->boot, &s->slots, err);

	return r < 0 ? r
		     : slot_mount_look(&s->mount, &s->slots.standby, s->env->active_root,
			       s->env->run_dir, err);
}
