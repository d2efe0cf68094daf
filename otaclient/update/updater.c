/*
 * updater: who may begin an update, a rollback or a forecast, and the thread that runs it. Contract: updater.h.
 *
 * The thread is joined before the next one starts, but for that of a forecast whose place an update takes: it is told
 * to end, and the update's own thread joins it before its first step. What runs and the time of the last request are
 * under the lock.
 *
 * Elsewhere: the steps, and what is said of their end (update_plot).
 */
#include "otaclient/update/updater.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/http.h"
#include "otaclient/update/forecaster.h"
#include "otaclient/update/rollback.h"
#include "otaclient/update/update_plot.h"

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

int updater_run(const struct update_env *env, struct update_session *s, struct ota_err *err)
{
	struct update_end end;

	update_plot_begin(s);
	update_plot_run(s, &end);
	update_plot_tell_end(env->status, &end);
	*err = end.err;
	return err->errnum;
}

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
	struct updater *u, enum ota_status failed, const struct ota_err *reboot_err)
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
	status_set_failure(u->env->status, failed, &err);
}

/*
 * Nothing of the session is left when its end is told: whoever reads it may send the next request. An
 * aborted update leaves nothing to wait for, either.
 */
static void finish(struct updater *u, struct update_session *s, const struct update_end *end)
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
	update_plot_tell_end(u->env->status, end);
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
	struct update_end end;

	if (run->displaces)
		pthread_join(run->before, NULL);
	/* Behind the acceptance, under the same lock, which has told that the session begins. */
	pthread_mutex_lock(&u->lock);
	pthread_mutex_unlock(&u->lock);
	update_plot_run(s, &end);
	if (s->flipped)
		wait_for_restart(u, update_plot_failed(s), &end.err);
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
	update_plot_begin(s);
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
