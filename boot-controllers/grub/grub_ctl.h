/*
 * grub_ctl: the open controller, and the small operations on /boot that its larger ones are made of.
 *
 * Internal to this folder. Everything that GRUB reads is written here, published before it is pointed at, and
 * pointed at by one switch, which is published too. An entry file exists only while its slot is complete.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "boot-controllers/grub/grub.h"
#include "boot-controllers/grub/grub_env.h"
#include "common/base/buf.h"

enum {
	GRUB_ROOT_SPARE_BYTES = 64,          /* of PATH_MAX, for what is behind the root's path */
	GRUB_RELEASE_MAX = 128,              /* a kernel release; the kernel itself allows 64 */
	GRUB_SMALL_FILE_MAX_BYTES = 1 << 20, /* status and configuration files have some kB */
	GRUB_BOOT_SPARE_BYTES = 1 << 20,     /* of /boot; for folders, status files and grubenv */
};

#define GRUB_ENTRY_STAGED_SUFFIX ".staged"

struct grub_ctl {
	struct boot_ctl base;
	char root[PATH_MAX]; /* "" = the machine's own */
	char *tools_path;    /* NULL = the default; else tools are fakes and run without chroot */
	char *version;
	char kernel_release[GRUB_RELEASE_MAX];
	unsigned tries;       /* starts of a flipped slot, 1 to GRUB_TRIES_MAX */
	unsigned spare_after; /* starts of a committed one before the other's; 0 = any number */
	struct grub_disk disk;
	int boot_fd; /* <root>/boot */
	int grub_fd; /* <root>/boot/grub */
};

struct grub_ctl *grub_ctl_of(struct boot_ctl *ctl);
const struct grub_ctl *grub_ctl_of_const(const struct boot_ctl *ctl);

unsigned grub_active(const struct grub_ctl *ctl);
unsigned grub_standby(const struct grub_ctl *ctl);
extern const char *const grub_slot_id[GRUB_N_SLOTS];

/* "ota-slot_a.cfg" or, staged, "ota-slot_a.cfg.staged"; "ota-partition.sda3", the folder of the older layout. */
void grub_entry_name(unsigned slot, bool staged, char ret_name[NAME_MAX]);
void grub_legacy_name(const struct grub_ctl *ctl, unsigned slot, char ret_name[NAME_MAX]);

/* /boot/@name by its whole path. @name is one of ours: so much room grub_open() has left behind the root's path. */
void grub_boot_path(const struct grub_ctl *ctl, const char *name, char ret_path[PATH_MAX]);

/* The file's content; missing or no regular file: -ENOENT. Links are not followed. */
int grub_read_file(int dir_fd, const char *name, size_t max_bytes, struct buf *ret);

/* Replace a file unless it has that content already. @path: for the sentence. */
int grub_write_file(const char *what, int dir_fd, const char *name, const char *path,
	const struct buf *content, mode_t mode, struct ota_err *err);

/* The same in GRUB's folder, for what GRUB cannot do without; published. What it points at is there already. */
int grub_write_boot_file(const struct grub_ctl *ctl, const char *what, const char *name,
	const char *path, const struct buf *content, mode_t mode, struct ota_err *err);

/* Make what was written on /boot visible to GRUB. */
int grub_publish(const struct grub_ctl *ctl, const char *what, struct ota_err *err);

/* The environment block; an unreadable one is empty. What it means: grub_choice. */
void grub_load_env(const struct grub_ctl *ctl, struct grub_env *ret_env);
/* The slot that a variable names and that has an entry, or -ENOENT. */
int grub_env_slot(const struct grub_ctl *ctl, const char *name, unsigned *ret_slot);

/*
 * Is the slot's entry there and are its kernel, its initrd and its root file system what it says? 0, or -ENOENT
 * with the reason.
 */
int grub_check_entry(const struct grub_ctl *ctl, unsigned slot, bool staged, struct ota_err *err);

/* Take the slot's entry, staged or not, away from GRUB; published. */
int grub_remove_entry(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err);

/* Remove a file or folder with all that is in it; missing is fine. */
int grub_remove_tree(const char *what, int dir_fd, const char *name, struct ota_err *err);

/* Make the slot's folder with its empty grub/ and open it. */
int grub_open_slot_dir(const struct grub_ctl *ctl, unsigned slot, int *ret_fd, struct ota_err *err);

/* Newest kernel with an initrd in a folder, or just @wanted. -ENOENT: there is none; or why it cannot be read. */
int grub_find_kernel(int dir_fd, const char *wanted, char ret_release[GRUB_RELEASE_MAX]);

/*
 * How to run the tool @name: @standard, or, if a test set a tools_path, where that has it. A tools_path
 * without it gives a path that is not there.
 */
void grub_tool(const struct grub_ctl *ctl, const char *name, const char *standard,
	char ret_path[PATH_MAX]);

/*
 * Put vmlinuz-@release and its initrd from @from_fd into the slot's folder and link them at the top of /boot.
 * -ENOSPC with E307 and both figures if they do not fit; nothing is copied then.
 */
int grub_install_kernel(const struct grub_ctl *ctl, int from_fd, const char *release, unsigned slot,
	struct ota_err *err);
