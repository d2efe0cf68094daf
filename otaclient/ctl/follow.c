/*
 * follow: see an accepted update through to its end. Contract: follow.h.
 */
#include "otaclient/ctl/follow.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "otaclient/text.h"

void follow_start(struct follow *f, const struct wire_status *before, uint64_t now_ms)
{
	f->accepted_ms = now_ms;
	for (size_t i = 0; i < f->n_ecus; i++) {
		struct follow_ecu *e = &f->ecus[i];
		const struct wire_status_ecu *old = wire_status_find(before, e->ecu_id);

		e->seen_ms = now_ms;
		e->had_entry = old != NULL;
		if (!old)
			continue;
		e->old_status = old->ota_status;
		text_put(e->old_version, sizeof(e->old_version), old->firmware_version);
		text_put(e->old_reason, sizeof(e->old_reason), old->failure_reason);
	}
}

static void fail(struct follow_ecu *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct follow_ecu *e, const char *fmt, ...)
{
	va_list ap;

	e->state = FOLLOW_FAILED;
	va_start(ap, fmt);
	vsnprintf(e->sentence, sizeof(e->sentence), fmt, ap);
	va_end(ap);
}

static bool looks_as_before(const struct follow_ecu *e, const struct wire_status_ecu *now)
{
	return e->had_entry && e->old_status == now->ota_status &&
	       strncmp(e->old_version, now->firmware_version, sizeof(e->old_version) - 1) == 0 &&
	       strncmp(e->old_reason, now->failure_reason, sizeof(e->old_reason) - 1) == 0;
}

static bool is_at_work(int status)
{
	return status == STATUS_UPDATING || status == STATUS_ABORTING ||
	       status == STATUS_ROLLBACKING || status == STATUS_CLIENT_UPDATING;
}

static void judge_end(struct follow_ecu *e, const char *version, const struct wire_status_ecu *now)
{
	switch (now->ota_status) {
	case STATUS_SUCCESS:
		if (strncmp(now->firmware_version, version, STATUS_VERSION_MAX - 1) == 0)
			e->state = FOLLOW_DONE;
		else
			fail(e, "%s reports SUCCESS but runs version '%s' instead of '%s'",
				e->ecu_id, now->firmware_version, version);
		break;
	case STATUS_ABORTED:
		fail(e, "The update of %s was aborted", e->ecu_id);
		break;
	default:
		fail(e, "The update of %s failed: %s", e->ecu_id,
			now->failure_reason[0] ? now->failure_reason
					       : "it is back on its old slot, and gives no reason");
		break;
	}
}

static void see(struct follow *f, struct follow_ecu *e, const struct wire_status_ecu *now, uint64_t now_ms)
{
	if (!now) {
		if (now_ms - e->seen_ms > f->timeout_ms)
			fail(e, "%s has not answered for %" PRIu64 " s", e->ecu_id,
				f->timeout_ms / 1000);
		return;
	}
	e->seen_ms = now_ms;
	if (is_at_work(now->ota_status))
		e->began = true;
	else if (e->began || !looks_as_before(e, now) ||
		 now_ms - f->accepted_ms > FOLLOW_SETTLE_MS)
		judge_end(e, f->version, now);
}

void follow_see(struct follow *f, const struct wire_status *status, uint64_t now_ms)
{
	for (size_t i = 0; i < f->n_ecus; i++) {
		struct follow_ecu *e = &f->ecus[i];

		if (e->state == FOLLOW_RUNNING)
			see(f, e, status ? wire_status_find(status, e->ecu_id) : NULL, now_ms);
	}
}

enum follow_state follow_state(const struct follow *f)
{
	enum follow_state state = FOLLOW_DONE;

	for (size_t i = 0; i < f->n_ecus; i++) {
		if (f->ecus[i].state == FOLLOW_RUNNING)
			return FOLLOW_RUNNING;
		if (f->ecus[i].state == FOLLOW_FAILED)
			state = FOLLOW_FAILED;
	}
	return state;
}
