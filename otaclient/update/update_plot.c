/*
 * update_plot: the steps of an update, of a rollback and of a forecast, and what is done once for all of them.
 * Contract: update_plot.h.
 *
 * In:  a session: an accepted update_request, or the wish to go back, or to look only.
 * Out: a machine that reboots into the new system, or one on which nothing that runs has changed,
 * with the reason in the status.
 *
 * Until flip nothing that the running system depends on has changed. What happens after the reboot: first_boot.c. Who
 * may begin what, and in which thread: updater.c.
 */
#include "otaclient/update/update_plot.h"

#include <errno.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/log/journal.h"
#include "otaclient/update/forecaster.h"
#include "otaclient/update/rollback.h"
#include "otaclient/update/update_hooks.h"
#include "otaclient/update/update_steps.h"

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

static void run_steps(struct update_session *s, struct ota_err *err)
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
			return;
		if (r == STEP_PLAN_AGAIN)
			i = index_of(plot, step_plan) - 1;
	}
}

/* ---- the end ------------------------------------------------------------------------------------
 */

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
static void end_session(
	struct update_session *s, const struct ota_err *err, struct update_end *ret_end)
{
	struct log_event failed = {
		.id = JOURNAL_UPDATE_FAILED, .session = s->id, .code = (int)err->code};
	struct status_snapshot now;

	*ret_end = (struct update_end){.live = STATUS_NONE, .err = *err};
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
		return; /* the restart may still come */
	ret_end->live = session_is_aborted(s) ? STATUS_ABORTED : plot_of(s)->failed;
	write_end(s, ret_end->live);
	flight_recorder_failure(s->env->recorder, err->code, err->msg);
	session_report(s, err);
}

enum ota_status update_plot_failed(const struct update_session *s)
{
	return plot_of(s)->failed;
}

void update_plot_begin(const struct update_session *s)
{
	if (s->request)
		status_begin_update(s->env->status, s->request->version);
	else
		status_begin_rollback(s->env->status);
}

void update_plot_run(struct update_session *s, struct update_end *ret_end)
{
	struct ota_err err = {0};

	run_steps(s, &err);
	end_session(s, &err, ret_end);
}

void update_plot_tell_end(struct status *status, const struct update_end *end)
{
	if (end->live == STATUS_ABORTED)
		status_set_live(status, end->live);
	else if (end->live != STATUS_NONE)
		status_set_failure(status, end->live, &end->err);
}
