/*
 * commands: what otactl does for each of its commands. Contract: commands.h.
 *
 * Elsewhere: reading the command line (options), looking again and again (watch), printing (view, view_json).
 */
#include "otaclient/ctl/commands.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/ctl/doctor_view.h"
#include "otaclient/ctl/follow.h"
#include "otaclient/ctl/forecast_ask.h"
#include "otaclient/ctl/forecast_view.h"
#include "otaclient/ctl/history_view.h"
#include "otaclient/ctl/view.h"
#include "otaclient/ctl/view_json.h"
#include "otaclient/ctl/watch.h"
#include "otaclient/flight/flight_recorder.h"

static int ask_status(struct ctl *c, struct wire_status *ret_status)
{
	return ctl_advise(
		peer_status(&c->opt.address, CTL_CALL_TIMEOUT_MS, ret_status, &c->err), &c->err);
}

/* --- which ECUs --- */

static void name_ecu(struct options *o, const char *id)
{
	for (size_t i = 0; i < o->n_ecu_ids; i++)
		if (strcmp(o->ecu_ids[i], id) == 0)
			return;
	assert(o->n_ecu_ids < ARRAY_SIZE(o->ecu_ids)); /* no status has more of them */
	o->ecu_ids[o->n_ecu_ids++] = id;
}

/*
 * Without --ecu-id, the ECU that is asked: its own entry is the first of ecu_v2. The list of those it
 * speaks for may have any order, and need not name it. @status must stay.
 */
static int name_ecus(struct ctl *c, const struct wire_status *status)
{
	if (c->opt.n_ecu_ids > 0)
		return 0;
	for (size_t i = 0; c->opt.all && i < status->n_available; i++)
		name_ecu(&c->opt, status->available[i]);
	if (c->opt.n_ecu_ids > 0)
		return 0;
	if (status->n_ecus == 0)
		return ota_err_set(&c->err, -ENODATA, OTA_E_UNSPECIFIC,
			"%s does not say which ECU it is; --ecu-id is needed", c->opt.address.host);
	name_ecu(&c->opt, status->ecus[0].ecu_id);
	return 0;
}

/* --- asking for something --- */

static const struct wire_answer_ecu *find_answer(
	const struct wire_answer *answer, const char *ecu_id)
{
	for (size_t i = 0; i < answer->n_ecus; i++)
		if (strcmp(answer->ecus[i].ecu_id, ecu_id) == 0)
			return &answer->ecus[i];
	return NULL;
}

static const char *why_refused(enum api_method m, const struct wire_answer_ecu *e)
{
	return e->message[0] ? e->message : view_result_name(m, e->result);
}

/* Did every ECU that was named accept? */
static int check_answer(struct ctl *c, enum api_method m, const struct wire_answer *answer)
{
	const char *wish = strrchr(api_method_path(m), '/') + 1;

	for (size_t i = 0; i < c->opt.n_ecu_ids; i++)
		if (!find_answer(answer, c->opt.ecu_ids[i]))
			return ota_err_set(&c->err, -ENODEV, OTA_E_UNSPECIFIC,
				"%s does not know an ECU '%s'", c->opt.address.host,
				c->opt.ecu_ids[i]);
	for (size_t i = 0; i < answer->n_ecus; i++) {
		const struct wire_answer_ecu *e = &answer->ecus[i];

		if (e->result != API_NO_FAILURE)
			return ota_err_set(&c->err, -EREMOTEIO, OTA_E_UNSPECIFIC,
				"%s of %s refused: %s", wish, e->ecu_id, why_refused(m, e));
	}
	return 0;
}

static int ask(struct ctl *c, enum api_method m, struct wire_answer *ret_answer)
{
	AUTO_FREE struct wire_request_ecu *ecus = calloc(c->opt.n_ecu_ids + 1, sizeof(*ecus));
	struct wire_request request = {.ecus = ecus, .n_ecus = c->opt.n_ecu_ids};

	if (!ecus)
		return ota_err_no_memory(&c->err, "the request");
	for (size_t i = 0; i < request.n_ecus; i++) {
		ecus[i].ecu_id = c->opt.ecu_ids[i];
		ecus[i].update.version = c->opt.version;
		ecus[i].update.url = c->opt.url;
		ecus[i].update.cookies = c->opt.cookies;
	}
	return ctl_advise(
		peer_ask(&c->opt.address, m, &request, CTL_CALL_TIMEOUT_MS, ret_answer, &c->err),
		&c->err);
}

/* Show the answer; the sentence is about the first ECU that did not accept. */
static int show_answer(struct ctl *c, enum api_method m, const struct wire_answer *answer)
{
	if (c->opt.json)
		view_json_answer(stdout, m, answer);
	else
		view_answer(stdout, m, answer);
	return check_answer(c, m, answer);
}

/* --- waiting --- */

/* @answer: who has taken the request. @before: the status from before it. */
static int wait_for_end(struct ctl *c, enum api_method m, const struct wire_answer *answer,
	const struct wire_status *before)
{
	AUTO_FREE struct follow_ecu *ecus = calloc(c->opt.n_ecu_ids, sizeof(*ecus));
	struct follow follow = {
		.version = c->opt.version,
		.timeout_ms = (uint64_t)c->opt.timeout_s * 1000,
		.ecus = ecus,
		.n_ecus = c->opt.n_ecu_ids,
	};

	if (!ecus)
		return ota_err_no_memory(&c->err, "the ECUs that are watched");
	for (size_t i = 0; i < follow.n_ecus; i++)
		ecus[i].ecu_id = c->opt.ecu_ids[i];
	follow_start(&follow, before, clock_monotonic_ms());
	for (size_t i = 0; i < follow.n_ecus; i++) {
		const struct wire_answer_ecu *e = find_answer(answer, ecus[i].ecu_id);

		if (!e)
			follow_refuse(&follow, &ecus[i], "the asked ECU does not know it");
		else if (e->result != API_NO_FAILURE)
			follow_refuse(&follow, &ecus[i], why_refused(m, e));
	}
	return watch_until_end(c, &follow, before);
}

/* Ask, and with --wait see it through on the ECUs that have accepted. */
static int request(struct ctl *c, enum api_method m, const struct wire_status *before)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	size_t n_accepted = 0;
	int r = ask(c, m, &answer);

	if (r < 0)
		return r;
	for (size_t i = 0; i < c->opt.n_ecu_ids; i++) {
		const struct wire_answer_ecu *e = find_answer(&answer, c->opt.ecu_ids[i]);

		n_accepted += e && e->result == API_NO_FAILURE;
	}
	if (!c->opt.wait || n_accepted == 0)
		return show_answer(c, m, &answer);
	return wait_for_end(c, m, &answer, before);
}

/* --- commands --- */

static int do_status(struct ctl *c)
{
	AUTO_WIRE_STATUS struct wire_status status = {0};
	int r;

	if (c->opt.watch)
		return watch_vehicle(c);
	r = ask_status(c, &status);
	if (r < 0)
		return r;
	if (c->opt.json)
		view_json_status(stdout, &status);
	else
		view_status(stdout, &status);
	return 0;
}

/* What the update would do; shown if it is not to be done. */
static int foresee(struct ctl *c, const struct wire_status *before)
{
	AUTO_FREE struct wire_forecast *forecast = calloc(1, sizeof(*forecast));
	int r = forecast ? forecast_ask(c, before, forecast)
			 : ota_err_no_memory(&c->err, "the forecast");

	if (r < 0)
		return r;
	if (c->opt.dry_run && c->opt.json)
		forecast_view_json(stdout, forecast);
	else if (c->opt.dry_run)
		forecast_view(stdout, forecast);
	return forecast_ask_limit(c, forecast);
}

static int do_update(struct ctl *c)
{
	AUTO_WIRE_STATUS struct wire_status before = {0};
	bool foresees = c->opt.dry_run || c->opt.limited;
	int r = 0;

	if (c->opt.n_ecu_ids == 0 || c->opt.wait || foresees)
		r = ask_status(c, &before);
	if (r == 0)
		r = name_ecus(c, &before);
	if (r == 0 && foresees)
		r = foresee(c, &before);
	return r < 0 || c->opt.dry_run ? r : request(c, API_UPDATE, &before);
}

static int do_abort(struct ctl *c)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	int r = ask(c, API_ABORT, &answer);

	return r < 0 ? r : show_answer(c, API_ABORT, &answer);
}

/* No ECU hands a rollback on, so whoever is meant must be asked itself. */
static int do_rollback(struct ctl *c)
{
	AUTO_WIRE_STATUS struct wire_status before = {0};
	int r = ask_status(c, &before);

	for (size_t i = 0; r == 0 && before.n_ecus > 0 && i < c->opt.n_ecu_ids; i++)
		if (strcmp(c->opt.ecu_ids[i], before.ecus[0].ecu_id) != 0)
			return ota_err_set(&c->err, -EINVAL, OTA_E_UNSPECIFIC,
				"A rollback is not handed on: %s is '%s'; ask '%s' itself, with "
				"--ecu",
				c->opt.address.host, before.ecus[0].ecu_id, c->opt.ecu_ids[i]);
	if (r == 0)
		r = name_ecus(c, &before);
	return r < 0 ? r : request(c, API_ROLLBACK, &before);
}

static int do_history(struct ctl *c)
{
	AUTO_FREE struct flight_record *records = calloc(FLIGHT_CELLS, sizeof(*records));
	const char *path = c->opt.file ? c->opt.file : FLIGHT_RECORDER_PATH;
	size_t n = 0;
	int r;

	if (!records)
		return ota_err_no_memory(&c->err, "the records");
	r = flight_recorder_read_file(path, records, &n, &c->err);
	if (r == -ENOENT && !c->opt.file)
		return ota_err_set(&c->err, r, OTA_E_UNSPECIFIC,
			"There is no %s: otaclient makes it at its first start on a machine", path);
	if (r < 0)
		return r;
	if (c->opt.json)
		history_view_json(stdout, records, n);
	else
		history_view(stdout, records, n);
	return 0;
}

static int do_doctor(struct ctl *c)
{
	const struct doctor_options options = {.root = "", .limit_ms = DOCTOR_LIMIT_MS};
	struct doctor_counts counts = {0};
	int r = doctor_view_run(stdout, &options, c->opt.json, &counts, &c->err);

	return r == 0 && counts.n[VERDICT_FAILURE] > 0 ? COMMANDS_SAID_WHY : r;
}

int commands_run(struct ctl *c)
{
	static int (*const run[CTL_COMMANDS])(struct ctl * c) = {
		[CTL_STATUS] = do_status,
		[CTL_UPDATE] = do_update,
		[CTL_ABORT] = do_abort,
		[CTL_ROLLBACK] = do_rollback,
		[CTL_HISTORY] = do_history,
		[CTL_DOCTOR] = do_doctor,
	};

	return run[c->opt.command](c);
}
