/*
 * grub_disk: the partitions of a machine that boots by GRUB, and which of the two slots runs.
 *
 *                 BIOS   UEFI
 *   ESP             –      1     GPT type c12a7328-…
 *   /boot           1      2     ext4, shared by both slots
 *   ota-slot_a      2      3
 *   ota-slot_b      3      4
 *
 * The door to libblkid; the kernel's tree /sys/dev/block says which partition belongs to which disk, so that loop
 * devices, NVMe and eMMC need no rules for names.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "boot-controllers/boot_controller.h"

struct grub_part {
	unsigned number; /* in the partition table; 0 = there is none */
	char device[PATH_MAX];
	char fs_uuid[BOOT_UUID_MAX];  /* "" = no file system */
	char fs_label[BOOT_UUID_MAX]; /* "" = none */
};

enum {
	GRUB_SLOT_A,
	GRUB_SLOT_B,
	GRUB_N_SLOTS,
};

struct grub_disk {
	bool uefi;
	unsigned active; /* GRUB_SLOT_… that runs */
	struct grub_part esp, boot, slot[GRUB_N_SLOTS];
	bool described; /* by a test: there are no devices to look at */
};

/* Look at the disk that holds @root ("/"). -EINVAL with E302 when the layout is another one. */
int grub_disk_probe(const char *root, struct grub_disk *ret_disk, struct ota_err *err);

/* Ask the device again, after a file system was made on it. */
int grub_disk_refresh(const struct grub_disk *disk, struct grub_part *part, struct ota_err *err);
