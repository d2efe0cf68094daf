/*
 * grub_mkconfig: run a root's own grub-mkconfig with a folder of our choice in the place of /boot.
 */
#pragma once

#include "boot-controllers/grub/grub_ctl.h"

/*
 * Append what it prints. @rootfs: the root whose tool and settings are used, "" = the running one. @boot_dir: an
 * absolute path, seen by the tool as /boot. -ENOENT: that root has no grub-mkconfig.
 */
int grub_mkconfig_run(const struct grub_ctl *ctl, const char *rootfs, const char *boot_dir,
	struct buf *out, struct ota_err *err);

/* The version of the running root's GRUB, or "unknown_grub_version". */
void grub_mkconfig_version(const struct grub_ctl *ctl, char *ret_version, size_t size);
