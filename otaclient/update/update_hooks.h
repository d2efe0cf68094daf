/*
 * update_hooks: the steps of an update and a rollback in which programs of the integrator are run (hooks.h).
 *
 * A program that fails says no: the update fails there, before anything is switched.
 */
#pragma once

#include "otaclient/hooks/hooks.h"
#include "otaclient/update/update_steps.h"

/*
 * Before anything is touched. All folders are looked at, so that a program that would be refused later is not found
 * after hours of download. A no is a refusal: what is stored of this machine's status stays as it is.
 */
step_fn step_pre_update;
/* The standby slot is complete and mounted; what they write there stays. */
step_fn step_post_update;
/* Everything is ready for the flip; or nothing is begun yet of the way back, and a no is a refusal. */
step_fn step_pre_reboot;

/*
 * Not a step: the running system has just been committed. They run in a thread of their own, which
 * the caller ends it with hooks_thread_free(). @is_rollback: it was gone back to.
 */
struct hooks_thread *post_commit_hooks(const struct hooks *hooks, const struct boot_ctl *boot,
	const char *ecu_id, bool is_rollback);
