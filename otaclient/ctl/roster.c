/*
 * roster: every ECU of the vehicle as it was last seen. Contract: roster.h.
 */
#include "otaclient/ctl/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "otaclient/status/text.h"

const char *roster_state_name(enum roster_state s)
{
	static const char *const names[] = {
		"REPORTS", "RESTARTING", "SILENT", "NOT_REPORTED", "NOT_KNOWN"};

	return names[s];
}

void roster_done(struct roster *r)
{
	free(r->ecus);
	*r = (struct roster){0};
}

static struct roster_ecu *find(const struct roster *r, const char *id)
{
	char cut[ROSTER_ID_MAX];

	text_put(cut, sizeof(cut), id);
	for (size_t i = 0; i < r->n_ecus; i++)
		if (strcmp(r->ecus[i].id, cut) == 0)
			return &r->ecus[i];
	return NULL;
}

int roster_add(struct roster *r, const char *id, uint64_t now_ms)
{
	struct roster_ecu *e;

	if (find(r, id))
		return 0;
	if (r->n_ecus == WIRE_ECUS_MAX)
		return -E2BIG;
	if (r->n_ecus == r->cap_ecus) {
		size_t cap = r->cap_ecus ? 2 * r->cap_ecus : 8;
		struct roster_ecu *more = realloc(r->ecus, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->ecus = more;
		r->cap_ecus = cap;
	}
	e = &r->ecus[r->n_ecus++];
	*e = (struct roster_ecu){.seen_ms = now_ms};
	text_put(e->id, sizeof(e->id), id);
	return 0;
}

static int add_new(struct roster *r, const struct wire_status *status, uint64_t now_ms)
{
	int n = 0;

	for (size_t i = 0; n != -ENOMEM && i < status->n_available; i++)
		n = roster_add(r, status->available[i], now_ms);
	for (size_t i = 0; n != -ENOMEM && i < status->n_ecus; i++)
		n = roster_add(r, status->ecus[i].ecu_id, now_ms);
	return n == -ENOMEM ? n : 0;
}

static void see(struct roster_ecu *e, const struct wire_status_ecu *now, uint64_t now_ms)
{
	e->reports = e->has_reported = true;
	e->seen_ms = now_ms;
	e->ota_status = now->ota_status;
	text_put(e->version, sizeof(e->version), now->firmware_version);
	text_put(e->reason, sizeof(e->reason), now->failure_reason);
	e->update = now->update;
	if (now->ota_status == STATUS_UPDATING)
		pace_look(&e->pace, &now->update, now_ms);
	else
		e->pace = (struct pace){0};
}

int roster_look(struct roster *r, const struct wire_status *status, uint64_t now_ms)
{
	int n = status && !r->only_listed ? add_new(r, status, now_ms) : 0;

	for (size_t i = 0; i < r->n_ecus; i++) {
		if (r->answered)
			r->ecus[i].had_reported = r->ecus[i].reports;
		r->ecus[i].reports = false;
	}
	r->answered = status != NULL;
	if (!status)
		return n;
	for (size_t i = 0; i < status->n_ecus; i++) {
		struct roster_ecu *e = find(r, status->ecus[i].ecu_id);

		if (!e || e->reports) /* of two entries the first counts, as elsewhere */
			continue;
		see(e, &status->ecus[i], now_ms);
		e->is_asked = i == 0;
	}
	return n;
}

/* The last thing seen before a restart; a look a second may miss the very last phase. */
static bool was_leaving(const struct roster_ecu *e)
{
	return e->ota_status == STATUS_ROLLBACKING ||
	       (e->ota_status == STATUS_UPDATING &&
		       (e->update.phase == PHASE_PROCESSING_POSTUPDATE ||
			       e->update.phase == PHASE_FINALIZING_UPDATE));
}

enum roster_state roster_state(const struct roster *r, const struct roster_ecu *e)
{
	if (e->reports)
		return ROSTER_REPORTS;
	if (!r->answered && !e->is_asked && e->had_reported)
		return ROSTER_NOT_KNOWN;
	if (!e->has_reported)
		return ROSTER_NOT_REPORTED;
	return was_leaving(e) ? ROSTER_RESTARTING : ROSTER_SILENT;
}

uint64_t roster_silent_s(const struct roster_ecu *e, uint64_t now_ms)
{
	return now_ms > e->seen_ms ? (now_ms - e->seen_ms) / 1000 : 0;
}

bool roster_is_at_work(int ota_status)
{
	return ota_status == STATUS_UPDATING || ota_status == STATUS_ABORTING ||
	       ota_status == STATUS_ROLLBACKING || ota_status == STATUS_CLIENT_UPDATING;
}

unsigned long roster_stage(const struct roster *r, const struct roster_ecu *e)
{
	unsigned long stage = roster_state(r, e);

	if (e->reports)
		stage += 8 *
			 ((unsigned long)(unsigned)e->ota_status * 16 + (unsigned)e->update.phase);
	return stage + 1;
}
