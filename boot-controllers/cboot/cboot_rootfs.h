/*
 * cboot_rootfs: what CBoot needs inside the standby's root file system, and on the disk that it reads.
 */
#pragma once

#include "boot-controllers/cboot/cboot_ctl.h"
#include "common/base/buf.h"

/* A regular file below a root; -ENOENT if it is none. No link is followed. */
int cboot_rootfs_read(int root_fd, const char *path, size_t max_bytes, struct buf *ret);

/* extlinux.conf with the slot's root; the running one's where the image has none. -ENOENT, -EBADMSG: not bootable. */
int cboot_rootfs_set_extlinux(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err);

/* The running /boot/ota, as it is; nothing if there is none. */
int cboot_rootfs_mirror_config(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err);

/* Where CBoot reads another disk: the root's /boot, as it is, published. */
int cboot_rootfs_mirror_boot(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err);
