/*
 * tracker: one thread per direct child that asks it for its status. Contract: tracker.h.
 *
 * Locks: @lock guards the table, the hold count and what polls need to know, and is held for copies only. @telling is
 * held while on_change() runs, so that its calls come one at a time and in order; it is taken first. The answers of
 * children are fetched and taken apart under neither.
 */
#include "otaclient/tree/tracker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/config/ecu_info.h"
#include "otaclient/tree/ecu_table.h"

enum {
	SLICE_MS = 200, /* between looks at whether to end, or to poll faster */
	LOOK_MS =
		1000, /* between looks at what changes without a report: this ECU, and time limits */
};

/* A thread's view of its child. */
struct poll {
	struct tracker *tracker;
	size_t child;
	bool was_reached; /* at the last poll; for the log, which tells changes only */
	bool was_asked;
	bool was_named; /* the log has said that it does not report itself */
	bool was_full;  /* … that there was no room for what it reports */
	pthread_t thread;
};

struct tracker {
	struct tracker_config config;
	const char **child_ids; /* for the table */
	atomic_bool ending;

	pthread_mutex_t lock;
	struct ecu_table *table;
	unsigned n_holds;
	uint64_t interval_ms;

	pthread_mutex_t telling;
	struct summary told; /* under telling; the last that on_change() got */
	bool has_told;

	struct poll *polls;
	size_t n_polls; /* threads that have been started */
};

/* ---- the summary ---- */

static struct summary_ecu own_view(
	const struct tracker *t, const struct status_snapshot *now, uint64_t now_ms)
{
	return (struct summary_ecu){
		.ecu_id = t->config.scope.own_id,
		.known = now->known,
		.reported_ms = now_ms,
		.ota_status = (int)now->ota_status,
		.phase = (int)now->update.phase,
	};
}

void tracker_summary(struct tracker *t, struct summary *ret_summary)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct status_snapshot snapshot;
	struct summary_ecu own;

	status_get(t->config.status, &snapshot);
	own = own_view(t, &snapshot, now_ms);
	pthread_mutex_lock(&t->lock);
	ecu_table_summary(t->table, &own, now_ms, ret_summary);
	if (t->n_holds > 0) {
		ret_summary->in_update = ret_summary->child_in_update = true;
		ret_summary->needs_network = ret_summary->child_needs_network = true;
		ret_summary->all_success = false;
	}
	t->interval_ms = ret_summary->in_update ? TREE_POLL_ACTIVE_MS : TREE_POLL_IDLE_MS;
	ecu_table_set_interval(t->table, t->interval_ms);
	pthread_mutex_unlock(&t->lock);
}

static bool is_same(const struct summary *a, const struct summary *b)
{
	return memcmp(a->n, b->n, sizeof(a->n)) == 0 && a->in_update == b->in_update &&
	       a->child_in_update == b->child_in_update && a->needs_network == b->needs_network &&
	       a->child_needs_network == b->child_needs_network && a->all_success == b->all_success;
}

/* Something is new: look at it all again. */
static void tell(struct tracker *t)
{
	struct summary now;

	pthread_mutex_lock(&t->telling);
	tracker_summary(t, &now);
	if (t->config.on_change && (!t->has_told || !is_same(&now, &t->told)))
		t->config.on_change(t->config.ctx, &now);
	t->told = now;
	t->has_told = true;
	pthread_mutex_unlock(&t->telling);
}

/* ---- polling ---- */

/* A child that is off is no news every second. */
static void log_change(struct poll *p, bool reached, const struct ota_err *err)
{
	const struct tree_child *child = &p->tracker->config.children[p->child];

	if (reached && !p->was_reached)
		log_info("ECU %s at %s answers", child->ecu_id, child->address.host);
	else if (!reached && (p->was_reached || !p->was_asked))
		log_warning("ECU %s: %s", child->ecu_id, err->msg);
	p->was_reached = reached;
	p->was_asked = true;
}

/* What is wrong with what a child says, once each: the next poll brings it again. */
static void log_oddities(struct poll *p, const struct wire_status *said, size_t n_left_out)
{
	const struct tree_child *child = &p->tracker->config.children[p->child];

	if (!p->was_named && said->n_ecus > 0 && !wire_status_find(said, child->ecu_id)) {
		log_warning(
			"ECU %s at %s, port %u, does not report itself, but ECU %.*s: is its id "
			"in ecu_info.yaml right?",
			child->ecu_id, child->address.host, child->address.port, ECU_ID_MAX,
			said->ecus[0].ecu_id);
		p->was_named = true;
	}
	if (!p->was_full && n_left_out > 0) {
		log_warning(
			"ECU %s reports %zu ECUs; %zu that ecu_info.yaml does not name are left "
			"out, for at most %d are kept",
			child->ecu_id, said->n_ecus, n_left_out, ECU_TABLE_STRANGERS_MAX);
		p->was_full = true;
	}
}

static void poll_once(struct poll *p)
{
	struct tracker *t = p->tracker;
	AUTO_WIRE_STATUS struct wire_status said = {0};
	struct ota_err err = {0};
	int r = t->config.ask(
		&t->config.children[p->child].address, PEER_TIMEOUT_MS, &t->ending, &said, &err);

	if (r == -ECANCELED)
		return;
	log_change(p, r == 0, &err);
	if (r == 0) {
		uint64_t now_ms = clock_monotonic_ms();
		size_t n_left_out;

		pthread_mutex_lock(&t->lock);
		n_left_out = ecu_table_store(t->table, p->child, &said, now_ms);
		pthread_mutex_unlock(&t->lock);
		log_oddities(p, &said, n_left_out);
	}
	/* Also when nothing was stored: silence has a meaning, too. */
	tell(t);
}

static uint64_t interval_of(struct poll *p)
{
	struct tracker *t = p->tracker;
	uint64_t interval_ms;

	pthread_mutex_lock(&t->lock);
	interval_ms =
		ecu_table_has_answered(t->table, p->child) ? t->interval_ms : TREE_POLL_FIRST_MS;
	pthread_mutex_unlock(&t->lock);
	return interval_ms;
}

/* The first child's thread is also the one that notices what no report brings. */
static void rest(struct poll *p)
{
	for (uint64_t rested_ms = SLICE_MS; !atomic_load(&p->tracker->ending);
		rested_ms += SLICE_MS) {
		clock_sleep_ms(SLICE_MS);
		if (p->child == 0 && rested_ms % LOOK_MS == 0)
			tell(p->tracker);
		if (rested_ms >= interval_of(p))
			return;
	}
}

static void *poll_child(void *arg)
{
	struct poll *p = arg;

	while (!atomic_load(&p->tracker->ending)) {
		poll_once(p);
		rest(p);
	}
	return NULL;
}

/* ---- the object ---- */

static int make_table(struct tracker *t)
{
	struct ecu_table_config config = {
		.scope = t->config.scope, .n_children = t->config.n_children};

	t->child_ids = calloc(t->config.n_children + 1, sizeof(*t->child_ids));
	t->polls = calloc(t->config.n_children + 1, sizeof(*t->polls));
	if (!t->child_ids || !t->polls)
		return -ENOMEM;
	for (size_t i = 0; i < t->config.n_children; i++)
		t->child_ids[i] = t->config.children[i].ecu_id;
	config.children = t->child_ids;
	t->table = ecu_table_new(&config);
	return t->table ? 0 : -ENOMEM;
}

static int start_polls(struct tracker *t)
{
	for (size_t i = 0; i < t->config.n_children; i++) {
		struct poll *p = &t->polls[i];
		int e;

		p->tracker = t;
		p->child = i;
		e = pthread_create(&p->thread, NULL, poll_child, p);
		if (e != 0)
			return -e;
		t->n_polls++;
	}
	return 0;
}

int tracker_new(
	const struct tracker_config *config, struct tracker **ret_tracker, struct ota_err *err)
{
	AUTO_TRACKER struct tracker *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return ota_err_wrap(err, -ENOMEM, "Cannot watch the ECUs below");
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->telling, NULL);
	t->config = *config;
	if (!t->config.ask)
		t->config.ask = peer_status_until;
	peer_open();
	t->interval_ms = TREE_POLL_IDLE_MS;
	r = make_table(t);
	if (r == 0) {
		tell(t);
		r = start_polls(t);
	}
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot watch the ECUs below");
	*ret_tracker = TAKE_PTR(t);
	return 0;
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	atomic_store(&t->ending, true);
	for (size_t i = 0; i < t->n_polls; i++)
		pthread_join(t->polls[i].thread, NULL);
	peer_close();
	ecu_table_free(t->table);
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->telling);
	free(t->child_ids);
	free(t->polls);
	free(t);
}

void tracker_freep(struct tracker **t)
{
	tracker_free(*t);
}

/* ---- questions and news ---- */

int tracker_status(struct tracker *t, struct wire_status *answer)
{
	uint64_t now_ms = clock_monotonic_ms();
	int r;

	pthread_mutex_lock(&t->lock);
	r = ecu_table_export(t->table, now_ms, answer);
	pthread_mutex_unlock(&t->lock);
	return r;
}

void tracker_names_in_update(struct tracker *t, char *ret_names, size_t size_bytes)
{
	uint64_t now_ms = clock_monotonic_ms();

	pthread_mutex_lock(&t->lock);
	ecu_table_names_in_update(t->table, now_ms, ret_names, size_bytes);
	pthread_mutex_unlock(&t->lock);
}

bool tracker_is_below(struct tracker *t, size_t child, const char *ecu_id)
{
	bool is_below;

	pthread_mutex_lock(&t->lock);
	is_below = ecu_table_is_below(t->table, child, ecu_id);
	pthread_mutex_unlock(&t->lock);
	return is_below;
}

void tracker_accept(struct tracker *t, size_t child, const char *ecu_id)
{
	uint64_t now_ms = clock_monotonic_ms();

	pthread_mutex_lock(&t->lock);
	ecu_table_accept(t->table, child, ecu_id, now_ms);
	pthread_mutex_unlock(&t->lock);
}

void tracker_abort(struct tracker *t, size_t child, const char *ecu_id)
{
	uint64_t now_ms = clock_monotonic_ms();

	pthread_mutex_lock(&t->lock);
	ecu_table_abort(t->table, child, ecu_id, now_ms);
	pthread_mutex_unlock(&t->lock);
	tell(t);
}

static void change_holds(struct tracker *t, int by)
{
	pthread_mutex_lock(&t->lock);
	t->n_holds += (unsigned)by;
	pthread_mutex_unlock(&t->lock);
	tell(t);
}

void tracker_hold(struct tracker *t)
{
	change_holds(t, 1);
}

void tracker_release(struct tracker *t)
{
	change_holds(t, -1);
}
