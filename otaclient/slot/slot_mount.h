/*
 * slot_mount: the two slots as private mounts of ours: the active one read-only, the standby one
 * claimed, checked, looked at, then writable, and closed so that what was written is on the disk.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/err.h"

/* Of the standby file system, or of an empty one on that device. */
struct slot_space {
	uint64_t free_bytes, free_inodes;
	uint64_t total_bytes, total_inodes; /* what an empty file system would offer */
};

struct slot_mount {
	struct boot_slot standby;
	char active_dir[PATH_MAX];  /* RUN_DIR/mnt/active_slot */
	char standby_dir[PATH_MAX]; /* RUN_DIR/mnt/standby_slot */
	int active_fd;              /* root directories; -1 = not mounted */
	int standby_fd;
	int held_fd; /* the standby device, not mounted but ours alone; -1 = not so */
	bool usable; /* the standby holds an ext4 file system that the check found fit */

	/* Asked while a tool runs: is its work still wanted? Set by the caller after init; NULL = it is. */
	bool (*stop)(void *ctx);
	void *stop_ctx;
};

void slot_mount_init(struct slot_mount *m);

/*
 * Take the standby device for us and check it; mount it read-only if it is usable, and bind the
 * active root.
 * @active_root: "/" but in tests. Changes nothing on the standby but what e2fsck -p mends.
 *   -EBUSY      somebody else has it; the sentence names the mount point and process
 *   -ECANCELED  stop() said so while the check ran
 */
int slot_mount_claim(struct slot_mount *m, const struct boot_slot *standby, const char *active_root,
	const char *run_dir, struct ota_err *err);

/* Mount the standby read-only for a look, without its journal, until slot_mount_done(). Changes nothing on it. */
int slot_mount_peek(struct slot_mount *m, const struct boot_slot *standby, const char *run_dir,
	struct ota_err *err);

/*
 * The slots for a look, and nothing else: the active root as slot_mount_claim() has it, and the standby read-only if
 * that can be done without mending it first; else it stays not usable. Takes nothing from anybody, and changes nothing.
 *   -EBUSY   it is where the running system is
 *   -ENODEV  it is no block device
 */
int slot_mount_look(struct slot_mount *m, const struct boot_slot *standby, const char *active_root,
	const char *run_dir, struct ota_err *err);

/* Does the standby's path lead to the standby? Not if somebody has unmounted it, or mounted something over it. */
bool slot_mount_is_in_place(const struct slot_mount *m);

/*
 * Of a mounted standby that keeps its status files inside: are they in it? Not if a link leads to their folder: it
 * would lead there from the root of the system that runs.
 */
bool slot_mount_owns_status(const struct slot_mount *m);

/* Take the standby device for us without mounting it, until slot_mount_done(). -EBUSY: as above. */
int slot_mount_hold(struct slot_mount *m, const struct boot_slot *standby, const char *active_root,
	struct ota_err *err);

/* Room on the standby; of an empty one when it is not usable. */
int slot_mount_space(const struct slot_mount *m, struct slot_space *ret_space, struct ota_err *err);

/* Mount the standby writable; with @rebuild on a new ext4 of the same UUID and label. Takes the
 * right to destroy. -ECANCELED: stop() said so. */
int slot_mount_make_writable(struct slot_mount *m, bool rebuild, struct ota_err *err);

/* Sync the standby through the descriptor that was opened at mount, unmount it, sync the device. */
int slot_mount_close_standby(struct slot_mount *m, struct ota_err *err);

/*
 * The closed standby as the disk has it: its file system is checked as a whole, and mounted read-only, until
 * slot_mount_end_look(). -EUCLEAN: it is damaged, and has been made anew, empty; -ECANCELED: stop() said so.
 */
int slot_mount_look_again(struct slot_mount *m, struct ota_err *err);
int slot_mount_end_look(struct slot_mount *m, struct ota_err *err);

/* Unmount what is still mounted; never fails. */
void slot_mount_done(struct slot_mount *m);
