/*
 * ecu_table: the ECUs below this one, as they last reported. Contract: ecu_table.h.
 *
 * An entry holds its strings in itself, so that what a child says never changes how much memory is used; the largest
 * Status answer that these lengths allow fits into the 4 MiB of a message.
 */
#include "otaclient/tree/ecu_table.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config/ecu_info.h"
#include "otaclient/status/text.h"

enum {
	CLIENT_VERSION_MAX = 256,
	REASON_MAX = 1024,    /* ours end at half of that */
	TRACEBACK_MAX = 2048, /* as much as the other client keeps */
};

struct entry {
	char ecu_id[ECU_ID_MAX];
	size_t speaker; /* the direct child that reports it */
	bool listed;    /* always has its place: a direct child, or in available_ecu_ids */

	bool known; /* has reported; the rest is meaningful then */
	uint64_t reported_ms;
	uint64_t interval_ms; /* until the next report, as it was planned when this one came */
	uint64_t contact_no;  /* in the order of first reports */
	struct wire_status_ecu said; /* its strings are the fields below */
	char firmware_version[STATUS_VERSION_MAX];
	char otaclient_version[CLIENT_VERSION_MAX];
	char release_name[STATUS_RELEASE_MAX];
	char release_id[STATUS_RELEASE_MAX];
	char image_id[STATUS_RELEASE_MAX];
	char failure_reason[REASON_MAX];
	char failure_traceback[TRACEBACK_MAX];

	uint64_t accepted_ms; /* has accepted a request that does not show yet; 0 = no such */
};

struct ecu_table {
	struct ecu_table_config config;
	uint64_t interval_ms;
	uint64_t n_contacts;
	struct entry **entries; /* in no order; room for max_entries */
	size_t n_entries, max_entries;
	struct summary_ecu *view; /* scratch of ecu_table_summary(): entries and this ECU */
};

struct ecu_table *ecu_table_new(const struct ecu_table_config *config)
{
	AUTO_ECU_TABLE struct ecu_table *t = calloc(1, sizeof(*t));

	assert(config->n_children <= ECU_SECONDARIES_MAX);
	if (!t)
		return NULL;
	t->config = *config;
	t->interval_ms = TREE_POLL_IDLE_MS;
	t->max_entries = config->n_children + config->scope.n_available + ECU_TABLE_STRANGERS_MAX;
	t->entries = calloc(t->max_entries, sizeof(struct entry *));
	t->view = calloc(t->max_entries + 1, sizeof(*t->view));
	return t->entries && t->view ? TAKE_PTR(t) : NULL;
}

void ecu_table_free(struct ecu_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_entries; i++)
		free(t->entries[i]);
	free(t->entries);
	free(t->view);
	free(t);
}

void ecu_table_freep(struct ecu_table **t)
{
	ecu_table_free(*t);
}

/* ---- who has a place ---- */

static size_t child_of_id(const struct ecu_table *t, const char *ecu_id)
{
	size_t i = 0;

	while (i < t->config.n_children && strcmp(t->config.children[i], ecu_id) != 0)
		i++;
	return i;
}

static bool is_listed(const struct ecu_table *t, const char *ecu_id)
{
	const struct summary_scope *scope = &t->config.scope;

	for (size_t i = 0; i < scope->n_available; i++)
		if (strcmp(scope->available[i], ecu_id) == 0)
			return true;
	return child_of_id(t, ecu_id) < t->config.n_children;
}

static struct entry *find(const struct ecu_table *t, const char *ecu_id)
{
	for (size_t i = 0; i < t->n_entries; i++)
		if (strcmp(t->entries[i]->ecu_id, ecu_id) == 0)
			return t->entries[i];
	return NULL;
}

/* After that long without a report an ECU is left out of the answer. */
static bool is_hidden(const struct ecu_table *t, const struct entry *e, uint64_t now_ms)
{
	/* A change of the interval takes effect with the next report, which was planned before it. */
	uint64_t interval = MAX_OF(t->interval_ms, e->interval_ms);

	return now_ms > e->reported_ms && now_ms - e->reported_ms > TREE_HIDDEN_FACTOR * interval;
}

/* What the pure summary needs to know of an entry. */
static struct summary_ecu view_of(const struct entry *e, uint64_t now_ms)
{
	return (struct summary_ecu){
		.ecu_id = e->ecu_id,
		.known = e->known,
		.reported_ms = e->reported_ms,
		.ota_status = e->said.ota_status,
		.phase = (int)e->said.update.phase,
		.accepted = e->accepted_ms != 0 && now_ms - e->accepted_ms < TREE_FREEZE_MS,
	};
}

/*
 * One that a child that reports too many gives up to @child: the last to come of the child that has most of them. It
 * keeps as many as @child has then, so places do not change hands for ever.
 */
static struct entry *place_of_greediest(struct ecu_table *t, size_t child)
{
	size_t n_of[ECU_SECONDARIES_MAX] = {0}, greediest = child;
	struct entry *last = NULL;

	for (size_t i = 0; i < t->n_entries; i++)
		if (!t->entries[i]->listed)
			n_of[t->entries[i]->speaker]++;
	for (size_t i = 0; i < t->config.n_children; i++)
		if (n_of[i] > n_of[greediest])
			greediest = i;
	if (n_of[greediest] <= n_of[child] + 1)
		return NULL;
	for (size_t i = 0; i < t->n_entries; i++) {
		struct entry *e = t->entries[i];

		if (!e->listed && e->speaker == greediest &&
			(!last || e->contact_no > last->contact_no))
			last = e;
	}
	return last;
}

/* A place that a stranger may have: a new one, or that of a stranger that is lost, or one too many. */
static struct entry *place_for_stranger(struct ecu_table *t, size_t child, uint64_t now_ms)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_entries; i++) {
		struct entry *e = t->entries[i];
		struct summary_ecu view = view_of(e, now_ms);

		if (e->listed)
			continue;
		n++;
		if (summary_state_of(&view, now_ms) == SUMMARY_LOST ||
			(!e->known && !view.accepted))
			return e;
	}
	if (n >= ECU_TABLE_STRANGERS_MAX)
		return place_of_greediest(t, child);
	t->entries[t->n_entries] = calloc(1, sizeof(struct entry));
	return t->entries[t->n_entries] ? t->entries[t->n_entries++] : NULL;
}

static struct entry *place_for(
	struct ecu_table *t, size_t child, const char *ecu_id, uint64_t now_ms)
{
	bool listed = is_listed(t, ecu_id);
	struct entry *e;

	if (listed) {
		e = calloc(1, sizeof(*e));
		if (e)
			t->entries[t->n_entries++] = e;
	} else {
		e = place_for_stranger(t, child, now_ms);
	}
	if (!e)
		return NULL;
	*e = (struct entry){.listed = listed};
	text_put(e->ecu_id, sizeof(e->ecu_id), ecu_id);
	return e;
}

/*
 * The entry that @child may write for @ecu_id, or NULL, with @ret_no_room if only a place is missing. Two children
 * that claim the same ECU would else make its state change with every poll; the one that came first speaks until
 * it falls silent.
 */
static struct entry *entry_to_write(
	struct ecu_table *t, size_t child, const char *ecu_id, uint64_t now_ms, bool *ret_no_room)
{
	size_t is_child = child_of_id(t, ecu_id);
	struct entry *e;

	*ret_no_room = false;
	if (ecu_id[0] == '\0' || strlen(ecu_id) >= ECU_ID_MAX ||
		strcmp(ecu_id, t->config.scope.own_id) == 0)
		return NULL;
	if (is_child < t->config.n_children && is_child != child)
		return NULL;
	e = find(t, ecu_id);
	if (e && e->known && e->speaker != child && !is_hidden(t, e, now_ms))
		return NULL;
	if (!e)
		e = place_for(t, child, ecu_id, now_ms);
	*ret_no_room = !e;
	if (e)
		e->speaker = child;
	return e;
}

/* ---- reports ---- */

/* A text of a report: where it comes from, and the field of the entry that keeps it. */
struct text_row {
	size_t from, field, size_bytes;
	bool is_news; /* another one than before tells that an update has come to its end */
};

/* clang-format off */
#define TEXT(name, is_news) \
	{offsetof(struct wire_status_ecu, name), offsetof(struct entry, name), \
	 sizeof(((struct entry *)NULL)->name), is_news}
/* clang-format on */

static const struct text_row report_texts[] = {
	TEXT(ecu_id, false),
	TEXT(firmware_version, true),
	TEXT(otaclient_version, false),
	TEXT(release_name, false),
	TEXT(release_id, false),
	TEXT(image_id, false),
	TEXT(failure_reason, true),
	TEXT(failure_traceback, false),
};

/* Keep one text, as much of it as there is room for. True: it is another one than before, and that is news. */
static bool take_text(
	struct entry *e, const struct text_row *row, const struct wire_status_ecu *said)
{
	char before[STATUS_VERSION_MAX];
	char *field = (char *)e + row->field;

	static_assert(sizeof(before) >= TRACEBACK_MAX && sizeof(before) >= REASON_MAX,
		"The longest text has grown");
	memcpy(before, field, row->size_bytes);
	text_put(field, row->size_bytes, *(const char *const *)((const char *)said + row->from));
	*(const char **)((char *)&e->said + row->from) = field;
	return row->is_news && strcmp(before, field) != 0;
}

static bool is_in_update(int ota_status)
{
	return ota_status == STATUS_UPDATING || ota_status == STATUS_CLIENT_UPDATING ||
	       ota_status == STATUS_ABORTING;
}

/*
 * A report tells of the request that was accepted if it shows an update, or anything new: an update may begin and end
 * between two polls.
 */
static void take_report(
	struct ecu_table *t, struct entry *e, const struct wire_status_ecu *said, uint64_t now_ms)
{
	bool is_news = said->ota_status != e->said.ota_status;

	e->said = *said;
	for (size_t i = 0; i < ARRAY_SIZE(report_texts); i++)
		is_news |= take_text(e, &report_texts[i], said);
	if (is_in_update(said->ota_status) || (e->known && is_news))
		e->accepted_ms = 0;
	if (!e->known)
		e->contact_no = t->n_contacts++;
	e->known = true;
	e->reported_ms = now_ms;
	e->interval_ms = t->interval_ms;
}

size_t ecu_table_store(
	struct ecu_table *t, size_t child, const struct wire_status *said, uint64_t now_ms)
{
	size_t n_left_out = 0;

	for (size_t i = 0; i < said->n_ecus; i++) {
		bool no_room;
		struct entry *e = entry_to_write(t, child, said->ecus[i].ecu_id, now_ms, &no_room);

		if (e)
			take_report(t, e, &said->ecus[i], now_ms);
		n_left_out += no_room;
	}
	return n_left_out;
}

void ecu_table_accept(struct ecu_table *t, size_t child, const char *ecu_id, uint64_t now_ms)
{
	bool no_room;
	struct entry *e = entry_to_write(t, child, ecu_id, now_ms, &no_room);

	if (e)
		e->accepted_ms = MAX_OF(now_ms, (uint64_t)1);
}

/*
 * Its reports may look the same before and after: ABORTED, with an update in between that was accepted and aborted
 * between two polls.
 */
void ecu_table_abort(struct ecu_table *t, size_t child, const char *ecu_id, uint64_t now_ms)
{
	bool no_room;
	struct entry *e =
		find(t, ecu_id) ? entry_to_write(t, child, ecu_id, now_ms, &no_room) : NULL;

	if (!e)
		return;
	e->accepted_ms = 0;
	e->said.ota_status = STATUS_ABORTING;
}

void ecu_table_set_interval(struct ecu_table *t, uint64_t interval_ms)
{
	t->interval_ms = interval_ms;
}

/* ---- questions ---- */

bool ecu_table_is_below(const struct ecu_table *t, size_t child, const char *ecu_id)
{
	const struct entry *e;

	if (strcmp(t->config.children[child], ecu_id) == 0)
		return true;
	e = find(t, ecu_id);
	return e && e->known && e->speaker == child;
}

bool ecu_table_has_answered(const struct ecu_table *t, size_t child)
{
	const struct entry *e = find(t, t->config.children[child]);

	return e && e->known;
}

static int by_contact(const void *a, const void *b)
{
	const struct entry *x = *(const struct entry *const *)a;
	const struct entry *y = *(const struct entry *const *)b;

	return (x->contact_no > y->contact_no) - (x->contact_no < y->contact_no);
}

int ecu_table_export(const struct ecu_table *t, uint64_t now_ms, struct wire_status *answer)
{
	AUTO_FREE const struct entry **shown = calloc(t->n_entries + 1, sizeof(struct entry *));
	size_t n = 0;
	int r = 0;

	if (!shown)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_entries; i++)
		if (t->entries[i]->known && !is_hidden(t, t->entries[i], now_ms))
			shown[n++] = t->entries[i];
	qsort(shown, n, sizeof(const struct entry *), by_contact);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = wire_status_add(answer, &shown[i]->said);
	return r;
}

void ecu_table_summary(struct ecu_table *t, const struct summary_ecu *own, uint64_t now_ms,
	struct summary *ret_summary)
{
	t->view[0] = *own;
	for (size_t i = 0; i < t->n_entries; i++)
		t->view[i + 1] = view_of(t->entries[i], now_ms);
	summary_make(&t->config.scope, t->view, t->n_entries + 1, now_ms, ret_summary);
}

void ecu_table_names_in_update(
	const struct ecu_table *t, uint64_t now_ms, char *ret_names, size_t size_bytes)
{
	size_t len = 0;

	ret_names[0] = '\0';
	for (size_t i = 0; i < t->n_entries; i++) {
		struct summary_ecu view = view_of(t->entries[i], now_ms);
		int n;

		if (!summary_counts(&t->config.scope, view.ecu_id) ||
			summary_state_of(&view, now_ms) != SUMMARY_IN_UPDATE)
			continue;
		n = snprintf(
			ret_names + len, size_bytes - len, "%s%s", len ? ", " : "", view.ecu_id);
		len = MIN_OF(len + (size_t)MAX_OF(n, 0), size_bytes - 1);
	}
	text_repair(ret_names);
}
