/*
 * tree: the ECUs below this one, as the API, the updater and the proxy need them. Contract: tree.h.
 *
 * Nothing here is shared but the tracker, which has its own locks, and @stop.
 */
#include "otaclient/tree/tree.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/status/text.h"
#include "otaclient/tree/fan_out.h"
#include "otaclient/tree/tracker.h"

enum {
	NAMES_MAX = 400, /* with a sentence around them no longer than an error's */
};

struct tree {
	struct tree_config config;
	struct tree_child children[ECU_SECONDARIES_MAX];
	size_t n_children;
	const char *available[ECU_IDS_MAX];
	struct tracker *tracker;
	atomic_bool stop; /* nobody waits for answers any more */
	struct api_tree api;
};

/* ---- handing on ---- */

/* A request on its way down. */
struct errand {
	struct tree *tree;
	const struct wire_request *request;
	const struct tree_child *to[ECU_SECONDARIES_MAX];
	size_t numbers[ECU_SECONDARIES_MAX]; /* which child of the tree each is */
	size_t n_to;
};

static bool is_named(const struct wire_request *request, const char *ecu_id)
{
	for (size_t i = 0; i < request->n_ecus; i++)
		if (strcmp(request->ecus[i].ecu_id, ecu_id) == 0)
			return true;
	return false;
}

/* Named itself, or known to be on the way to one that is. */
static bool concerns(const struct tree *t, size_t child, const struct wire_request *request)
{
	for (size_t i = 0; i < request->n_ecus; i++)
		if (tracker_is_below(t->tracker, child, request->ecus[i].ecu_id))
			return true;
	return false;
}

static void choose(struct errand *e, bool everyone)
{
	for (size_t i = 0; i < e->tree->n_children; i++) {
		if (!everyone && !concerns(e->tree, i, e->request))
			continue;
		e->numbers[e->n_to] = i;
		e->to[e->n_to++] = &e->tree->children[i];
	}
}

static bool is_known(const struct tree *t, const char *ecu_id)
{
	if (strcmp(ecu_id, t->config.ecu->ecu_id) == 0)
		return true;
	for (size_t i = 0; i < t->n_children; i++)
		if (tracker_is_below(t->tracker, i, ecu_id))
			return true;
	return false;
}

/* Whoever asked for it gets no entry for such an ECU; whoever looks for the reason finds it here. One line for all. */
static void log_unknown(const struct tree *t, const struct wire_request *request)
{
	const char *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < request->n_ecus; i++) {
		if (is_known(t, request->ecus[i].ecu_id))
			continue;
		first = first ? first : request->ecus[i].ecu_id;
		n++;
	}
	if (n > 1)
		log_warning("Request %s names %zu ECUs that are neither here nor known below, the "
			    "first is %.*s",
			request->request_id, n, ECU_ID_MAX, first);
	else if (n == 1)
		log_warning("Request %s names ECU %.*s, which is neither here nor known below",
			request->request_id, ECU_ID_MAX, first);
}

/* A child may say of any ECU that it has accepted; what nobody asked of it does not count. */
static void on_accepted(void *ctx, size_t child, const char *ecu_id)
{
	struct errand *e = ctx;

	if (is_named(e->request, ecu_id))
		tracker_accept(e->tree->tracker, e->numbers[child], ecu_id);
}

static void on_aborted(void *ctx, size_t child, const char *ecu_id)
{
	struct errand *e = ctx;

	tracker_abort(e->tree->tracker, e->numbers[child], ecu_id);
}

static int fan_out(struct errand *e, enum api_method m, fan_out_accepted_fn *accepted,
	struct wire_answer *answer)
{
	const struct fan_out f = {
		.children = e->to,
		.n_children = e->n_to,
		.own_id = e->tree->config.ecu->ecu_id,
		.stop = &e->tree->stop,
		.accepted = accepted,
		.ctx = e,
	};

	return fan_out_run(&f, m, e->request, answer);
}

/* The proxy is there before anybody looks for it, and stays wanted until the reports say the same. */
static int forward_update(struct errand *e, enum api_method m, struct wire_answer *answer)
{
	struct tree *t = e->tree;
	int r;

	log_unknown(t, e->request);
	choose(e, false);
	if (e->n_to == 0)
		return 0;
	tracker_hold(t->tracker);
	if (t->config.before_update)
		t->config.before_update(t->config.ctx, e->request);
	r = fan_out(e, m, on_accepted, answer);
	tracker_release(t->tracker);
	return r;
}

static int tree_forward(void *ctx, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	struct errand e = {.tree = ctx, .request = request};

	if (m == API_UPDATE || m == API_CLIENT_UPDATE)
		return forward_update(&e, m, answer);
	choose(&e, true);
	return fan_out(&e, m, m == API_ABORT ? on_aborted : NULL, answer);
}

static int tree_status(void *ctx, struct wire_status *status)
{
	struct tree *t = ctx;

	return tracker_status(t->tracker, status);
}

static void tree_stop(void *ctx)
{
	struct tree *t = ctx;

	atomic_store(&t->stop, true);
}

/* ---- waiting ---- */

static const char *names_in_update(struct tree *t, char ret_names[NAMES_MAX])
{
	tracker_names_in_update(t->tracker, ret_names, NAMES_MAX);
	return ret_names[0] ? ret_names : "a request is on its way";
}

static void give_up_waiting(struct tree *t)
{
	char names[NAMES_MAX], sentence[OTA_ERR_MSG_MAX];

	snprintf(sentence, sizeof(sentence),
		"Not waiting any longer, after %u s, for ECUs below that are in an update: %s",
		t->config.wait_limit_s, names_in_update(t, names));
	text_repair(sentence);
	log_warning("%s", sentence);
	status_set_remark(t->config.status, sentence);
}

int tree_wait_for_children(struct tree *t, bool (*stop)(void *ctx), void *ctx)
{
	char names[NAMES_MAX];
	uint64_t begun_ms = clock_monotonic_ms(), next_log_ms = begun_ms;
	uint64_t limit_ms = (uint64_t)t->config.wait_limit_s * 1000;
	struct summary now;

	for (;;) {
		tracker_summary(t->tracker, &now);
		if (!now.child_in_update)
			return 0;
		if (stop(ctx))
			return -ECANCELED;
		if (limit_ms > 0 && clock_monotonic_ms() - begun_ms >= limit_ms) {
			give_up_waiting(t);
			return 1;
		}
		if (clock_monotonic_ms() >= next_log_ms) {
			log_info("Waiting for ECUs below that are in an update: %s",
				names_in_update(t, names));
			next_log_ms += TREE_WAIT_LOG_MS;
		}
		clock_sleep_ms(TREE_WAIT_POLL_MS);
	}
}

/* ---- the object ---- */

static void fill_children(struct tree *t, const struct ecu_info *ecu)
{
	for (size_t i = 0; i < ecu->n_available; i++)
		t->available[i] = ecu->available_ecu_ids[i];
	for (size_t i = 0; i < ecu->n_secondaries; i++) {
		struct tree_child *c = &t->children[t->n_children++];

		c->ecu_id = ecu->secondaries[i].ecu_id;
		c->address.port = (uint16_t)ecu->secondaries[i].port;
		static_assert(sizeof(c->address.host) >= sizeof(ecu->secondaries[i].ip_addr),
			"room for an address");
		memcpy(c->address.host, ecu->secondaries[i].ip_addr,
			sizeof(ecu->secondaries[i].ip_addr));
	}
}

int tree_new(const struct tree_config *config, struct tree **ret_tree, struct ota_err *err)
{
	AUTO_TREE struct tree *t = calloc(1, sizeof(*t));
	struct tracker_config tracking;
	int r;

	if (!t)
		return ota_err_wrap(err, -ENOMEM, "Cannot watch the ECUs below");
	t->config = *config;
	t->api = (struct api_tree){
		.forward = tree_forward, .status = tree_status, .stop = tree_stop, .ctx = t};
	fill_children(t, config->ecu);
	tracking = (struct tracker_config){
		.scope = {config->ecu->ecu_id, t->available, config->ecu->n_available},
		.children = t->children,
		.n_children = t->n_children,
		.status = config->status,
		.on_change = config->on_change,
		.ctx = config->ctx,
	};
	r = tracker_new(&tracking, &t->tracker, err);
	if (r < 0)
		return r;
	*ret_tree = TAKE_PTR(t);
	return 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	tracker_free(t->tracker);
	free(t);
}

void tree_freep(struct tree **t)
{
	tree_free(*t);
}

const struct api_tree *tree_api(const struct tree *t)
{
	return &t->api;
}
