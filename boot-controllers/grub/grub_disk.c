/*
 * grub_disk: recognise the partition layout. Contract: grub_disk.h.
 */
#include "boot-controllers/grub/grub_disk.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/mount.h"

static const char esp_type[] = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

enum {
	SYS_NUMBER_MAX_BYTES = 64,
};

static void probe_freep(blkid_probe *p)
{
	if (*p)
		blkid_free_probe(*p);
}

#define AUTO_PROBE CLEANUP(probe_freep)

static int no_partition(struct ota_err *err, const char *device)
{
	return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
		"The root file system is on %s, which is no partition of a disk", device);
}

/* The block device that @root is on. btrfs and others hide it behind a number of their own. */
static int root_devno(const char *root, dev_t *ret_dev, struct ota_err *err)
{
	AUTO_BUF struct buf source = {0};
	struct stat st;
	int r;

	if (stat(root, &st) < 0)
		return ota_err_set(err, -errno, OTA_E_BOOTCONTROL_STARTUP, "Cannot look at %s: %s",
			root, strerror(errno));
	if (major(st.st_dev) != 0) {
		*ret_dev = st.st_dev;
		return 0;
	}
	r = mount_source_of(root, &source, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot find the device of %s", root);
	if (stat(buf_str(&source), &st) < 0 || !S_ISBLK(st.st_mode))
		return no_partition(err, buf_str(&source));
	*ret_dev = st.st_rdev;
	return 0;
}

/* A number from /sys/dev/block/<major:minor>/@name. */
static int sys_number(dev_t dev, const char *name, unsigned *ret)
{
	AUTO_BUF struct buf b = {0};
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev), minor(dev), name);
	r = file_read(AT_FDCWD, path, SYS_NUMBER_MAX_BYTES, &b);
	if (r < 0)
		return r;
	return sscanf(buf_str(&b), "%u", ret) == 1 ? 0 : -EBADMSG;
}

/* The device number of partition @number of a whole disk. -ENOENT: it has no such partition. */
static int partition_devno(dev_t disk, unsigned number, dev_t *ret_dev)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	char path[64];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(disk), minor(disk));
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		AUTO_BUF struct buf n = {0}, dev = {0};
		char name[NAME_MAX + 16];
		unsigned ma, mi;

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/partition", e->d_name);
		if (file_read(dirfd(dir), name, SYS_NUMBER_MAX_BYTES, &n) < 0 ||
			strtoul(buf_str(&n), NULL, 10) != number)
			continue;
		snprintf(name, sizeof(name), "%s/dev", e->d_name);
		if (file_read(dirfd(dir), name, SYS_NUMBER_MAX_BYTES, &dev) < 0 ||
			sscanf(buf_str(&dev), "%u:%u", &ma, &mi) != 2)
			return -EBADMSG;
		*ret_dev = makedev(ma, mi);
		return 0;
	}
	return -ENOENT;
}

static void probe_value(blkid_probe p, const char *name, char ret[BOOT_UUID_MAX])
{
	const char *v = NULL;

	ret[0] = '\0';
	if (blkid_probe_lookup_value(p, name, &v, NULL) == 0 && strlen(v) < BOOT_UUID_MAX)
		memcpy(ret, v, strlen(v) + 1);
}

/* UUID and label as they are on the device, not as a cache remembers them. */
static int probe_fs(struct grub_part *part, struct ota_err *err)
{
	AUTO_PROBE blkid_probe p = blkid_new_probe_from_filename(part->device);

	if (!p)
		return ota_err_set(err, errno ? -errno : -EIO, OTA_E_BOOTCONTROL_STARTUP,
			"Cannot open %s: %s", part->device, strerror(errno));
	blkid_probe_enable_superblocks(p, 1);
	blkid_probe_set_superblocks_flags(
		p, BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
	/* 1: nothing found, -2: several things found; both are "no file system that we could use". */
	if (blkid_do_safeprobe(p) == -1)
		return ota_err_set(err, -EIO, OTA_E_BOOTCONTROL_STARTUP,
			"Cannot read the superblock of %s", part->device);
	probe_value(p, "UUID", part->fs_uuid);
	probe_value(p, "LABEL", part->fs_label);
	return 0;
}

static int find_part(dev_t disk, const char *disk_name, unsigned number, struct grub_part *ret,
	struct ota_err *err)
{
	AUTO_FREE char *name = NULL;
	dev_t dev = 0;
	int r = partition_devno(disk, number, &dev);

	if (r < 0)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"The disk %s has no partition %u, which two slots need", disk_name, number);
	name = blkid_devno_to_devname(dev);
	if (!name || strlen(name) >= sizeof(ret->device))
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"Partition %u of %s has no device file", number, disk_name);
	ret->number = number;
	snprintf(ret->device, sizeof(ret->device), "%s", name);
	return probe_fs(ret, err);
}

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
static int check_boot(const char *root, const struct grub_part *boot, struct ota_err *err)
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
	AUTO_FREE char *disk_device = NULL, *root_device = NULL;
	struct grub_disk d = {0};
	dev_t dev = 0, disk = 0;
	unsigned number = 0, first;
	int r = root_devno(root, &dev, err);

	if (r < 0)
		return r;
	root_device = blkid_devno_to_devname(dev);
	if (sys_number(dev, "partition", &number) < 0 ||
		blkid_devno_to_wholedisk(dev, NULL, 0, &disk) < 0 ||
		!(disk_device = blkid_devno_to_devname(disk)))
		return no_partition(err, root_device ? root_device : "a device without a name");
	r = has_esp(disk_device, &d.uefi, err);
	if (r < 0)
		return r;
	first = d.uefi ? 2 : 1; /* /boot; the slots follow */
	if (number != first + 1 && number != first + 2)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"The root file system is on partition %u of %s, but on a machine that "
			"boots by %s the "
			"slots are partitions %u and %u",
			number, disk_device, d.uefi ? "UEFI" : "BIOS", first + 1, first + 2);
	d.active = number == first + 1 ? GRUB_SLOT_A : GRUB_SLOT_B;
	r = find_part(disk, disk_device, first, &d.boot, err);
	if (r == 0 && d.uefi)
		r = find_part(disk, disk_device, 1, &d.esp, err);
	for (unsigned s = 0; s < GRUB_N_SLOTS && r == 0; s++)
		r = find_part(disk, disk_device, first + 1 + s, &d.slot[s], err);
	if (r == 0)
		r = check_boot(root, &d.boot, err);
	if (r < 0)
		return r;
	*ret_disk = d;
	return 0;
}

int grub_disk_refresh(const struct grub_disk *disk, struct grub_part *part, struct ota_err *err)
{
	return disk->described ? 0 : probe_fs(part, err);
}
