/*
 * grub_machine: a machine that boots by GRUB, in a temporary folder: two root trees, one /boot, a fake grub-mkconfig
 * and the real GRUB (grub-emu) for restarts. Needs no root and no block devices.
 *
 *     <dir>/boot              the shared /boot
 *     <dir>/slot_a  slot_b    root trees; /boot of the running one is a link to the shared one
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "boot-controllers/grub/grub.h"
#include "tests/support/machine_dir.h"

#define GRUB_MACHINE_KERNEL "5.10.0-1-fake" /* of the fresh machine */

struct grub_machine {
	char dir[PATH_MAX];
	char root[PATH_MAX];  /* of the running slot */
	char tools[PATH_MAX]; /* PATH for the fake tools */
	char release[128];    /* of the running kernel */
	const char *save_env; /* NULL, or how GRUB's fails: "fail", "lose" (grub_emu_run) */
	struct grub_disk disk;
	struct boot_env env;
};

void grub_machine_init(struct grub_machine *m);
void grub_machine_done(struct grub_machine *m); /* removes the folder */

/* The same machine with a copy of the folder. */
void grub_machine_copy(const struct grub_machine *from, struct grub_machine *ret);

int grub_machine_open(struct grub_machine *m, struct boot_ctl **ret_ctl, struct ota_err *err);

/* Put a new image with that kernel into a slot's tree; returns the tree's path, valid until the next call. */
const char *grub_machine_put_image(struct grub_machine *m, char slot, const char *release);

struct grub_machine_boot {
	char slot; /* 'a', 'b', 0 = nothing boots */
	char release[128];
	unsigned n_missing; /* entries that could not be loaded before */
	bool restarts;      /* GRUB itself starts the machine again */
};

/* What GRUB boots now; its own change to grubenv stays. Asserts that kernel, initrd and root belong together. */
struct grub_machine_boot grub_machine_try(struct grub_machine *m);

/* Restart: as above, and that slot's root is the running one from then on. */
char grub_machine_restart(struct grub_machine *m);

/* The running slot is @slot, whatever GRUB would say. */
void grub_machine_run_on(struct grub_machine *m, char slot);

/* Make GRUB's environment block unreadable. */
void grub_machine_break_env(struct grub_machine *m);

/* Small files below <dir>; the path may not be longer than the folder allows. */
static inline void grub_machine_write(
	const struct grub_machine *m, const char *path, const char *text)
{
	machine_dir_write(m->dir, path, text);
}

static inline bool grub_machine_exists(const struct grub_machine *m, const char *path)
{
	return machine_dir_exists(m->dir, path);
}

static inline void grub_machine_read(
	const struct grub_machine *m, const char *path, struct buf *ret)
{
	machine_dir_read(m->dir, path, ret);
}

static inline void grub_machine_remove(const struct grub_machine *m, const char *path)
{
	machine_dir_remove(m->dir, path);
}
