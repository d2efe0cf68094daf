/*
 * trial_traces: what a system that was tried and not committed has left behind besides records: on its file system, in
 * the boot loader's files, in the watchdog, and what systemd said of it when it gave up waiting.
 *
 * Reads only. All of it may be made by another program: it is text to show, and decides nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "boot-controllers/boot_controller.h"

/* Written by otaclient-commit-guard.service, below the root of the system that it restarts. */
#define TRIAL_TRACES_GUARD_PATH "/.ota-meta/given-up"

enum {
	TRIAL_GUARD_MAX = 192, /* with the NUL */
};

/* How far the new system's root file system has come. */
enum trial_root {
	TRIAL_ROOT_NOT_KNOWN,
	TRIAL_ROOT_GONE,      /* there is none */
	TRIAL_ROOT_UNTOUCHED, /* it was not mounted writable since the switch */
	TRIAL_ROOT_WRITABLE,  /* it was */
};

struct trial_traces {
	bool not_begun; /* the boot loader has not taken note that it was to be tried */
	char trouble[OTA_ERR_MSG_MAX]; /* why the boot loader could not start it; "" = it could */
	enum trial_root root;
	bool watchdog; /* it has reset the machine before the present start */
	char guard
		[TRIAL_GUARD_MAX]; /* "" = systemd has not given it up; else what it said of otaclient */
};

/* When the slot was tried; by the clock of the old system. */
struct trial_time {
	int64_t begun_unix_s; /* the update or rollback; INT64_MIN = not known */
	int64_t flipped_unix_s;
};

/*
 * Look at the slot that was tried, @slot. @loader: what its boot loader has told, NULL = nothing. @root: "" = this
 * machine. A slot that has been mounted since it was written is mounted for a look, below @run_dir.
 */
void trial_traces_find(const struct boot_slot *slot, const struct trial_time *when,
	const struct boot_traces *loader, const char *root, const char *run_dir,
	struct trial_traces *ret_traces);

/* The words from what `systemctl show` prints of otaclient.service; "" if that is not understood. Pure. */
void trial_traces_guard(const char *text, char ret_words[TRIAL_GUARD_MAX]);

/* Which it is, from a superblock's time of mount. Pure. */
enum trial_root trial_traces_root(int64_t mounted_unix_s, const struct trial_time *when);
