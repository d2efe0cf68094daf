/*
 * cboot_ctl: the open controller, and the small operations that its larger ones are made of. Internal to this folder.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "boot-controllers/cboot/cboot.h"
#include "boot-controllers/cboot/nvbootctrl.h"

#define CBOOT_STATUS_DIR "boot/ota-status"
/* In the status folder: the id of the other slot while that is known to hold a whole system. */
#define CBOOT_OTHER_SLOT "other_slot"

struct cboot_ctl {
	struct boot_ctl base;
	char root[PATH_MAX]; /* "" = the machine's own */
	char *tools_path;    /* NULL = the default */
	char standby_dir[PATH_MAX]; /* where the daemon mounts the standby slot */
	struct nvbootctrl tools;
	struct cboot_disk disk;
	bool unified; /* one switch moves boot loader and root file system */
	bool staged;  /* the standby got its files since it was prepared; not kept over a restart */
	int root_fd;
};

static inline unsigned cboot_standby(const struct cboot_ctl *ctl)
{
	return 1 - ctl->disk.active;
}

/* The folder @name in @parent of a root, made if need be: @what it is for, to io. A file descriptor or -errno. */
int cboot_open_dir(int root_fd, const char *parent, const char *name, const char *what);

struct cboot_ctl *cboot_ctl_of(struct boot_ctl *ctl);
const struct cboot_ctl *cboot_ctl_of_const(const struct boot_ctl *ctl);

/* The running slot's status folder, made if need be; a file descriptor or -errno. */
int cboot_open_status_dir(const struct cboot_ctl *ctl);

/* Note in a status folder that @slot, the other one, is whole; is it? (-ENOENT: not known); it is no longer. */
int cboot_write_other(int status_fd, unsigned slot);
int cboot_check_other(const struct cboot_ctl *ctl, struct ota_err *err);
int cboot_forget_other(const struct cboot_ctl *ctl, struct ota_err *err);

/* Was a switch made since this start? */
bool cboot_is_switched(const struct cboot_ctl *ctl);

/* If a switch was made since this start, take it back: the running slot boots next. */
int cboot_fall_back(const struct cboot_ctl *ctl, struct ota_err *err);

/*
 * Have a firmware payload written into the boot loader's slot that does not run. The running one boots next all the
 * same.
 */
int cboot_install(const struct cboot_ctl *ctl, const char *payload, struct ota_err *err);

/* The next boot tries @slot. One that fails half way is taken back. */
int cboot_switch(const struct cboot_ctl *ctl, unsigned slot, struct ota_err *err);
