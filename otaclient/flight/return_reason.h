/*
 * return_reason: why the machine is on this slot, for the first status after an update that did not come
 * to its end, and for every one until the next update.
 *
 * Put around first_boot_run(), which decides what is done; nothing is decided here.
 */
#pragma once

#include <stdbool.h>

#include "boot-controllers/boot_controller.h"
#include "otaclient/flight/flight_recorder.h"
#include "otaclient/status/status.h"

/* What the start has found before anything was done. */
struct return_reason {
	bool going_on; /* an update, or a rollback */
	bool matches;  /* on the slot that was to run */
	bool is_rollback;
	bool was_committed; /* nothing is going on; the other slot was to run, and had been committed */
	bool trial_lost; /* told of just now: the boot loader has not begun what it was told, and may yet */
};

/* Record that the system on @slots' active slot starts, and what it finds. @reset: it finds a fresh machine. */
void return_reason_begin(struct flight_recorder *recorder, const struct slot_pair *slots,
	bool reset, struct return_reason *ret_reason);

/*
 * If @status says that the last update or rollback failed, and not why, say why from what is recorded, and
 * record that it was said. @loader: what the boot loader has left, from before its setup; NULL = nothing is known.
 * The other slot may be mounted for a look, below @run_dir. @root: "" = this machine.
 */
void return_reason_tell(struct return_reason *reason, struct flight_recorder *recorder,
	const struct slot_pair *slots, const struct boot_traces *loader, const char *root,
	const char *run_dir, struct status *status);
