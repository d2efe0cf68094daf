/*
 * return_reason: why the machine is on this slot. Contract: return_reason.h.
 */
#include "otaclient/flight/return_reason.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/flight/flight_story.h"
#include "otaclient/flight/kernel_tail.h"
#include "otaclient/log/journal.h"
#include "otaclient/slot/slot_mount.h"
#include "otaclient/status/status_store.h"
#include "otaclient/status/text.h"

enum {
	/* The status is written a moment before the reason is recorded, by the same clock. */
	SAME_TIME_S = 30,
};

static bool is_going_on(enum ota_status s)
{
	return s == STATUS_UPDATING || s == STATUS_ROLLBACKING;
}

void return_reason_begin(struct flight_recorder *recorder, const struct slot_pair *slots,
	bool reset, struct return_reason *ret_reason)
{
	enum ota_status here = status_store_read_status(slots->active.status_dir);
	enum ota_status there = status_store_read_status(slots->standby.status_dir);
	char slot_in_use[STATUS_SLOT_MAX];
	const char *subject = FLIGHT_START_IDLE;
	bool matches, going_on;

	status_store_read_slot_in_use(slots->active.status_dir, slot_in_use);
	matches = slot_in_use[0] == '\0' || strcmp(slot_in_use, slots->active.id) == 0;
	/* A slot that is left by a rollback says FAILURE; the other one tells what it was. */
	going_on = !reset && (is_going_on(here) || (here == STATUS_FAILURE && !matches &&
							   there == STATUS_ROLLBACKING));
	*ret_reason = (struct return_reason){
		.going_on = going_on,
		.matches = matches,
		.was_committed =
			!reset && here == STATUS_FAILURE && !matches && there == STATUS_SUCCESS,
		.is_rollback = here == STATUS_ROLLBACKING || there == STATUS_ROLLBACKING,
	};
	if (reset)
		subject = "initialize";
	else if (going_on)
		subject = matches ? "commit" : "fail";
	flight_recorder_note(recorder, FLIGHT_START, subject,
		"otaclient " OTA_VERSION "; status %s, to be used %s; %s: %s",
		here == STATUS_NONE ? "none" : ota_status_name(here),
		slot_in_use[0] ? slot_in_use : "not known", slots->standby.id,
		there == STATUS_NONE ? "none" : ota_status_name(there));
}

/*
 * Is what was told last about the status that is there now? The other client writes one, too, and records nothing.
 */
static bool is_about(const struct flight_record *told, const char *status_dir)
{
	char path[PATH_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/status", status_dir);
	return stat(path, &st) == 0 && st.st_mtim.tv_sec <= told->unix_s + SAME_TIME_S;
}

/* What the slot that does not run has recorded in its own file; false: it cannot be read. */
static bool look_at_other(const struct slot_pair *slots, const char *run_dir,
	struct flight_record *ret_records, size_t *ret_n)
{
	struct slot_mount mount;
	struct ota_err why = {0};
	int r;

	slot_mount_init(&mount);
	r = slot_mount_peek(&mount, &slots->standby, run_dir, &why);
	if (r == 0)
		r = flight_recorder_read_of(mount.standby_fd, ret_records, ret_n, &why);
	slot_mount_done(&mount);
	if (r < 0)
		log_info("What the slot %s has recorded is not known: %s", slots->standby.id,
			why.msg);
	return r == 0;
}

/* When the other slot was tried; false: it was not, or nobody knows, or it was well. */
static bool was_tried(const struct flight_story *story, struct trial_time *ret_when)
{
	if (!story->flip || story->commit)
		return false;
	*ret_when = (struct trial_time){
		.begun_unix_s = story->begin && story->begin->kind == FLIGHT_UPDATE_BEGINS
					? story->begin->unix_s
					: INT64_MIN,
		.flipped_unix_s = story->flip->unix_s,
	};
	return true;
}

/* Where this machine is, and what is left there. */
struct place {
	const struct slot_pair *slots;
	const struct boot_traces *loader;
	const char *root, *run_dir;
};

/* From the @n records, in an array that has room for FLIGHT_CELLS more. */
static void compose(struct return_reason *reason, struct flight_recorder *recorder,
	const struct place *place, struct flight_record *records, size_t n,
	struct ota_err *ret_reason)
{
	const struct slot_pair *slots = place->slots;
	AUTO_FREE struct flight_record *others = calloc(FLIGHT_CELLS, sizeof(*others));
	AUTO_KERNEL_DEATH struct kernel_death death = {0};
	struct flight_scene scene = {
		.other_slot = slots->standby.id,
		.shared = !slots->standby.status_inside,
		.is_rollback = reason->is_rollback,
		.kernel_line = death.line,
	};
	struct trial_traces traces = {0};
	struct trial_time when;
	struct flight_story story;
	size_t n_others = 0;
	int64_t since;

	flight_story_read(records, n, slots->active.id, &story);
	if (!scene.shared && story.flip && others &&
		look_at_other(slots, place->run_dir, others, &n_others)) {
		scene.shared = true;
		n = flight_story_join(&story, records, n, slots->standby.id, others, n_others);
		flight_story_read(records, n, slots->active.id, &story);
	}
	since = flight_story_tried_unix_s(&story);
	if (since != INT64_MAX)
		kernel_tail_find_death(place->root, since, &death);
	if (was_tried(&story, &when)) {
		trial_traces_find(&slots->standby, &when, place->loader, place->root,
			place->run_dir, &traces);
		scene.traces = &traces;
		reason->trial_lost = flight_story_trial_is_lost(&story, &traces);
	}
	flight_story_tell(&story, &scene, ret_reason);
	if (death.line[0])
		flight_recorder_kernel_log(recorder, death.where, buf_str(&death.tail));
	flight_recorder_failure(recorder, ret_reason->code, ret_reason->msg);
}

void return_reason_tell(struct return_reason *reason, struct flight_recorder *recorder,
	const struct slot_pair *slots, const struct boot_traces *loader, const char *root,
	const char *run_dir, struct status *status)
{
	const struct place place = {slots, loader, root, run_dir};
	/* With room for the other slot's. */
	AUTO_FREE struct flight_record *records = calloc(2 * FLIGHT_CELLS, sizeof(*records));
	struct status_snapshot now;
	struct flight_story story;
	struct ota_err why = {0};
	struct log_event event = {0};
	bool came_back = reason->going_on && !reason->matches;
	size_t n;

	status_get(status, &now);
	if (!records || now.has_failure ||
		(now.ota_status != STATUS_FAILURE && now.ota_status != STATUS_ROLLBACK_FAILURE))
		return;
	n = flight_recorder_copy(recorder, records);
	flight_story_read(records, n, slots->active.id, &story);
	if (story.told && !came_back) {
		if (!is_about(story.told, slots->active.status_dir))
			return;
		why.code = story.told->code;
		text_put(why.msg, sizeof(why.msg), story.told->text);
	} else if (came_back || (story.begin && strcmp(story.begin->slot, slots->active.id) == 0)) {
		/* What was told already is of another update, of which this one has no record. */
		compose(reason, recorder, &place, records, story.told ? 0 : n, &why);
		/* Once for each return, whatever the status files say: an update leaves FAILURE behind. */
		if (came_back || why.code != OTA_E_RECOVERABLE)
			event.id = JOURNAL_ROLLED_BACK;
	} else if (reason->was_committed) {
		/* The records of that update are gone; that much the status files say by themselves. */
		ota_err_set(&why, -EHOSTDOWN, OTA_E_NOT_HEALTHY,
			"The system on %s was committed, and yet the machine has started from this "
			"slot",
			slots->standby.id);
	} else {
		return;
	}
	event.code = (int)why.code;
	log_event(LOG_LEVEL_WARNING, &event, "E%03d: %s", (int)why.code, why.msg);
	status_set_failure(status, now.ota_status, &why);
}
