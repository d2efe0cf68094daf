/*
 * cboot_disk: recognise the partitions of a Jetson. Contract: cboot_disk.h.
 */
#include "boot-controllers/cboot/cboot_disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The internal eMMC; its own boot and RPMB areas begin alike, but hold no root. */
static const char internal_disk[] = "/dev/mmcblk0";

int cboot_disk_probe(const char *root, struct cboot_disk *ret_disk, struct ota_err *err)
{
	struct cboot_disk d = {0};
	struct root_disk disk;
	int r = root_disk_find(root, &disk, err);

	if (r < 0)
		return r;
	if (disk.number < 1 || disk.number > NVBOOTCTRL_N_SLOTS)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"The root file system is on partition %u of %s, but the slots of a Jetson "
			"are partitions 1 and 2",
			disk.number, disk.device);
	d.active = disk.number - 1;
	d.external = strncmp(disk.device, internal_disk, strlen(internal_disk)) != 0;
	for (unsigned s = 0; s < NVBOOTCTRL_N_SLOTS && r == 0; s++) {
		r = root_disk_part(&disk, s + 1, &d.slot[s], err);
		if (r == 0 && !d.slot[s].part_uuid[0])
			r = ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
				"Partition %u of %s has no PARTUUID, by which the kernel finds its "
				"root",
				s + 1, disk.device);
		if (d.external)
			snprintf(d.boot[s], sizeof(d.boot[s]), "%sp%u", internal_disk, s + 1);
	}
	if (r < 0)
		return r;
	*ret_disk = d;
	return 0;
}
