/*
 * slots_checks: are the two slots fit for each other, and can the other one be written?
 *
 * The device is read, never claimed: even a short claim could make somebody else's mount fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "common/base/cleanup.h"
#include "common/base/mount.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/doctor/ext4_super.h"
#include "otaclient/slot/device_user.h"

enum {
	EMPTY_FS_PCT = 94,       /* of a device, what a new ext4 gives to files */
	BYTES_PER_INODE = 16384, /* of a new ext4 */
	SAME_SIZE_PCT = 99,      /* partitions are cut at whole cylinders, erase blocks or MiB */
	SPARE_PCT = 110,         /* the next image is a little larger than this one */
	SMALL_INODE_BYTES = 128,
	SWAPS_MAX_BYTES = 64 * 1024,
};

static const uint64_t mb = 1000 * 1000;

/* --- devices --- */

static int device_open(const char *device, struct finding *ret)
{
	int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		finding_failure(ret, "Look for the device in the kernel's log",
			"Cannot open %s: %s", device, strerror(errno));
	return fd;
}

/* A file stands for a device in tests. */
static bool device_size(const char *device, uint64_t *ret_bytes, struct finding *ret)
{
	AUTO_CLOSE int fd = device_open(device, ret);
	struct stat st;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*ret_bytes = (uint64_t)st.st_size;
		return true;
	}
	if (ioctl(fd, BLKGETSIZE64, ret_bytes) == 0)
		return true;
	finding_failure(ret, NULL, "%s is no block device", device);
	return false;
}

/* As ext4_super_parse(), and -EIO after a finding. */
static int read_super(const char *device, struct ext4_super *ret_super, struct finding *ret)
{
	AUTO_CLOSE int fd = device_open(device, ret);
	uint8_t sb[EXT4_SUPER_BYTES];
	ssize_t n;

	if (fd < 0)
		return -EIO;
	n = pread(fd, sb, sizeof(sb), EXT4_SUPER_OFFSET);
	if (n < 0) {
		finding_failure(ret, "Look for errors of the disk in the kernel's log",
			"%s cannot be read: %s", device, strerror(errno));
		return -EIO;
	}
	return ext4_super_parse(sb, (size_t)n, ret_super);
}

/* --- checks --- */

void check_slot_sizes(struct machine *m, struct finding *ret)
{
	uint64_t active, standby;

	if (!machine_knows_slots(m, ret) || !device_size(m->slots.active.device, &active, ret) ||
		!device_size(m->slots.standby.device, &standby, ret))
		return;
	if (MIN_OF(active, standby) < MAX_OF(active, standby) / 100 * SAME_SIZE_PCT)
		finding_warning(ret, "Make them equal, or keep images below the smaller one",
			"The slots are not equal: %s has %" PRIu64 " MB, %s %" PRIu64 " MB",
			m->slots.active.device, active / mb, m->slots.standby.device, standby / mb);
	else
		finding_ok(ret, "Both slots have %" PRIu64 " MB", standby / mb);
}

static void judge_foreign(const char *device, struct finding *ret)
{
	AUTO_BUF struct buf type = {0};
	int r = mount_find_type(device, &type, NULL);

	if (r == -ENOENT)
		finding_ok(ret, "%s holds no file system: the first update makes one", device);
	else if (r < 0)
		finding_warning(ret, "Make sure that nobody needs it: the first update destroys it",
			"What %s holds is not known", device);
	else
		finding_warning(ret, "Make sure that nobody needs it: the first update destroys it",
			"%s holds no ext4 but %s", device, buf_str(&type));
}

void check_standby_fs(struct machine *m, struct finding *ret)
{
	const char *device = m->slots.standby.device;
	struct ext4_super s;
	int r;

	if (!machine_knows_slots(m, ret))
		return;
	r = read_super(device, &s, ret);
	if (r == -EIO)
		return;
	if (r < 0)
		judge_foreign(device, ret);
	else if (!s.is_ext4)
		finding_warning(ret, "tune2fs -O extents, or leave it: it works, but slower",
			"%s holds an ext4 without extents, or an ext2 or ext3", device);
	else if (s.inode_bytes <= SMALL_INODE_BYTES)
		finding_warning(ret, "mkfs.ext4 -I 256, if that matters",
			"%s has inodes of %u bytes, so times of files are kept in whole seconds",
			device, s.inode_bytes);
	else
		finding_ok(ret, "%s holds an ext4%s%s", device,
			m->slots.standby.fs_label[0] ? " with the label " : "",
			m->slots.standby.fs_label);
}

void check_standby_state(struct machine *m, struct finding *ret)
{
	const char *device = m->slots.standby.device;
	struct ext4_super s;
	int r;

	if (!machine_knows_slots(m, ret))
		return;
	r = read_super(device, &s, ret);
	if (r == -EIO)
		return;
	if (r < 0)
		finding_ok(ret, "%s will be made anew", device);
	else if (s.has_errors)
		finding_warning(ret,
			"Look for errors of the disk in the kernel's log; an update checks it "
			"first, "
			"and makes it anew if it cannot be mended",
			"The file system on %s has errors", device);
	else if (!s.clean && !s.needs_recover)
		finding_warning(ret, "e2fsck, or leave it: an update checks it first",
			"The file system on %s was not unmounted as it should be", device);
	else
		finding_ok(ret, "The file system on %s is clean%s", device,
			s.needs_recover ? ", once its journal is replayed" : "");
}

void check_slot_ids(struct machine *m, struct finding *ret)
{
	const struct boot_slot *a = &m->slots.active, *b = &m->slots.standby;

	if (!machine_knows_slots(m, ret))
		return;
	if (a->fs_uuid[0] && strcmp(a->fs_uuid, b->fs_uuid) == 0)
		finding_failure(ret, "Give the other slot's another one: tune2fs -U random",
			"The file systems on %s and %s have the same UUID, %s", a->device,
			b->device, a->fs_uuid);
	else if (a->fs_label[0] && strcmp(a->fs_label, b->fs_label) == 0)
		finding_warning(ret,
			"Make sure that nothing is found by it, such as / in /etc/fstab",
			"The file systems on %s and %s have the same label, %s", a->device,
			b->device, a->fs_label);
	else
		finding_ok(ret, "The slots' file systems have their own UUIDs");
}

/* Device mapper, RAID and the like. */
static void find_stacked(const struct machine *m, dev_t dev, struct finding *ret)
{
	char path[PATH_MAX], full[PATH_MAX];
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
	dir = opendir(machine_path(m, path, full));
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			finding_failure(ret, "Take it out of there", "%s is a part of %s",
				m->slots.standby.device, e->d_name);
}

static void find_swap(const struct machine *m, struct finding *ret)
{
	const char *device = m->slots.standby.device, *p;
	AUTO_BUF struct buf swaps = {0};
	size_t len = strlen(device);

	if (machine_read(m, "/proc/swaps", SWAPS_MAX_BYTES, &swaps) < 0)
		return;
	for (p = buf_str(&swaps); (p = strstr(p, device)); p += len)
		if ((p == swaps.data || p[-1] == '\n') && (p[len] == ' ' || p[len] == '\t'))
			finding_failure(ret, "swapoff, and take it out of /etc/fstab",
				"%s is in use as swap space", device);
}

static void find_mount(const char *device, dev_t dev, struct finding *ret)
{
	static const char own[] = "otaclient (process ";
	AUTO_BUF struct buf holder = {0};

	if (device_user_find(dev, &holder) < 0) {
		finding_not_looked(ret, "Who has %s mounted is not known", device);
		return;
	}
	if (holder.len_bytes == 0)
		return;
	if (strncmp(buf_str(&holder), own, strlen(own)) == 0)
		finding_ok(ret, "otaclient works on %s", device);
	else if (strstr(buf_str(&holder), ", used by "))
		finding_failure(ret, "End the process: an update must unmount it",
			"%s is in use: %s", device, buf_str(&holder));
	else
		finding_warning(ret,
			"Unmount it, and take it out of /etc/fstab; an update does try to",
			"%s is in use: %s", device, buf_str(&holder));
}

void check_standby_use(struct machine *m, struct finding *ret)
{
	const char *device = m->slots.standby.device;
	struct stat st, root;

	if (!machine_knows_slots(m, ret))
		return;
	if (stat(device, &st) < 0) {
		finding_failure(ret, NULL, "Cannot look at %s: %s", device, strerror(errno));
		return;
	}
	if (machine_stat(m, "/", &root) == 0 && S_ISBLK(st.st_mode) && root.st_dev == st.st_rdev) {
		finding_failure(ret, NULL, "%s is where the running system is", device);
		return;
	}
	find_stacked(m, st.st_rdev, ret);
	find_swap(m, ret);
	if (S_ISBLK(st.st_mode))
		find_mount(device, st.st_rdev, ret);
	finding_ok(ret, "Nobody uses %s", device);
}

/* A file system of a system like the one that runs must fit, with some room to grow. */
static void compare_room(const char *device, const char *what, uint64_t room, uint64_t used,
	uint64_t unit, struct finding *ret)
{
	if (room < used)
		finding_failure(ret, "Make the slot larger, or the system smaller",
			"%s has room for %" PRIu64 " %s, but the running system has %" PRIu64,
			device, room / unit, what, used / unit);
	else if (room < used / 100 * SPARE_PCT)
		finding_warning(ret, "Make the slot larger: there is not much to grow",
			"%s has room for %" PRIu64 " %s, and the running system has %" PRIu64,
			device, room / unit, what, used / unit);
}

void check_standby_room(struct machine *m, struct finding *ret)
{
	const char *device = m->slots.standby.device;
	uint64_t size, n_inodes;
	char path[PATH_MAX];
	struct ext4_super s;
	struct statvfs v;
	int r;

	if (!machine_knows_slots(m, ret) || !device_size(device, &size, ret))
		return;
	r = read_super(device, &s, ret);
	if (r == -EIO)
		return;
	if (statvfs(machine_path(m, "/", path), &v) < 0) {
		finding_not_looked(
			ret, "How much the running system takes is not known: %s", strerror(errno));
		return;
	}
	n_inodes = size / BYTES_PER_INODE;
	if (r == 0) {
		size = MIN_OF(size, s.size_bytes);
		n_inodes = s.n_inodes;
	}
	size = size / 100 * EMPTY_FS_PCT;
	compare_room(device, "MB", size, (uint64_t)(v.f_blocks - v.f_bfree) * v.f_frsize, mb, ret);
	if (v.f_files > 0)
		compare_room(device, "files", n_inodes, v.f_files - v.f_ffree, 1, ret);
	finding_ok(ret, "%s has room for %" PRIu64 " MB in %" PRIu64 " files", device, size / mb,
		n_inodes);
}
