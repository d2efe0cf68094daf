/*
 * answers: what each method of the API answers. Contract: answers.h; rules: docs/api.md.
 *
 * First the ECUs below are asked, and this ECU's entry comes last. ECUs that are neither here nor below have no entry.
 * A request that came here before is handed on to nobody: this ECU may be below itself.
 */
#include "otaclient/api/answers.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/base/log.h"
#include "otaclient/api/wire_forecast.h"
#include "otaclient/status/text.h"

/* One call on its way. */
struct asked {
	const struct answerer *by;
	const struct api_config *config; /* the answerer's */
	enum api_method method;
	struct wire_request *request;
	bool is_copy; /* of one that came before */
	struct wire_answer answer;
};

static int fill_request_id(struct wire_request *request)
{
	char id[64], hex[9];
	uint8_t rnd[4];

	if (request->request_id[0])
		return 0;
	clock_random(rnd, sizeof(rnd));
	hex_encode(rnd, sizeof(rnd), hex);
	snprintf(id, sizeof(id), "%" PRId64 "-%s", clock_unix_s(), hex);
	request->request_id = arena_strndup(&request->arena, id, strlen(id));
	if (!request->request_id)
		return -ENOMEM;
	for (size_t i = 0; i < request->n_ecus; i++)
		request->ecus[i].update.request_id = request->request_id;
	return 0;
}

/* The first entry for this ECU, or NULL. */
static const struct wire_request_ecu *own_entry(const struct asked *a)
{
	for (size_t i = 0; i < a->request->n_ecus; i++)
		if (strcmp(a->request->ecus[i].ecu_id, a->config->ecu_id) == 0)
			return &a->request->ecus[i];
	return NULL;
}

static const char *why_no_ecu_info(const struct api_config *c)
{
	return c->ecu_info_wrong
		       ? "This ECU takes no updates: its ecu_info.yaml was wrong when the "
			 "daemon started"
		       : "This ECU takes no updates: its ecu_info.yaml could not be read "
			 "when the daemon started";
}

static int forward(struct asked *a)
{
	const struct api_tree *tree = a->config->tree;

	return tree && !a->is_copy ? tree->forward(tree->ctx, a->method, a->request, &a->answer)
				   : 0;
}

/* The same answer for every ECU that is named. */
static int answer_all(struct asked *a, int result, const char *message)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->request->n_ecus; i++)
		r = wire_answer_add(&a->answer, a->request->ecus[i].ecu_id, result, message);
	return r;
}

/* This ECU's entry, as the handler decided: @err is set unless it accepted. */
static int answer_own(struct asked *a, const char *wish, int r, const struct ota_err *err)
{
	const char *why = err->msg[0] ? err->msg : ota_code_text(err->code);

	if (r >= 0) {
		log_info("%s accepted, request %s", wish, a->request->request_id);
		return wire_answer_add(&a->answer, a->config->ecu_id, API_NO_FAILURE, "");
	}
	log_warning("%s refused, request %s: %s", wish, a->request->request_id, why);
	return wire_answer_add(&a->answer, a->config->ecu_id,
		ota_code_is_recoverable(err->code) ? API_RECOVERABLE : API_UNRECOVERABLE, why);
}

/* Nobody knows which ECU this is, so none that is named may think that it is meant. */
static int refuse_without_ecu_info(struct asked *a)
{
	return answer_all(a, API_UNRECOVERABLE, why_no_ecu_info(a->config));
}

/*
 * Hand the request on to whom else it names. @ret_own: this ECU's entry; NULL: there is nothing more to
 * answer.
 */
static int pass_on(struct asked *a, const struct wire_request_ecu **ret_own)
{
	int r;

	*ret_own = NULL;
	if (!a->config->ecu_info_loaded)
		return refuse_without_ecu_info(a);
	if (a->is_copy)
		log_warning("Request %s came here before and is not handed on again: it was sent "
			    "twice, or this ECU is among those below it",
			a->request->request_id);
	r = forward(a);
	if (r >= 0)
		*ret_own = own_entry(a);
	return r;
}

/* Why this ECU takes nothing, whatever it is: 0, or -errno with the sentence. */
static int check_taking(const struct asked *a, struct ota_err *err)
{
	if (a->is_copy)
		return ota_err_set(err, -EALREADY, OTA_E_OTA_BUSY,
			"This request came here before; its id is taken again after %d s at the "
			"earliest",
			RECENT_REQUESTS_MS / 1000);
	if (a->by->ending && atomic_load(a->by->ending))
		return ota_err_set(err, -ESHUTDOWN, OTA_E_OTA_BUSY,
			"This ECU's otaclient is about to end; nothing was done here");
	return 0;
}

static int answer_update(struct asked *a)
{
	const struct wire_request_ecu *own;
	struct ota_err err = {0};
	int r = pass_on(a, &own);

	if (!own)
		return r;
	r = check_taking(a, &err);
	if (r < 0)
		return answer_own(a, "Update", r, &err);
	if (a->by->handler->update)
		r = a->by->handler->update(a->by->handler->ctx, &own->update, &err);
	else
		r = ota_err_set(&err, -EOPNOTSUPP, OTA_E_INVALID_REQUEST,
			"Updates are not possible on this ECU");
	return answer_own(a, "Update", r, &err);
}

/* Is something under way that a request would disturb? */
static bool is_busy(struct asked *a)
{
	AUTO_FREE struct status_snapshot *now = malloc(sizeof(*now));

	if (!now)
		return true;
	status_get(a->by->status, now);
	return now->ota_status == STATUS_UPDATING || now->ota_status == STATUS_ROLLBACKING ||
	       now->ota_status == STATUS_CLIENT_UPDATING || now->ota_status == STATUS_ABORTING;
}

/*
 * Accepted as by a client that finds its own version in the image: there is nothing to do, for this client comes with
 * the image. Agents that ask for it before each update go on.
 */
static int answer_client_update(struct asked *a)
{
	static const char nothing[] = "Nothing to do: the client of this ECU is updated together "
				      "with its image, not by itself";
	const struct wire_request_ecu *own;
	struct ota_err err = {0};
	int r = pass_on(a, &own);

	if (!own)
		return r;
	r = check_taking(a, &err);
	if (r == 0 && is_busy(a))
		r = ota_err_set(&err, -EBUSY, OTA_E_OTA_BUSY,
			"An update is running already; this request has been ignored");
	if (r < 0)
		return answer_own(a, "Client update", r, &err);
	log_info("Client update, request %s: %s", a->request->request_id, nothing);
	return wire_answer_add(&a->answer, a->config->ecu_id, API_NO_FAILURE, nothing);
}

/* A rollback is local; nothing is forwarded. */
static int answer_rollback(struct asked *a)
{
	static const char unavailable[] = "Rollback is not available";
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->request->n_ecus; i++) {
		const char *id = a->request->ecus[i].ecu_id;
		struct ota_err err = {0};

		if (strcmp(id, a->config->ecu_id) == 0 && a->by->handler->rollback)
			r = answer_own(a, "Rollback",
				a->by->handler->rollback(a->by->handler->ctx, &err), &err);
		else
			r = wire_answer_add(&a->answer, id, API_RECOVERABLE, unavailable);
	}
	return r;
}

/*
 * An abort is for all ECUs, whichever are named. This one stops first: a child that does not answer must not keep it
 * going.
 */
static int answer_abort(struct asked *a)
{
	static const char nothing_runs[] = "Cannot abort: no active OTA update in progress";
	struct ota_err err = {0};
	int result = API_ABORT_FAILURE;
	const char *message = nothing_runs;
	int r;

	if (a->by->handler->abort) {
		r = a->by->handler->abort(a->by->handler->ctx, &err);
		if (r == 0)
			result = API_NO_FAILURE;
		if (r == 0 || err.msg[0])
			message = err.msg[0] ? err.msg : "Abort accepted";
	}
	log_info("Abort: %s", message);
	r = forward(a);
	return r < 0 ? r : wire_answer_add(&a->answer, a->config->ecu_id, result, message);
}

/* Is the question for this ECU, and can it be answered? */
static int check_forecast(const struct asked *a, struct ota_err *err)
{
	if (!a->config->ecu_info_loaded)
		return ota_err_set(
			err, -EINVAL, OTA_E_INVALID_REQUEST, "%s", why_no_ecu_info(a->config));
	if (a->request->n_ecus != 1 || !own_entry(a))
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"A forecast is for the ECU that is asked and no other, and this is '%s'",
			a->config->ecu_id);
	if (!a->by->handler->forecast)
		return ota_err_set(err, -EOPNOTSUPP, OTA_E_INVALID_REQUEST,
			"Forecasts are not possible on this ECU");
	return check_taking(a, err);
}

/* Nothing is handed on, and no copy is refused: it is asked for again and again. */
int answer_forecast(const struct answerer *by, struct wire_request *request, struct buf *ret_bytes,
	struct ota_err *err)
{
	const struct asked a = {.by = by, .config = by->config, .request = request};
	AUTO_FREE struct wire_forecast *answer = calloc(1, sizeof(*answer));
	struct ota_err why = {0};
	int r = answer ? fill_request_id(request) : -ENOMEM;

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot answer");
	text_put(answer->ecu_id, sizeof(answer->ecu_id), by->config->ecu_id);
	text_put(answer->request_id, sizeof(answer->request_id), request->request_id);
	r = check_forecast(&a, &why);
	if (r == 0)
		r = by->handler->forecast(
			by->handler->ctx, &own_entry(&a)->update, &answer->report, &why);
	if (r < 0)
		answer->result =
			ota_code_is_recoverable(why.code) ? API_RECOVERABLE : API_UNRECOVERABLE;
	text_put(answer->message, sizeof(answer->message),
		r == 0       ? answer->report.remark
		: why.msg[0] ? why.msg
			     : ota_code_text(why.code));
	r = wire_forecast_encode(answer, ret_bytes);
	return r < 0 ? ota_err_wrap(err, r, "Cannot answer") : 0;
}

static bool is_available(const struct api_config *c, const char *ecu_id)
{
	for (size_t i = 0; i < c->n_available; i++)
		if (strcmp(c->available_ecu_ids[i], ecu_id) == 0)
			return true;
	return c->n_available == 0 && strcmp(c->ecu_id, ecu_id) == 0;
}

/* The ids in the file's order, each once. */
static int add_available(const struct api_config *c, struct wire_status *status)
{
	int r = 0;

	if (c->n_available == 0)
		return wire_status_add_available(status, c->ecu_id);
	for (size_t i = 0; r == 0 && i < c->n_available; i++) {
		struct api_config before = *c;

		before.n_available = i;
		if (i == 0 || !is_available(&before, c->available_ecu_ids[i]))
			r = wire_status_add_available(status, c->available_ecu_ids[i]);
	}
	return r;
}

int answer_status(const struct answerer *a, struct buf *ret_bytes, struct ota_err *err)
{
	const struct api_config *c = a->config;
	AUTO_WIRE_STATUS struct wire_status answer = {0};
	AUTO_FREE struct status_snapshot *now = malloc(sizeof(*now));
	struct wire_status_ecu own;
	int r;

	if (!now)
		return ota_err_no_memory(err, "the status");
	status_get(a->status, now);
	/* An ECU that only speaks for others has nothing to wait for. */
	if (!now->known && is_available(c, c->ecu_id))
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC,
			"local ECU '%s' status not yet collected", c->ecu_id);
	r = add_available(c, &answer);
	/* Our own entry first: by that a client knows whom it has asked. */
	if (r == 0 && now->known) {
		wire_status_ecu_from(now, c->ecu_id, clock_monotonic_ms(), &own);
		r = wire_status_add(&answer, &own);
	}
	if (r == 0 && c->tree)
		r = c->tree->status(c->tree->ctx, &answer);
	if (r == 0)
		r = wire_status_encode(&answer, ret_bytes);
	return r < 0 ? ota_err_wrap(err, r, "Cannot answer Status") : 0;
}

/* Of the requests that are handed on; a rollback and a forecast are not. */
static struct recent_requests *recent_of(const struct answerer *a, enum api_method m)
{
	return m == API_ROLLBACK || m == API_FORECAST ? NULL : a->recent;
}

bool answer_is_copy(const struct answerer *a, enum api_method m, const struct wire_request *request)
{
	return request->request_id[0] &&
	       recent_requests_has(recent_of(a, m), m, request->request_id, clock_monotonic_ms());
}

int answer_request(const struct answerer *by, enum api_method m, struct wire_request *request,
	struct buf *ret_bytes, struct ota_err *err)
{
	static int (*const answers[API_METHOD_COUNT])(struct asked *) = {
		[API_UPDATE] = answer_update,
		[API_ABORT] = answer_abort,
		[API_ROLLBACK] = answer_rollback,
		[API_CLIENT_UPDATE] = answer_client_update,
	};
	struct asked asked = {.by = by, .config = by->config, .method = m, .request = request};
	struct recent_requests *recent = recent_of(by, m);
	int r = fill_request_id(request);

	assert(answers[m]); /* a forecast is answered elsewhere */
	if (r == 0) {
		asked.is_copy = !recent_requests_begin(
			recent, m, request->request_id, clock_monotonic_ms());
		r = answers[m](&asked);
		if (!asked.is_copy)
			recent_requests_end(recent, m, request->request_id);
	}
	if (r == 0)
		r = wire_answer_encode(m, &asked.answer, ret_bytes);
	wire_answer_done(&asked.answer);
	return r < 0 ? ota_err_wrap(err, r, "Cannot answer") : 0;
}
