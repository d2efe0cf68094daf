/*
 * fake_boot: a third boot controller, kept in a plain folder, for tests of the updater.
 *
 * It keeps to the contract of boot_controller.h: what was prepared, staged and flipped is a file each, so that a
 * "reboot" is to close and open again. It is known to boot_controller_open() as "fake" after fake_boot_use().
 *
 *     <dir>/running  saved  next     the slot that runs; that boots by itself; that is tried once
 *     <dir>/entry_a  entry_b         the loader can reach the slot
 *     <dir>/staged                   the other slot has its kernel; the entry comes with flip
 *     <dir>/set_up                   setup has been here
 *     <dir>/ota-slot_a  ota-slot_b   status folders
 *
 * Needs: common/base and boot-controllers only.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/buf.h"

enum fake_boot_op {
	FAKE_BOOT_OPEN,
	FAKE_BOOT_SETUP,
	FAKE_BOOT_SLOTS,
	FAKE_BOOT_PREPARE,
	FAKE_BOOT_STAGE,
	FAKE_BOOT_CHECK,
	FAKE_BOOT_KEEP,
	FAKE_BOOT_FLIP,
	FAKE_BOOT_REBOOT,
	FAKE_BOOT_COMMIT,
	FAKE_BOOT_REVERT,
	FAKE_BOOT_CLOSE,
	FAKE_BOOT_N_OPS,
};

struct fake_boot {
	const char *dir;        /* exists; the state files go here */
	const char *device[2];  /* of slot a and b; NULL = "" */
	const char *fs_uuid[2]; /* 〃 */
	const char *fs_label[2];
	bool fail[FAKE_BOOT_N_OPS]; /* this operation fails with -EIO and changes nothing */
	struct buf calls;           /* "open setup slots …", filled as they come */
	char staged_root[PATH_MAX]; /* as stage() was told */
	unsigned n_reboots;
};

/* Register "fake", described by @f, which stays the caller's. NULL: take it off again. */
void fake_boot_use(struct fake_boot *f);

/* What a restart does, asked for or by a power cut: the next open finds the slot that the loader chose. */
void fake_boot_restart(const struct fake_boot *f);

/* 'a' or 'b', 0 = none. */
char fake_boot_running(const struct fake_boot *f);
char fake_boot_saved(const struct fake_boot *f);
bool fake_boot_can_reach(const struct fake_boot *f, char slot);

void fake_boot_done(struct fake_boot *f);
