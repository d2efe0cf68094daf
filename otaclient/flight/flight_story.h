/*
 * flight_story: what the records of an update say of its end, as one sentence. Pure.
 *
 * The story begins with the newest update or rollback. It is told by the slot that runs, which began it and is the one
 * that the machine has come back to; what the other slot has recorded since are its signs of life.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/flight/flight_record.h"
#include "otaclient/flight/trial_traces.h"

/* Each points into the records, NULL = there is none. */
struct flight_story {
	const struct flight_record *begin;  /* FLIGHT_UPDATE_BEGINS or FLIGHT_ROLLBACK_BEGINS */
	const struct flight_record *step;   /* the last one that was begun */
	const struct flight_record *flip;   /* the machine was to try the other slot */
	const struct flight_record *sign;   /* the last thing that the other slot did */
	const struct flight_record *failed; /* a check that failed there, and was not well later */
	const struct flight_record *revert; /* the other slot has given up */
	const struct flight_record *commit; /* the other slot was committed */
	const struct flight_record *told;   /* how it ended has been told: FLIGHT_FAILURE */
	bool waits; /* for the restart that tries the other slot: the kernel is still the one of the flip */
	bool restarted; /* since the flip, and a kernel of this slot runs */
};

/* @records in their order; @slot: the one that runs. */
void flight_story_read(const struct flight_record *records, size_t n, const char *slot,
	struct flight_story *ret_story);

/*
 * Where each slot has a recorder of its own: put behind the @n records of the running one, whose story is
 * @story, what the other one did in the same story. @others are the other one's records, in their order.
 * Returns how many there are then; @records has room for @n + @n_others. The story is to be read anew.
 */
size_t flight_story_join(const struct flight_story *story, struct flight_record *records, size_t n,
	const char *other_slot, const struct flight_record *others, size_t n_others);

/* From when on the last words of a kernel may be those of the other slot's; INT64_MAX: it was never tried. */
int64_t flight_story_tried_unix_s(const struct flight_story *story);

/* What the machine tells besides the records. */
struct flight_scene {
	const char *other_slot;
	bool shared; /* what the other slot has recorded is known; else its silence says nothing */
	bool is_rollback; /* what did not come to its end; for when the records do not say it */
	const char *kernel_line;           /* what its kernel died of; "" = nothing is known */
	const struct trial_traces *traces; /* NULL = none were looked for */
};

/* Has the boot loader not begun what it was told, though the machine has restarted? */
bool flight_story_trial_is_lost(
	const struct flight_story *story, const struct trial_traces *traces);

/*
 * Why the machine is on this slot: fills @ret_reason with a code and a sentence. E209: the new system did not commit;
 * E304: the boot loader could not try it; E306: both of a rollback; E200: it was interrupted before the other slot was
 * tried, or nothing is known.
 */
void flight_story_tell(const struct flight_story *story, const struct flight_scene *scene,
	struct ota_err *ret_reason);
