/*
 * grub_rootfs: what two slots need inside a root file system: fstab, /etc/default/grub, /etc/grub.d hooks.
 */
#pragma once

#include "boot-controllers/grub/grub_ctl.h"

/* Rewrite them in the root of @slot, open at @root_fd; repeating it changes nothing. */
int grub_rootfs_adapt(const struct grub_ctl *ctl, int root_fd, unsigned slot, struct ota_err *err);

/* The text of the slot's menu entry, by the root's own grub-mkconfig or, if it has none, plain. */
int grub_rootfs_entry(const struct grub_ctl *ctl, const char *rootfs, int root_fd, unsigned slot,
	const char *release, struct buf *ret, struct ota_err *err);
