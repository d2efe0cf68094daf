/*
 * cboot_machine: a Jetson in a temporary folder: two root trees and simulated tools (tests/support/fake-cboot), whose
 * state machine also plays CBoot at restarts. Needs no root and no block devices.
 *
 *     <dir>/slot_0  slot_1    root trees, with /boot inside
 *     <dir>/emmc_0  emmc_1    what CBoot reads, if the roots are on another disk
 *     <dir>/firmware_0  _1    firmware that was written into the boot loader's slots
 *     <dir>/tools             nvbootctrl, nv_update_engine, reboot
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "boot-controllers/cboot/cboot.h"
#include "tests/support/machine_dir.h"

#define CBOOT_MACHINE_KERNEL "4.9.1-tegra" /* of the fresh machine */
#define CBOOT_MACHINE_FIRMWARE "new firmware\n" /* that an image brings */

enum {
	CBOOT_MACHINE_TRIES = 3, /* of a root file system that nobody calls good */
	CBOOT_MACHINE_LOADER_TRIES = 7,
};

struct cboot_machine {
	char dir[PATH_MAX];
	char root[PATH_MAX];  /* of the running slot */
	char tools[PATH_MAX]; /* PATH for the tools */
	bool unified, external;
	bool firmware;            /* images ask for new firmware, and have it */
	uint32_t tool_timeout_ms; /* 0 = the default */
	struct cboot_disk disk;
	struct boot_env env;
};

void cboot_machine_init(struct cboot_machine *m, bool unified, bool external);
void cboot_machine_done(struct cboot_machine *m); /* removes the folder */

/* The same machine with a copy of the folder. */
void cboot_machine_copy(const struct cboot_machine *from, struct cboot_machine *ret);

int cboot_machine_open(struct cboot_machine *m, struct boot_ctl **ret_ctl, struct ota_err *err);

/* Put a new image with that kernel into a slot's tree; returns the tree's path, valid until the next call. */
const char *cboot_machine_put_image(struct cboot_machine *m, unsigned slot, const char *release);

/*
 * What comes up now: 'a', 'b', or 0. The counters go on. Asserts that extlinux.conf, where CBoot reads it, has the
 * slot's root and a kernel that is there. restart: and that slot's root is the running one from then on.
 */
char cboot_machine_try(struct cboot_machine *m);
char cboot_machine_restart(struct cboot_machine *m);

/* The running slot is @slot, whatever CBoot would say. */
void cboot_machine_run_on(struct cboot_machine *m, unsigned slot);

/* Small files below <dir>. */
static inline void cboot_machine_write(
	const struct cboot_machine *m, const char *path, const char *text)
{
	machine_dir_write(m->dir, path, text);
}

static inline bool cboot_machine_exists(const struct cboot_machine *m, const char *path)
{
	return machine_dir_exists(m->dir, path);
}

static inline void cboot_machine_read(
	const struct cboot_machine *m, const char *path, struct buf *ret)
{
	machine_dir_read(m->dir, path, ret);
}

static inline void cboot_machine_remove(const struct cboot_machine *m, const char *path)
{
	machine_dir_remove(m->dir, path);
}

/* Put a script in a tool's place; "~" in it stands for the simulated tool. */
void cboot_machine_fake_tool(struct cboot_machine *m, const char *name, const char *script);
