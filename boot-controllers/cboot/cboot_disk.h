/*
 * cboot_disk: the partitions of a Jetson that boots by CBoot.
 *
 *                      root file systems    what CBoot reads (kernel, extlinux.conf)
 *   on the eMMC        mmcblk0p1, p2        /boot of the same
 *   on NVMe or USB     p1, p2 of that disk  /boot of mmcblk0p1, p2
 *
 * Slot 0 is partition 1, slot 1 is partition 2.
 */
#pragma once

#include <stdbool.h>

#include "boot-controllers/cboot/nvbootctrl.h"
#include "boot-controllers/root_disk.h"

struct cboot_disk {
	struct disk_part slot[NVBOOTCTRL_N_SLOTS];
	unsigned active; /* the slot whose partition is mounted as the root */
	bool external;   /* CBoot reads another disk than the root file systems' */
	char boot[NVBOOTCTRL_N_SLOTS][PATH_MAX]; /* if external: the device that CBoot reads */
	bool described; /* by a test: no devices; boot[] are folders then */
};

/* Look at the disk that holds @root ("/"). -EINVAL with E302 when the layout is another one. */
int cboot_disk_probe(const char *root, struct cboot_disk *ret_disk, struct ota_err *err);
