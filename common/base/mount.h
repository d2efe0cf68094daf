/*
 * mount: what is mounted where, private mounts of our own, and file systems by their label. The door to libmount
 * and libblkid.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* The device that is mounted at @mount_point ("/dev/sda3"), appended to @ret_source. -ENOENT:
 * nothing is. */
int mount_source_of(const char *mount_point, struct buf *ret_source, struct ota_err *err);

/* The first place where the block device @dev is mounted in this mount namespace. -ENOENT: nowhere.
 */
int mount_point_of(dev_t dev, struct buf *ret_mount_point, struct ota_err *err);

/*
 * Append who has @dev mounted in another mount namespace: "firefox (process 12) has it mounted on
 * /media/x". Nothing is appended if nobody is found. 0 or -errno.
 */
int mount_find_holder(dev_t dev, struct buf *ret_text);

/*
 * The first block device whose file system has @label, as it is on the device now, appended to @ret_device
 * ("/dev/sdb1"), and which file system ("ext4") to @ret_type. Reads from every disk there is. -ENOENT: there is none;
 * -EBADMSG: what is on it is ambiguous.
 */
int mount_find_label(
	const char *label, struct buf *ret_device, struct buf *ret_type, struct ota_err *err);

/* Append what is on @device ("ext4", "swap", "crypto_LUKS"). -ENOENT: nothing known; -EBADMSG: it is ambiguous. */
int mount_find_type(const char *device, struct buf *ret_type, struct ota_err *err);

/*
 * Take a mount namespace of our own, before any thread is started: what others mount still comes in,
 * what we mount never gets out, and no process that is started meanwhile holds on to it.
 */
int mount_own_namespace(struct ota_err *err);

/*
 * Unmount the block device @dev wherever process 1 has it mounted, if its namespace is another than
 * ours. 0, or -ENOENT: it has not; else umount's error.
 */
int mount_undo_at_init(dev_t dev);

/*
 * Options of an ext4 that is only read: its journal is left alone, and where it is damaged nothing is done that the
 * file system itself asks for, which may be a panic of the kernel that runs.
 */
#define MOUNT_EXT4_TO_LOOK "noload,errors=continue"

/*
 * Mount @source on the existing directory @target; then make it private and unbindable. @flags as
 * in mount(2) (MS_BIND is done together with MS_RDONLY, which takes two calls).
 */
int mount_private(const char *source, const char *target, const char *fstype, unsigned long flags,
	const char *data, struct ota_err *err);

/* Change the flags of one of our mounts. */
int mount_change(const char *target, unsigned long flags, const char *data, struct ota_err *err);

/* Unmount all that is stacked on @target. @lazy: also if it is in use. Nothing mounted: 0. */
int mount_undo(const char *target, bool lazy, struct ota_err *err);
