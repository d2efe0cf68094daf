/*
 * follow: see an accepted update or rollback through to its end. Contract: follow.h.
 */
#include "otaclient/ctl/follow.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "otaclient/status/text.h"

static void remember(struct follow_ecu *e, const struct wire_status_ecu *old)
{
	e->had_entry = true;
	e->old_status = old->ota_status;
	text_put(e->old_version, sizeof(e->old_version), old->firmware_version);
	text_put(e->old_reason, sizeof(e->old_reason), old->failure_reason);
}

void follow_start(struct follow *f, const struct wire_status *before, uint64_t now_ms)
{
	f->accepted_ms = now_ms;
	for (size_t i = 0; i < f->n_ecus; i++) {
		struct follow_ecu *e = &f->ecus[i];
		const struct wire_status_ecu *old = wire_status_find(before, e->ecu_id);

		e->seen_ms = now_ms;
		e->had_entry = false;
		if (old)
			remember(e, old);
	}
}

static const char *wish(const struct follow *f)
{
	return f->version ? "update" : "rollback";
}

static void fail(struct follow_ecu *e, uint64_t now_ms, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void fail(struct follow_ecu *e, uint64_t now_ms, const char *fmt, ...)
{
	va_list ap;

	e->state = FOLLOW_FAILED;
	e->ended_ms = now_ms;
	va_start(ap, fmt);
	vsnprintf(e->reason, sizeof(e->reason), fmt, ap);
	va_end(ap);
	text_repair(e->reason);
}

static void say(struct follow_ecu *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct follow_ecu *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->sentence, sizeof(e->sentence), fmt, ap);
	va_end(ap);
	text_repair(e->sentence);
}

void follow_refuse(struct follow *f, struct follow_ecu *e, const char *why)
{
	fail(e, f->accepted_ms, "refused: %s", why);
	say(e, "%s of %s refused: %s", f->version ? "Update" : "Rollback", e->ecu_id, why);
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

static bool runs(const char *version, const struct wire_status_ecu *now)
{
	return strncmp(now->firmware_version, version, STATUS_VERSION_MAX - 1) == 0;
}

static bool is_wanted(const struct follow *f, const struct wire_status_ecu *now)
{
	return f->version && now->ota_status == STATUS_SUCCESS && runs(f->version, now);
}

static void judge_success(
	struct follow *f, struct follow_ecu *e, const struct wire_status_ecu *now, uint64_t now_ms)
{
	/* Both slots may have the same version; then only the rollback that was seen tells the difference. */
	bool done = f->version ? runs(f->version, now) : e->began || !runs(e->old_version, now);

	if (done) {
		e->state = FOLLOW_DONE;
		e->ended_ms = now_ms;
		text_put(e->version, sizeof(e->version), now->firmware_version);
		return;
	}
	if (f->version)
		fail(e, now_ms, "it reports SUCCESS but runs version '%s' instead of '%s'",
			now->firmware_version, f->version);
	else
		fail(e, now_ms, "it reports SUCCESS but still runs version '%s'",
			now->firmware_version);
	say(e, "%s%s", e->ecu_id, e->reason + strlen("it"));
}

static void judge_end(
	struct follow *f, struct follow_ecu *e, const struct wire_status_ecu *now, uint64_t now_ms)
{
	switch (now->ota_status) {
	case STATUS_SUCCESS:
		judge_success(f, e, now, now_ms);
		return;
	case STATUS_ABORTED:
		fail(e, now_ms, "aborted");
		say(e, "The %s of %s was aborted", wish(f), e->ecu_id);
		return;
	default:
		fail(e, now_ms, "%s",
			now->failure_reason[0] ? now->failure_reason
			: f->version           ? "it is back on its old slot, and gives no reason"
					       : "it has stayed on its slot, and gives no reason");
		say(e, "The %s of %s failed: %s", wish(f), e->ecu_id, e->reason);
	}
}

static void see(struct follow *f, struct follow_ecu *e, const struct wire_status_ecu *now, uint64_t now_ms)
{
	if (!now) {
		if (now_ms - e->seen_ms > f->timeout_ms) {
			fail(e, now_ms, "it has not answered for %" PRIu64 " s",
				f->timeout_ms / 1000);
			say(e, "%s%s", e->ecu_id, e->reason + strlen("it"));
		}
		return;
	}
	e->seen_ms = now_ms;
	/* Its parent may have heard of it only now; that is how it was before, if it is not at work or done. */
	if (!e->had_entry && !is_at_work(now->ota_status) && !is_wanted(f, now))
		remember(e, now);
	if (is_at_work(now->ota_status))
		e->began = true;
	else if (e->began || !looks_as_before(e, now) ||
		 now_ms - f->accepted_ms > FOLLOW_SETTLE_MS)
		judge_end(f, e, now, now_ms);
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

uint64_t follow_elapsed_s(const struct follow *f, const struct follow_ecu *e)
{
	return e->ended_ms > f->accepted_ms ? (e->ended_ms - f->accepted_ms) / 1000 : 0;
}

uint64_t follow_total_s(const struct follow *f)
{
	uint64_t total_s = 0;

	for (size_t i = 0; i < f->n_ecus; i++)
		if (follow_elapsed_s(f, &f->ecus[i]) > total_s)
			total_s = follow_elapsed_s(f, &f->ecus[i]);
	return total_s;
}

size_t follow_count(const struct follow *f, enum follow_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_ecus; i++)
		n += f->ecus[i].state == state;
	return n;
}
