/*
 * grub_disk: the partitions of a machine that boots by GRUB, and which of the two slots runs.
 *
 *                 BIOS   UEFI
 *   ESP             –      1     GPT type c12a7328-…
 *   /boot           1      2     ext4, shared by both slots
 *   ota-slot_a      2      3
 *   ota-slot_b      3      4
 *
 * How a disk is looked at: root_disk.
 */
#pragma once

#include <stdbool.h>

#include "boot-controllers/root_disk.h"

enum {
	GRUB_SLOT_A,
	GRUB_SLOT_B,
	GRUB_N_SLOTS,
};

struct grub_disk {
	bool uefi;
	unsigned active; /* GRUB_SLOT_… that runs */
	struct disk_part esp, boot, slot[GRUB_N_SLOTS];
	bool described; /* by a test: there are no devices to look at */
};

/* Look at the disk that holds @root ("/"). -EINVAL with E302 when the layout is another one. */
int grub_disk_probe(const char *root, struct grub_disk *ret_disk, struct ota_err *err);

/* Ask the device again, after a file system was made on it. */
int grub_disk_refresh(const struct grub_disk *disk, struct disk_part *part, struct ota_err *err);
