/*
 * trial: the time between the start of a new system and the decision on it. The checks are repeated until all is well,
 * then the system is committed; if that does not come to pass in time, the machine goes back to its other slot.
 *
 * Meanwhile the status says UPDATING (or ROLLBACKING), and requests are refused. What is checked: health.h. A rollback
 * is a trial like an update's: both slots hold a system that once was committed, so there is a way back from either.
 *
 * The time is counted from the first start of the daemon since the machine's, by the monotonic clock; a note in run_dir
 * remembers it, so that a daemon that is started again and again goes on with what is left.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/err.h"
#include "otaclient/status/status.h"

enum {
	TRIAL_ROUND_MS = 3000, /* between two rounds of checks */
	/* How long a round that was begun in time may go on: each of its programs may take as long. */
	TRIAL_OVERTIME_MS = 60000,
	TRIAL_RESTART_WAIT_MS =
		60000, /* for a restart that was asked for, until it is asked for again */
};

/* Borrowed; must outlive the trial. The functions are called in its thread. */
struct trial_config {
	struct boot_ctl *boot;
	const char *root; /* as first_boot_commit() wants it */
	struct status *status;
	const char *run_dir; /* made if it is missing */
	uint32_t timeout_s;

	/*
	 * All checks, once: 0, -ECANCELED after @stop, which also ends what takes too long, or what is not as it
	 * should be. NULL = there are none.
	 */
	int (*check)(void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx, struct ota_err *err);
	/* The system is kept, and the status does not say so yet. May be NULL. */
	void (*committed)(void *ctx);
	/* It is not, and the machine is about to go back. May be NULL. */
	void (*given_up)(void *ctx, const struct ota_err *why);
	void *ctx;
};

struct trial;

/* NULL: no memory. Requests are refused from here on. */
struct trial *trial_new(const struct trial_config *config);

/* Once the daemon serves: the rest goes on in a thread. 0 or -errno. */
int trial_start(struct trial *t);

/* From any thread: end soon, without a decision. */
void trial_stop(struct trial *t);

/* Ends the thread. NULL is fine, also below. */
void trial_free(struct trial *t);

/* May an update or a rollback begin? 0, or -EBUSY (E201) with a sentence. From any thread. */
int trial_refuse(struct trial *t, struct ota_err *err);

/* What an abort is answered: -EBUSY with a sentence; 0: no update is on trial. From any thread. */
int trial_refuse_abort(struct trial *t, struct ota_err *ret_answer);

/* What the thread does; for tests. */
void trial_run(struct trial *t);
