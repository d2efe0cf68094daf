/*
 * first_boot: what happened across the restart, decided at each start of the daemon from what
 * booted and what the status files say: commit the new system, or tell that it did not come up.
 */
#pragma once

#include <stdbool.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/err.h"
#include "otaclient/status/status.h"
#include "otaclient/status/status_store.h"

/* What is to be done at this start. */
enum first_boot_action {
	FIRST_BOOT_KEEP,          /* nothing was going on: report what is stored */
	FIRST_BOOT_INITIALIZE,    /* a fresh machine */
	FIRST_BOOT_COMMIT,        /* the new system is up: it is on trial, and may be committed */
	FIRST_BOOT_FAIL,          /* an update was going on, and another slot came up */
	FIRST_BOOT_FAIL_ROLLBACK, /* the same for a rollback */
};

/* The decision alone; pure. */
enum first_boot_action first_boot_decide(enum ota_status stored, bool slot_matches);

/*
 * Carry it out, all but the commit; then tell @status. A system that may be committed is on trial: @status goes on
 * with UPDATING or ROLLBACKING, and what becomes of it is trial.h's business.
 *
 * @reset: the boot controller has found a fresh machine. Returns 0 or a failure: the next start tries again.
 */
int first_boot_run(struct boot_ctl *boot, bool reset, struct status *status, bool *ret_on_trial,
	struct ota_err *err);

/*
 * Keep the running system for good: commit by the boot controller, the mark that the slot is complete, the status
 * files. May be repeated. @root: where /.ota-meta of the running system is. Returns 0, or the failure with E302;
 * @status is not told.
 */
int first_boot_commit(struct boot_ctl *boot, const char *root, struct ota_err *err);

/*
 * Tell the boot loader that this system has come up, and whether the other slot could stand in for it. At every start,
 * and after a commit. What cannot be told is logged: it does not keep the daemon from its work.
 */
void first_boot_settle(struct boot_ctl *boot);
