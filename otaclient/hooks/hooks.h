/*
 * hooks: what an integrator wants run at four points of an update: a folder of programs for each, and the environment
 * that they get. docs/hooks.md is for whoever writes them.
 *
 * How they are run, and which are refused: program_folder.h. What they say and how they end goes to the log.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

#define HOOKS_DIR "/etc/otaclient/hooks.d"

enum hook {
	HOOK_PRE_UPDATE,  /* all is known, nothing is touched */
	HOOK_POST_UPDATE, /* the new system is complete on the standby slot, which is mounted */
	HOOK_PRE_REBOOT,  /* the next thing is the flip and the restart */
	HOOK_POST_COMMIT, /* the new system runs, for good */
};

struct hooks {
	const char *dir;     /* borrowed: HOOKS_DIR but in tests; NULL = none are run */
	uint32_t timeout_ms; /* for each program; 0 = RUN_TIMEOUT_DEFAULT_MS */
};

/* What they are told; all borrowed. NULL = not known, or not of this hook: the variable is not set. */
struct hook_facts {
	const char *action;             /* "update" or "rollback" */
	const char *session;            /* its id */
	const char *ecu_id;             /* of this ECU */
	const char *version;            /* of the system that comes, or has come */
	const char *from_version;       /* of the one that goes */
	const char *url;                /* of the image */
	const char *slot;               /* of the system that comes */
	const char *from_slot;          /* of the one that goes */
	const char *standby_root;       /* where the standby slot is mounted, writable */
	const uint64_t *download_bytes; /* that will be fetched, before compression */
};

/* Would the programs of all hooks be run? 0, or E210 with the sentence of what is refused. */
int hooks_check(const struct hooks *hooks, struct ota_err *err);

/*
 * Run those of @which. @stop (may be NULL): asked several times a second whether to end. 0; -ECANCELED: stop() said so;
 * or E210 with a sentence that names the program that failed, how, and the last line that it has said.
 */
int hooks_run(const struct hooks *hooks, enum hook which, const struct hook_facts *facts,
	bool (*stop)(void *ctx), void *stop_ctx, struct ota_err *err);

/*
 * The same in a thread of its own, for those whose failure changes nothing: it is only logged. NULL, logged as well: it
 * could not be started.
 */
struct hooks_thread;
struct hooks_thread *hooks_start(
	const struct hooks *hooks, enum hook which, const struct hook_facts *facts);

/* Waits for the end; a program that still runs is asked to end, and killed. NULL is fine. */
void hooks_thread_free(struct hooks_thread *t);
