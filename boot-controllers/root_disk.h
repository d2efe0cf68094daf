/*
 * root_disk: the disk that holds a root file system, its partitions, and what is on them.
 *
 * The door to libblkid; the kernel's tree /sys/dev/block says which partition belongs to which disk, so that loop
 * devices, NVMe and eMMC need no rules for names. Which partition is what, the boot loaders know.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "boot-controllers/boot_controller.h"

struct root_disk {
	dev_t dev;
	char device[PATH_MAX]; /* the whole disk, "/dev/sda" */
	unsigned number;       /* of the partition with the root file system, from 1 */
};

struct disk_part {
	unsigned number; /* in the partition table; 0 = there is none */
	char device[PATH_MAX];
	char fs_uuid[BOOT_UUID_MAX];   /* "" = no file system */
	char fs_label[BOOT_UUID_MAX];  /* "" = none */
	char part_uuid[BOOT_UUID_MAX]; /* of the partition itself, in lower case; "" = not known */
};

/* The disk that holds @root ("/"). -EINVAL with E302: it is on no partition of a disk. */
int root_disk_find(const char *root, struct root_disk *ret_disk, struct ota_err *err);

/* Its partition @number with all that is known of it. -EINVAL with E302: there is none. */
int root_disk_part(const struct root_disk *disk, unsigned number, struct disk_part *ret_part,
	struct ota_err *err);

/* Ask the device again which file system is on it. */
int disk_part_probe_fs(struct disk_part *part, struct ota_err *err);
