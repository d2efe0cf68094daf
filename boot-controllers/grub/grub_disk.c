/*
 * grub_disk: recognise the partition layout. Contract: grub_disk.h.
 */
#include "boot-controllers/grub/grub_disk.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"

static const char esp_type[] = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

static void probe_freep(blkid_probe *p)
{
	if (*p)
		blkid_free_probe(*p);
}

#define AUTO_PROBE CLEANUP(probe_freep)

static int has_esp(const char *disk_device, bool *ret, struct ota_err *err)
{
	AUTO_PROBE blkid_probe p = blkid_new_probe_from_filename(disk_device);
	blkid_partlist list = p ? blkid_probe_get_partitions(p) : NULL;
	blkid_partition first = list ? blkid_partlist_get_partition_by_partno(list, 1) : NULL;
	const char *type = first ? blkid_partition_get_type_string(first) : NULL;

	if (!list)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"Cannot read the partition table of %s", disk_device);
	*ret = type && strcasecmp(type, esp_type) == 0;
	return 0;
}

/* Is what is mounted on /boot the partition that should be? */
static int check_boot(const char *root, const struct disk_part *boot, struct ota_err *err)
{
	struct stat dir, dev;
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s/boot", strcmp(root, "/") == 0 ? "" : root) >=
		sizeof(path))
		return -ENAMETOOLONG;
	if (stat(path, &dir) < 0 || stat(boot->device, &dev) < 0)
		return ota_err_set(err, -errno, OTA_E_BOOTCONTROL_STARTUP, "Cannot look at %s: %s",
			path, strerror(errno));
	if (dir.st_dev != dev.st_rdev)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"%s is not the file system of %s, as it has to be for two slots", path,
			boot->device);
	return 0;
}

int grub_disk_probe(const char *root, struct grub_disk *ret_disk, struct ota_err *err)
{
	struct root_disk disk;
	struct grub_disk d = {0};
	unsigned first;
	int r = root_disk_find(root, &disk, err);

	if (r == 0)
		r = has_esp(disk.device, &d.uefi, err);
	if (r < 0)
		return r;
	first = d.uefi ? 2 : 1; /* /boot; the slots follow */
	if (disk.number != first + 1 && disk.number != first + 2)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"The root file system is on partition %u of %s, but on a machine that "
			"boots by %s the "
			"slots are partitions %u and %u",
			disk.number, disk.device, d.uefi ? "UEFI" : "BIOS", first + 1, first + 2);
	d.active = disk.number == first + 1 ? GRUB_SLOT_A : GRUB_SLOT_B;
	r = root_disk_part(&disk, first, &d.boot, err);
	if (r == 0 && d.uefi)
		r = root_disk_part(&disk, 1, &d.esp, err);
	for (unsigned s = 0; s < GRUB_N_SLOTS && r == 0; s++)
		r = root_disk_part(&disk, first + 1 + s, &d.slot[s], err);
	if (r == 0)
		r = check_boot(root, &d.boot, err);
	if (r < 0)
		return r;
	*ret_disk = d;
	return 0;
}

int grub_disk_refresh(const struct grub_disk *disk, struct disk_part *part, struct ota_err *err)
{
	return disk->described ? 0 : disk_part_probe_fs(part, err);
}
