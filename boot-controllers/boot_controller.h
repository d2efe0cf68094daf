/*
 * boot_controller: what the updater asks of a boot loader, and the status files that go with a slot.
 *
 * A boot controller knows one boot loader. Order of calls over one update:
 *
 *     open → setup → slots → prepare → stage → flip → reboot → open → commit | revert
 *
 * settle() comes at every start, behind whatever else is due then; traces() before setup().
 *
 * To go back to a standby slot that is still whole, keep stands in for prepare and stage:
 *
 *     open → setup → slots → check → keep → flip → reboot → open → commit
 *
 * Power-cut rule: until flip() has returned 0 the machine boots the active slot, wherever the power fails; after
 * it, the next boots try the standby slot, boot_attempts times where the loader lets us choose; without commit() the
 * one after them is the old slot again. At every instant every entry that the loader can reach by itself leads to a
 * complete slot. prepare(), keep(), flip() and commit() return only when the loader would see the change on the raw
 * disk (io_publish_boot).
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

struct boot_check;
struct boot_ctl;

enum {
	BOOT_SLOT_ID_MAX = 32,
	BOOT_UUID_MAX = 64,
};

/* One of the two slots. */
struct boot_slot {
	char id[BOOT_SLOT_ID_MAX];    /* as in slot_in_use: "ota-slot_a" */
	char device[PATH_MAX];        /* block device, "/dev/sda3" */
	char fs_uuid[BOOT_UUID_MAX];  /* "" = no file system found */
	char fs_label[BOOT_UUID_MAX]; /* "" = none */
	char status_dir
		[PATH_MAX]; /* folder of the status files; status_store.h reads and writes them */
	/* That folder is part of the slot's own file system: there only while it is mounted, writable if that is. */
	bool status_inside;
};

struct slot_pair {
	struct boot_slot active; /* the one that runs */
	struct boot_slot standby;
};

/* Where the machine is; tests point it at a temporary tree and fake tools. */
struct boot_env {
	const char *root;           /* "" = the machine's own "/"; else prefix of every path */
	const char *kernel_release; /* NULL = /proc/sys/kernel/osrelease */
	const char *tools_path;     /* PATH for external tools; NULL = the default */
	const char *version;        /* our version, written into managed files */
	/* The daemon's: the standby slot is mounted on mnt/standby_slot in it. NULL = <root>/run/otaclient */
	const char *run_dir;
	/* Starts without coming up: of a flipped slot, 0 = 1; of a committed one before the other's, 0 = any number. */
	unsigned boot_attempts, committed_attempts;
};

/* What the loader has left of a trial, for who tells why it did not come up. */
struct boot_traces {
	bool not_begun; /* the standby is still to be tried; after a restart: the loader could not begin */
	struct ota_err
		trouble; /* why it could not start the standby as it is now; errnum 0 = it could */
};

struct boot_controller_ops {
	const char *name; /* as in ecu_info.yaml, "bootloader" */

	/* Recognise our boot loader and both slots. Changes nothing on the machine. -ENODEV: not this loader. */
	int (*open)(struct boot_ctl **ret_ctl, const struct boot_env *env, struct ota_err *err);

	/* Asked before setup(), which tidies. Changes nothing. NULL: nothing is known. */
	void (*traces)(const struct boot_ctl *ctl, struct boot_traces *ret_traces);

	/* At start: bootstrap a fresh machine or take over an older layout. @ret_reset: forget the stored status? */
	int (*setup)(struct boot_ctl *ctl, bool *ret_reset, struct ota_err *err);

	/* Devices, ids and status folder of both slots, and which one runs. */
	int (*slots)(const struct boot_ctl *ctl, struct slot_pair *ret_slots, struct ota_err *err);

	/* Take the standby out of the loader's reach. It may be touched only after this has returned. */
	int (*prepare)(struct boot_ctl *ctl, struct ota_err *err);

	/*
	 * Put kernel and loader files for the standby slot in place, and the loader's files (fstab, defaults, hooks)
	 * into the standby root, which is mounted writable at @standby_root. May be repeated.
	 */
	int (*stage)(struct boot_ctl *ctl, const char *standby_root, struct ota_err *err);

	/* Is all that the loader needs for the standby slot there? Changes nothing. -ENOENT: no, and why. */
	int (*check)(const struct boot_ctl *ctl, struct ota_err *err);

	/* Make the running slot the one that boots by itself, as prepare() does, and keep the standby in reach. */
	int (*keep)(struct boot_ctl *ctl, struct ota_err *err);

	/* The one switch, and the restart that belongs to it. The caller has closed the standby slot before. */
	int (*flip)(struct boot_ctl *ctl, struct ota_err *err);
	int (*reboot)(struct boot_ctl *ctl, struct ota_err *err);

	/*
	 * At every start, once it is decided what the last one meant: this slot has come up. Starts of a committed slot
	 * are counted anew, what is left of a trial that did not come up is forgotten, and a slot that runs because the
	 * committed one could not be started is committed. A trial that is still to begin or to be decided stays.
	 * @standby_whole: the other slot may have its turn if this one cannot be started. May be repeated.
	 * NULL: the loader counts by itself.
	 */
	int (*settle)(struct boot_ctl *ctl, bool standby_whole, struct ota_err *err);

	/*
	 * The restart that was to try the standby has not begun to: it is not to be tried later, when nobody
	 * reckons with it any more. NULL: the loader always begins.
	 */
	int (*forget_trial)(struct boot_ctl *ctl, struct ota_err *err);

	/* At the next start: keep this slot for good, or go back. Both may be repeated. */
	int (*commit)(struct boot_ctl *ctl, struct ota_err *err);
	int (*revert)(struct boot_ctl *ctl, struct ota_err *err);

	void (*close)(struct boot_ctl *ctl); /* NULL is fine */

	/* What can be looked at before an update is tried (boot_inspect.h); NULL = nothing. */
	const struct boot_check *checks;
};

/* Each loader embeds this first. */
struct boot_ctl {
	const struct boot_controller_ops *ops;
};

/*
 * Open the controller that ecu_info.yaml names ("grub", "cboot", "jetson-cboot", …, "auto_detect"). -ENODEV
 * with E301 if it is not supported or not there. Close with ctl->ops->close(ctl).
 */
int boot_controller_open(const char *name, const struct boot_env *env, struct boot_ctl **ret_ctl,
	struct ota_err *err);

/* For tests: one more controller that boot_controller_open() knows by its name. */
void boot_controller_register_for_test(const struct boot_controller_ops *ops);
