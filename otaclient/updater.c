/*
 * updater: the steps of an update and of a rollback, and what is done once for all of them. Contract: updater.h.
 *
 * In:  an accepted update_request, or the wish to go back.
 * Out: a machine that reboots into the new system, or one on which nothing that runs has changed,
 * with the reason in the status.
 *
 * Until flip nothing that the running system depends on has changed. What happens after the reboot:
 * first_boot.c.
 *
 * The thread is joined before the next one starts, but for that of a forecast whose place an update takes: it is told
 * to end, and the update's own thread joins it before its first step. What runs and the time of the last request are
 * under the lock.
 */
#include "otaclient/updater.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/http.h"
#include "otaclient/forecaster.h"
#include "otaclient/journal.h"
#include "otaclient/rollback.h"
#include "otaclient/update_hooks.h"
#include "otaclient/update_steps.h"

struct step {
	const char *name;
	enum update_phase phase; /* what the API shows while it runs */
	step_fn *run;
	enum abort_rule abort; /* what an abort may do while it runs */
	enum ota_code blame;   /* code reported if the step itself gave none */
};

/* clang-format off */
/* name, phase, step, abort, blame */
static const struct step update_steps[] = {
	{"fetch metadata",  PHASE_PROCESSING_METADATA,   step_fetch_metadata,  END_NOW,  OTA_E_OTAMETA_DOWNLOAD_FAILED},
	{"claim standby",   PHASE_PROCESSING_METADATA,   step_claim_standby,   END_NOW,  OTA_E_BOOTCONTROL_PREUPDATE  },
	{"plan",            PHASE_CALCULATING_DELTA,     step_plan,            END_NOW,  OTA_E_UPDATEDELTA_FAILED     },
	{"pre-update",      PHASE_CALCULATING_DELTA,     step_pre_update,      END_NOW,  OTA_E_HOOK                   },
	{"prepare standby", PHASE_CALCULATING_DELTA,     step_prepare_standby, END_SOON, OTA_E_BOOTCONTROL_PREUPDATE  },
	{"open standby",    PHASE_CALCULATING_DELTA,     step_open_standby,    END_NOW,  OTA_E_BOOTCONTROL_PREUPDATE  },
	{"copy contents",   PHASE_CALCULATING_DELTA,     step_copy_contents,   END_NOW,  OTA_E_UPDATEDELTA_FAILED     },
	{"fetch contents",  PHASE_DOWNLOADING_OTA_FILES, step_fetch_contents,  END_NOW,  OTA_E_NETWORK                },
	{"prune and place", PHASE_APPLYING_UPDATE,       step_prune_and_place, END_NOW,  OTA_E_APPLY_OTAUPDATE_FAILED },
	{"persist files",   PHASE_PROCESSING_POSTUPDATE, step_persist_files,   END_NOT,  OTA_E_APPLY_OTAUPDATE_FAILED },
	{"post-update",     PHASE_PROCESSING_POSTUPDATE, step_post_update,     END_NOT,  OTA_E_HOOK                   },
	{"stage boot",      PHASE_PROCESSING_POSTUPDATE, step_stage_boot,      END_NOT,  OTA_E_BOOTCONTROL_POSTUPDATE },
	{"close standby",   PHASE_PROCESSING_POSTUPDATE, step_close_standby,   END_NOT,  OTA_E_APPLY_OTAUPDATE_FAILED },
	{"await children",  PHASE_FINALIZING_UPDATE,     step_wait_for_children, END_NOT, OTA_E_UNSPECIFIC           },
	{"pre-reboot",      PHASE_FINALIZING_UPDATE,     step_pre_reboot,      END_NOT,  OTA_E_HOOK                   },
	{"flip and reboot", PHASE_FINALIZING_UPDATE,     step_flip_and_reboot, END_NOT,  OTA_E_BOOTCONTROL_POSTUPDATE },
};

/*
 * Nothing is begun before the ECUs below are done: what is written then says that the restart is near. Of the hooks
 * only those of the restart have a say: nothing is installed.
 */
static const struct step rollback_steps[] = {
	{"await children",  PHASE_INITIALIZING,      step_wait_for_children, END_NOW, OTA_E_UNSPECIFIC             },
	{"claim standby",   PHASE_INITIALIZING,      rollback_claim,        END_NOW, OTA_E_BOOTCONTROL_PREROLLBACK },
	{"check standby",   PHASE_INITIALIZING,      rollback_check_again,  END_NOW, OTA_E_BOOTCONTROL_PREROLLBACK },
	{"pre-reboot",      PHASE_INITIALIZING,      step_pre_reboot,       END_NOW, OTA_E_HOOK                   },
	{"keep standby",    PHASE_INITIALIZING,      rollback_keep,         END_NOT, OTA_E_BOOTCONTROL_PREROLLBACK },
	{"write status",    PHASE_INITIALIZING,      rollback_write_status, END_NOT, OTA_E_BOOTCONTROL_PREROLLBACK },
	{"flip and reboot", PHASE_FINALIZING_UPDATE, rollback_flip,         END_NOT, OTA_E_BOOTCONTROL_POSTROLLBACK},
};

/* Of an update what reads only. */
static const struct step forecast_steps[] = {
	{"fetch metadata",  PHASE_PROCESSING_METADATA, step_fetch_metadata, END_NOW, OTA_E_OTAMETA_DOWNLOAD_FAILED},
	{"look at slots",   PHASE_PROCESSING_METADATA, step_look_at_slots,  END_NOW, OTA_E_BOOTCONTROL_PREUPDATE  },
	{"plan",            PHASE_CALCULATING_DELTA,   step_plan,           END_NOW, OTA_E_UPDATEDELTA_FAILED     },
};
/* clang-format on */

/* What differs between them. */
struct plot {
	const char *name; /* begins a sentence */
	const struct step *steps;
	size_t n_steps;
	enum ota_status failed; /* status of one that does not come to its end */
};

static const struct plot update_plot = {
	"Update", update_steps, ARRAY_SIZE(update_steps), STATUS_FAILURE};
static const struct plot rollback_plot = {
	"Rollback", rollback_steps, ARRAY_SIZE(rollback_steps), STATUS_ROLLBACK_FAILURE};

static const struct plot forecast_plot = {
	"Forecast", forecast_steps, ARRAY_SIZE(forecast_steps), STATUS_FAILURE};

static const struct plot *plot_of(const struct update_session *s)
{
	if (s->looks_only)
		return &forecast_plot;
	return s->request ? &update_plot : &rollback_plot;
}

enum {
	RESTART_WAIT_MS = 60 * 1000,
	RESTART_POLL_MS = 200,
};

struct updater {
	const struct update_env *env;
	uint32_t cooldown_s;
	atomic_bool stopping; /* the daemon ends */

	pthread_mutex_t lock;
	bool running;
	bool rolling_back;              /* what runs is a rollback */
	bool looking;                   /* what runs is a forecast */
	bool joinable;                  /* @thread has not been joined yet */
	uint64_t last_accepted_ms;      /* 0 = never */
	struct update_session *session; /* what runs; NULL = nothing, or it is being cleaned up */
	bool aborted;                   /* by request: what is being cleaned up, or what ran last */
	struct forecaster forecaster;
	pthread_t thread;
};

/* What a thread begins with, which owns it. */
struct run {
	struct updater *updater;
	struct update_session *session;
	bool displaces;   /* a forecast */
	pthread_t before; /* its thread */
};

/* Whichever thread noticed first, there is one sentence for it. */
static int say_stopped(struct update_session *s, struct ota_err *err)
{
	if (session_is_aborted(s))
		return ota_err_set(
			err, -ECANCELED, OTA_E_ABORTED, "The %s was aborted", session_name(s));
	if (atomic_load(&s->stop) == SESSION_STOP_UNWANTED)
		return forecaster_say_unwanted(s, err);
	return ota_err_set(err, -ECANCELED, OTA_E_ABORTED,
		"The %s was stopped because otaclient ends", session_name(s));
}

/* One step with all that is the same for each. */
static int run_step(
	const struct step *step, bool new_phase, struct update_session *s, struct ota_err *err)
{
	const char *plot = plot_of(s)->name;
	const struct log_event event = {
		.id = new_phase && !s->looks_only ? JOURNAL_PHASE_BEGINS : NULL,
		.session = s->id,
		.phase = update_phase_name(step->phase),
	};
	uint64_t began = clock_monotonic_ms();
	int r;

	/* Nothing is begun for a forecast that nobody wants; all else asks within its steps. */
	if ((s->looks_only && session_poll(s)) || !session_enter(s, step->abort))
		return say_stopped(s, err);
	status_set_phase(s->env->status, step->phase);
	log_event(LOG_LEVEL_INFO, &event, "%s %s: %s", plot, s->id, step->name);
	flight_recorder_note(
		s->env->recorder, FLIGHT_STEP, update_phase_name(step->phase), "%s", step->name);
	r = step->run(s, err);
	if (r == -ECANCELED)
		return say_stopped(s, err);
	if (r < 0) {
		if (err->errnum == 0)
			ota_err_wrap(err, r, "Step \"%s\" failed", step->name);
		ota_err_blame(err, step->blame);
		return ota_err_wrap(err, r, "%s failed in %s", plot,
			s->request ? update_phase_name(step->phase) : step->name);
	}
	log_info("%s %s: %s took %.1f s", plot, s->id, step->name,
		(double)(clock_monotonic_ms() - began) / 1000.0);
	return r;
}

static size_t index_of(const struct plot *plot, step_fn *run)
{
	size_t i = 0;

	while (plot->steps[i].run != run)
		i++;
	return i;
}

static int run_steps(struct update_session *s, struct ota_err *err)
{
	const struct log_event begins = {.id = JOURNAL_UPDATE_BEGINS, .session = s->id};
	const struct plot *plot = plot_of(s);

	flight_recorder_note(s->env->recorder,
		s->request ? FLIGHT_UPDATE_BEGINS : FLIGHT_ROLLBACK_BEGINS,
		s->request ? s->request->version : NULL, "%s", s->id);
	if (s->looks_only)
		log_info("Forecast %s of an update from %s begins", s->id, s->request->url);
	else if (s->request)
		log_event(LOG_LEVEL_INFO, &begins, "Update %s to version \"%s\" from %s begins",
			s->id, s->request->version, s->request->url);
	for (size_t i = 0; i < plot->n_steps; i++) {
		const struct step *step = &plot->steps[i];
		int r = run_step(step, i == 0 || step->phase != step[-1].phase, s, err);

		if (r < 0)
			return r;
		if (r == STEP_PLAN_AGAIN)
			i = index_of(plot, step_plan) - 1;
	}
	return 0;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

/* What the live status is to say once nothing of the session is left. */
struct ending {
	enum ota_status live; /* STATUS_NONE: the restart is on its way, it stays as it is */
	struct ota_err err;   /* for a failure */
};

/* The standby's folder exists only once its status was written; a rollback never makes it. */
static bool is_to_be_failed(
	const struct update_session *s, enum ota_status status, enum ota_status standby)
{
	if (!s->request)
		return standby == STATUS_ROLLBACKING;
	return s->may_destroy && status == STATUS_FAILURE && standby != STATUS_NONE;
}

/*
 * An accepted update that does not come to its end: say so where peers and the next start look for it. One that was
 * refused leaves no trace.
 */
static void write_end(const struct update_session *s, enum ota_status status)
{
	struct ota_err err = {0};
	struct slot_pair slots;

	if (s->refused)
		return;
	if (s->env->boot->ops->slots(s->env->boot, &slots, &err) < 0 ||
		status_store_write_status(slots.active.status_dir, status, &err) < 0)
		log_error("%s", err.msg);
	else if (is_to_be_failed(s, status, status_store_read_status(slots.standby.status_dir)) &&
		 status_store_write_status(slots.standby.status_dir, STATUS_FAILURE, &err) < 0)
		log_error("%s", err.msg);
}

/* An abort that was accepted is the truth, also where the step has met an error before it noticed. */
static void end_session(struct update_session *s, const struct ota_err *err, struct ending *ret_end)
{
	struct log_event failed = {
		.id = JOURNAL_UPDATE_FAILED, .session = s->id, .code = (int)err->code};
	struct status_snapshot now;

	*ret_end = (struct ending){.live = STATUS_NONE, .err = *err};
	if (err->errnum == 0)
		return;
	/* Nothing has happened to the machine. */
	if (s->looks_only) {
		log_warning("Forecast %s: E%03d: %s", s->id, err->code, err->msg);
		return;
	}
	status_get(s->env->status, &now);
	failed.phase = update_phase_name(now.update.phase);
	/* Somebody wanted an abort, so it is nothing that has gone wrong. */
	log_event(session_is_aborted(s) ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, &failed,
		"%s %s: E%03d: %s", plot_of(s)->name, s->id, err->code, err->msg);
	if (s->flipped)
		return; /* the restart may still come: wait_for_restart() */
	ret_end->live = session_is_aborted(s) ? STATUS_ABORTED : plot_of(s)->failed;
	write_end(s, ret_end->live);
	flight_recorder_failure(s->env->recorder, err->code, err->msg);
	session_report(s, err);
}

static void tell_end(struct status *status, const struct ending *end)
{
	if (end->live == STATUS_ABORTED)
		status_set_live(status, end->live);
	else if (end->live != STATUS_NONE)
		status_set_failure(status, end->live, &end->err);
}

static void tell_begin(struct status *status, const struct update_session *s)
{
	if (s->request)
		status_begin_update(status, s->request->version);
	else
		status_begin_rollback(status);
}

int updater_run(const struct update_env *env, struct update_session *s, struct ota_err *err)
{
	struct ending end;
	int r;

	tell_begin(env->status, s);
	r = run_steps(s, err);
	end_session(s, err, &end);
	tell_end(env->status, &end);
	return r;
}

/* ---- requests -----------------------------------------------------------------------------------
 */

struct updater *updater_new(const struct update_env *env, uint32_t cooldown_s)
{
	struct updater *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->env = env;
	u->cooldown_s = cooldown_s;
	if (forecaster_init(&u->forecaster) < 0) {
		free(u);
		return NULL;
	}
	pthread_mutex_init(&u->lock, NULL);
	return u;
}

/*
 * The restart has been asked for: stay, answering as "updating", until the service manager ends us.
 * Whoever asks would else take the silence, or an idle ECU, for the end of the update. Also when the tool that asks
 * for it has failed, as it does when it is itself ended by the restart: the switch is made, the status files must go on
 * saying UPDATING, for the new system is going to boot and to be committed.
 */
static void wait_for_restart(
	struct updater *u, const struct plot *plot, const struct ota_err *reboot_err)
{
	struct ota_err err = *reboot_err;

	for (uint32_t waited = 0; waited < RESTART_WAIT_MS; waited += RESTART_POLL_MS) {
		if (atomic_load(&u->stopping))
			return;
		clock_sleep_ms(RESTART_POLL_MS);
	}
	if (err.errnum == 0)
		ota_err_set(&err, -ETIMEDOUT, OTA_E_BOOTCONTROL_POSTUPDATE,
			"The machine did not restart within %d s; the next start of it tries the "
			"other slot",
			RESTART_WAIT_MS / 1000);
	log_error("%s", err.msg);
	status_set_failure(u->env->status, plot->failed, &err);
}

/*
 * Nothing of the session is left when its end is told: whoever reads it may send the next request. An
 * aborted update leaves nothing to wait for, either.
 */
static void finish(struct updater *u, struct update_session *s, struct ending *end)
{
	pthread_mutex_lock(&u->lock);
	u->session = NULL;
	u->aborted = end->live == STATUS_ABORTED;
	pthread_mutex_unlock(&u->lock);
	session_free(s);
	pthread_mutex_lock(&u->lock);
	u->running = false;
	if (u->aborted)
		u->last_accepted_ms = 0;
	tell_end(u->env->status, end);
	pthread_mutex_unlock(&u->lock);
}

/* The same for a forecast. Where an update has taken its place, what the updater says of what runs is the update's. */
static void finish_forecast(struct updater *u, struct update_session *s, const struct ota_err *err)
{
	struct forecaster *f = &u->forecaster;

	pthread_mutex_lock(&u->lock);
	if (!f->displaced)
		u->session = NULL;
	forecaster_keep(f, s, err);
	pthread_mutex_unlock(&u->lock);
	session_free(s);
	pthread_mutex_lock(&u->lock);
	f->ended = true;
	if (!f->displaced)
		u->running = u->looking = false;
	pthread_mutex_unlock(&u->lock);
}

static void *updater_thread(void *arg)
{
	AUTO_FREE struct run *run = arg;
	struct updater *u = run->updater;
	struct update_session *s = run->session;
	struct ota_err err = {0};
	struct ending end;

	if (run->displaces)
		pthread_join(run->before, NULL);
	/* Behind the acceptance, under the same lock, which has told that the session begins. */
	pthread_mutex_lock(&u->lock);
	pthread_mutex_unlock(&u->lock);
	run_steps(s, &err);
	end_session(s, &err, &end);
	if (s->flipped)
		wait_for_restart(u, plot_of(s), &err);
	if (u->env->proxy_wishes)
		proxy_wishes_drop(u->env->proxy_wishes, PROXY_FOR_UPDATE);
	if (s->looks_only)
		finish_forecast(u, s, &end.err);
	else
		finish(u, s, &end);
	return NULL;
}

void updater_free(struct updater *u)
{
	if (!u)
		return;
	atomic_store(&u->stopping, true);
	pthread_mutex_lock(&u->lock);
	if (u->session)
		session_request_end(u->session);
	pthread_mutex_unlock(&u->lock);
	if (u->joinable)
		pthread_join(u->thread, NULL);
	forecaster_done(&u->forecaster);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

/* What can be seen to be wrong in the request itself. */
static int check_request(const struct update_request *q, char **ret_cookies, struct ota_err *err)
{
	AUTO_FREE char *base = NULL;
	int r = image_source_base_url(q->url, &base, err);

	return r < 0 ? r : http_cookies_from_json(q->cookies, strlen(q->cookies), ret_cookies, err);
}

static int refuse_if_running(const struct updater *u, bool displaces, struct ota_err *err)
{
	if (u->looking && displaces)
		return 0;
	if (u->looking)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY,
			"A forecast of an update is being made; this request has been ignored");
	if (u->running)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY,
			"%s is running already; this request has been ignored",
			u->rolling_back ? "A rollback" : "An update");
	return 0;
}

/* @displaces: an update, which takes the place of a forecast. */
static int refuse_if_busy(const struct updater *u, bool displaces, struct ota_err *err)
{
	uint64_t now = clock_monotonic_ms();
	int r = refuse_if_running(u, displaces, err);

	if (r < 0)
		return r;
	if (u->last_accepted_ms != 0 && now - u->last_accepted_ms < (uint64_t)u->cooldown_s * 1000)
		return ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY,
			"The last request was accepted less than %u s ago; this one has been "
			"ignored",
			u->cooldown_s);
	return 0;
}

/*
 * Under the lock, for which the new thread waits before it begins. One that ran before has ended, or is that of a
 * forecast, which goes on as it was if this fails.
 */
static int start_thread(struct updater *u, struct update_session *s, struct ota_err *err)
{
	AUTO_FREE struct run *run = malloc(sizeof(*run));
	pthread_t thread;
	int r;

	if (!run)
		return ota_err_no_memory(err, "an update");
	*run = (struct run){u, s, u->looking, u->thread};
	if (u->joinable && !run->displaces) {
		pthread_join(u->thread, NULL);
		u->joinable = false;
	}
	r = pthread_create(&thread, NULL, updater_thread, run);
	if (r != 0)
		return ota_err_set(
			err, -r, OTA_E_UNSPECIFIC, "Cannot start an update: %s", strerror(r));
	(void)TAKE_PTR(run);
	u->thread = thread;
	u->joinable = true;
	return 0;
}

/* @s becomes the thread's. */
static int start_session(struct updater *u, struct update_session *s, struct ota_err *err)
{
	int r = start_thread(u, s, err);

	if (r < 0) {
		session_free(s);
		return r;
	}
	if (u->looking)
		forecaster_displace(&u->forecaster, u->session);
	u->session = s;
	u->running = true;
	u->rolling_back = !s->request;
	u->looking = s->looks_only;
	u->aborted = false;
	if (!s->looks_only)
		u->last_accepted_ms = MAX_OF(clock_monotonic_ms(), (uint64_t)1);
	tell_begin(s->env->status, s);
	return 0;
}

/* Takes @s over. NULL: memory was short. */
static int accept_session(struct updater *u, struct update_session *s, struct ota_err *err)
{
	int r;

	if (!s)
		return ota_err_no_memory(err, "an update");
	pthread_mutex_lock(&u->lock);
	r = refuse_if_busy(u, s->request != NULL, err);
	if (r == 0)
		r = start_session(u, TAKE_PTR(s), err);
	pthread_mutex_unlock(&u->lock);
	session_free(s);
	return r;
}

int updater_request(struct updater *u, const struct update_request *request, struct ota_err *err)
{
	AUTO_FREE char *cookies = NULL;
	struct update_request *copy;
	struct update_session *s;
	int r = check_request(request, &cookies, err);

	if (r < 0)
		return r;
	copy = update_request_dup(request);
	s = copy ? session_new(u->env, copy) : NULL;
	if (s)
		s->cookie_header = TAKE_PTR(cookies);
	else
		update_request_free(copy);
	return accept_session(u, s, err);
}

/* Under the lock, @copy and @cookies become the session's. */
static int begin_forecast(
	struct updater *u, struct update_request *copy, char *cookies, struct ota_err *err)
{
	struct update_session *s;
	int r = refuse_if_running(u, false, err);

	if (r < 0) {
		update_request_free(copy);
		free(cookies);
		return r;
	}
	s = forecaster_session(&u->forecaster, u->env, copy);
	if (!s) {
		free(cookies);
		return ota_err_no_memory(err, "a forecast");
	}
	s->cookie_header = cookies;
	r = start_session(u, s, err);
	if (r < 0)
		forecaster_forget(&u->forecaster);
	return r;
}

int updater_forecast(struct updater *u, const struct update_request *request,
	struct forecast_report *ret_report, struct ota_err *err)
{
	AUTO_FREE char *cookies = NULL;
	struct update_request *copy;
	int r = check_request(request, &cookies, err);

	if (r < 0)
		return r;
	copy = update_request_dup(request);
	if (!copy)
		return ota_err_no_memory(err, "a forecast");
	pthread_mutex_lock(&u->lock);
	if (forecaster_knows(&u->forecaster, request))
		update_request_free(copy);
	else
		r = begin_forecast(u, copy, TAKE_PTR(cookies), err);
	if (r == 0)
		r = forecaster_answer(
			&u->forecaster, u->looking ? u->session : NULL, ret_report, err);
	pthread_mutex_unlock(&u->lock);
	return r;
}

int updater_rollback(struct updater *u, struct ota_err *err)
{
	int r;

	/* Whether the other slot is whole is not to be asked while an update works on it. */
	pthread_mutex_lock(&u->lock);
	r = refuse_if_busy(u, false, err);
	pthread_mutex_unlock(&u->lock);
	if (r == 0)
		r = rollback_check(u->env->boot, err);
	return r < 0 ? r : accept_session(u, session_new(u->env, NULL), err);
}

int updater_abort(struct updater *u, struct ota_err *ret_answer)
{
	int r = 0;

	pthread_mutex_lock(&u->lock);
	if (u->session && !u->rolling_back)
		r = session_abort(u->session, ret_answer);
	else if (u->running && u->aborted)
		snprintf(ret_answer->msg, sizeof(ret_answer->msg), "Abort already in progress");
	else
		r = ota_err_set(ret_answer, -ESRCH, OTA_E_UNSPECIFIC,
			"Cannot abort: no active OTA update in progress");
	pthread_mutex_unlock(&u->lock);
	return r;
}
