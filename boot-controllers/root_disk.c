/*
 * root_disk: the disk of a root file system. Contract: root_disk.h.
 */
#include "boot-controllers/root_disk.h"

#include <blkid/blkid.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/mount.h"

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
int disk_part_probe_fs(struct disk_part *part, struct ota_err *err)
{
	AUTO_PROBE blkid_probe p = blkid_new_probe_from_filename(part->device);

	if (!p)
		return ota_err_set(err, errno ? -errno : -EIO, OTA_E_BOOTCONTROL_STARTUP,
			"Cannot open %s: %s", part->device, strerror(errno));
	blkid_probe_enable_superblocks(p, 1);
	blkid_probe_set_superblocks_flags(
		p, BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
	part->fs_uuid[0] = part->fs_label[0] = '\0';
	/*
	 * Nothing found, several things, or what cannot be read: no file system that we could use.
	 * A new one may be what mends it, so that is not a reason to do without the slot.
	 */
	if (blkid_do_safeprobe(p) != 0)
		return 0;
	probe_value(p, "UUID", part->fs_uuid);
	probe_value(p, "LABEL", part->fs_label);
	return 0;
}

/* The table's own name for a partition, which a kernel line can say without an initrd. */
static void probe_part_uuid(const struct root_disk *disk, struct disk_part *part)
{
	AUTO_PROBE blkid_probe p = blkid_new_probe_from_filename(disk->device);
	blkid_partlist list = p ? blkid_probe_get_partitions(p) : NULL;
	blkid_partition found =
		list ? blkid_partlist_get_partition_by_partno(list, (int)part->number) : NULL;
	const char *uuid = found ? blkid_partition_get_uuid(found) : NULL;

	snprintf(part->part_uuid, sizeof(part->part_uuid), "%s", uuid ? uuid : "");
	for (char *c = part->part_uuid; *c; c++)
		*c = (char)tolower((unsigned char)*c);
}

int root_disk_part(const struct root_disk *disk, unsigned number, struct disk_part *ret_part,
	struct ota_err *err)
{
	AUTO_FREE char *name = NULL;
	struct disk_part part = {.number = number};
	dev_t dev = 0;
	int r = partition_devno(disk->dev, number, &dev);

	if (r < 0)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"The disk %s has no partition %u, which two slots need", disk->device,
			number);
	name = blkid_devno_to_devname(dev);
	if (!name || strlen(name) >= sizeof(part.device))
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"Partition %u of %s has no device file", number, disk->device);
	snprintf(part.device, sizeof(part.device), "%s", name);
	r = disk_part_probe_fs(&part, err);
	if (r < 0)
		return r;
	probe_part_uuid(disk, &part);
	*ret_part = part;
	return 0;
}

int root_disk_find(const char *root, struct root_disk *ret_disk, struct ota_err *err)
{
	AUTO_FREE char *disk_device = NULL, *root_device = NULL;
	struct root_disk d = {0};
	dev_t dev = 0;
	int r = root_devno(root, &dev, err);

	if (r < 0)
		return r;
	root_device = blkid_devno_to_devname(dev);
	if (sys_number(dev, "partition", &d.number) < 0 ||
		blkid_devno_to_wholedisk(dev, NULL, 0, &d.dev) < 0 ||
		!(disk_device = blkid_devno_to_devname(d.dev)) ||
		strlen(disk_device) >= sizeof(d.device))
		return no_partition(err, root_device ? root_device : "a device without a name");
	snprintf(d.device, sizeof(d.device), "%s", disk_device);
	*ret_disk = d;
	return 0;
}
