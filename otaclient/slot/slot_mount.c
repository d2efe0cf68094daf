/*
 * slot_mount: claiming, checking and mounting the slots. Contract: slot_mount.h.
 *
 * The mounts stand in the daemon's own mount namespace (main) and are private: nothing else sees or
 * holds them. That is also why a slot that somebody has mounted may have to be unmounted elsewhere.
 */
#include "otaclient/slot/slot_mount.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/base/mount.h"
#include "common/base/path.h"
#include "common/base/run.h"
#include "otaclient/slot/device_user.h"
#include "otaclient/slot/fs_state.h"

enum {
	FSCK_TIMEOUT_MS = 15 * 60 * 1000, /* a full check of a large slot on slow flash */
	MKFS_TIMEOUT_MS = 5 * 60 * 1000,
	/* exit status bits of e2fsck(8) */
	FSCK_CORRECTED = 1,
	FSCK_DAMAGED = 4,
	FSCK_REBOOT = 2, /* only matters for a mounted file system */
	/* What an empty ext4 gives to files, of the device's size: the rest is inode tables and
	   journal. */
	EMPTY_FS_PCT = 94,
	BYTES_PER_INODE = 16384, /* mkfs.ext4's default */
	/* ext4's superblock: where it is, and where in it these fields are */
	SB_OFFSET = 1024,
	SB_BYTES = 1024,
	SB_REVISION = 76,
	SB_INODE_SIZE = 88,
	SMALL_INODE_BYTES = 128,
};

void slot_mount_init(struct slot_mount *m)
{
	memset(m, 0, sizeof(*m));
	m->active_fd = m->standby_fd = m->held_fd = -1;
}

static int make_dir_path(const char *path)
{
	char part[PATH_MAX];

	for (const char *p = path + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
		if (*p == '\0')
			return 0;
	}
}

static int check_device(
	const char *device, const char *active_root, struct stat *ret_device, struct ota_err *err)
{
	struct stat active;

	if (stat(device, ret_device) < 0 || !S_ISBLK(ret_device->st_mode))
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
			"The standby slot %s is no block device", device);
	/* A root cannot be unmounted, it only becomes read-only. */
	if (stat(active_root, &active) < 0 || active.st_dev == ret_device->st_rdev)
		return ota_err_set(err, -EBUSY, OTA_E_UNSPECIFIC,
			"The standby slot %s is where the running system is", device);
	return 0;
}

/* Open the device for us alone. Unmounts it where we can see it. */
static int take_device(
	const char *device, const char *active_root, int *ret_fd, struct ota_err *err)
{
	AUTO_BUF struct buf point = {0};
	AUTO_BUF struct buf holder = {0};
	struct stat st;
	int r = check_device(device, active_root, &st, err);

	if (r < 0)
		return r;
	for (int tries = 0; tries < 8; tries++) {
		AUTO_CLOSE int fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC);

		if (fd >= 0) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
		if (errno != EBUSY)
			return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
				"Cannot open the standby slot %s: %s", device, strerror(errno));
		buf_done(&point);
		if (mount_point_of(st.st_rdev, &point, NULL) == 0
				? mount_undo(buf_str(&point), false, NULL) < 0
				: mount_undo_at_init(st.st_rdev) < 0)
			break;
	}
	if (device_user_find(st.st_rdev, &holder) < 0 || holder.len_bytes == 0)
		return ota_err_set(err, -EBUSY, OTA_E_UNSPECIFIC,
			"The standby slot %s is in use by something that cannot be seen from here",
			device);
	return ota_err_set(err, -EBUSY, OTA_E_UNSPECIFIC, "The standby slot %s is in use: %s",
		device, buf_str(&holder));
}

static int run_fsck(
	const struct slot_mount *m, const char *how, int *ret_status, struct ota_err *err)
{
	const char *const argv[] = {"e2fsck", how, m->standby.device, NULL};

	return run_tool(
		&(struct run_args){
			.argv = argv,
			.timeout_ms = FSCK_TIMEOUT_MS,
			.ret_status = ret_status,
			.stop = m->stop,
			.stop_ctx = m->stop_ctx,
		},
		err);
}

/* Does it hold an ext4 file system that is, or could be made, whole? -ECANCELED: nobody wants to know. */
static int check_fs(struct slot_mount *m)
{
	const char *device = m->standby.device;
	struct ota_err why = {0};
	int status = -1;
	int r = run_fsck(m, "-p", &status, &why);

	if (r == -ECANCELED)
		return r;
	if (r < 0)
		log_warning("The standby slot cannot be checked: %s", why.msg);
	else if (status & ~(FSCK_CORRECTED | FSCK_REBOOT))
		log_info("The standby slot %s holds no file system that can be kept (e2fsck ended "
			 "with %d)",
			device, status);
	else
		m->usable = true;
	return 0;
}

/*
 * Small inodes have no place for what is finer than a second, and the system takes finer times without
 * a word. Reading goes through the superblock: statvfs does not tell.
 */
static void warn_of_small_inodes(const char *device)
{
	uint8_t sb[SB_BYTES];
	AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, sb, sizeof(sb), SB_OFFSET) != (ssize_t)sizeof(sb))
		return;
	/* Revision 0 has inodes of 128 bytes and does not say so. */
	if (sb[SB_REVISION] > 0 &&
		(sb[SB_INODE_SIZE] | sb[SB_INODE_SIZE + 1] << 8) > SMALL_INODE_BYTES)
		return;
	log_warning(
		"The standby slot %s has inodes of %d bytes, so times of files are kept in whole "
		"seconds only",
		device, SMALL_INODE_BYTES);
}

static int open_root(const char *dir, struct ota_err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return ota_err_set(
			err, -errno, OTA_E_UNSPECIFIC, "Cannot open %s: %s", dir, strerror(errno));
	return fd;
}

static int mount_standby(
	struct slot_mount *m, unsigned long flags, const char *data, struct ota_err *err)
{
	int r = mount_private(m->standby.device, m->standby_dir, "ext4",
		MS_NODEV | MS_NOSUID | MS_NOATIME | flags, data, err);

	if (r < 0)
		return r;
	m->standby_fd = open_root(m->standby_dir, err);
	return m->standby_fd < 0 ? m->standby_fd : 0;
}

static int unmount_standby(struct slot_mount *m, struct ota_err *err)
{
	closep(&m->standby_fd);
	m->standby_fd = -1;
	return mount_undo(m->standby_dir, false, err);
}

static int prepare_points(struct slot_mount *m, const char *run_dir, struct ota_err *err)
{
	int r;

	snprintf(m->active_dir, sizeof(m->active_dir), "%s/mnt/active_slot", run_dir);
	snprintf(m->standby_dir, sizeof(m->standby_dir), "%s/mnt/standby_slot", run_dir);
	r = make_dir_path(m->active_dir);
	if (r == 0)
		r = make_dir_path(m->standby_dir);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot make the mount points in %s: %s", run_dir, strerror(-r));
	/* What an earlier run that was killed has left. */
	r = mount_undo(m->active_dir, true, err);
	return r < 0 ? r : mount_undo(m->standby_dir, true, err);
}

static int bind_active(struct slot_mount *m, const char *active_root, struct ota_err *err)
{
	int r = mount_private(active_root, m->active_dir, NULL,
		MS_BIND | MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOATIME, NULL, err);

	if (r < 0)
		return r;
	m->active_fd = open_root(m->active_dir, err);
	return m->active_fd < 0 ? m->active_fd : 0;
}

int slot_mount_claim(struct slot_mount *m, const struct boot_slot *standby, const char *active_root,
	const char *run_dir, struct ota_err *err)
{
	struct ota_err why = {0};
	int device_fd = -1;
	int r;

	m->standby = *standby;
	r = prepare_points(m, run_dir, err);
	if (r == 0)
		r = take_device(m->standby.device, active_root, &device_fd, err);
	if (r < 0)
		return r;
	close(device_fd); /* or we could not mount it, either */
	r = bind_active(m, active_root, err);
	if (r == 0)
		r = check_fs(m);
	if (r < 0)
		return r;
	if (m->usable && mount_standby(m, MS_RDONLY, MOUNT_EXT4_TO_LOOK, &why) < 0) {
		log_warning("The standby slot will be made anew: %s", why.msg);
		m->usable = false;
	}
	return 0;
}

int slot_mount_look(struct slot_mount *m, const struct boot_slot *standby, const char *active_root,
	const char *run_dir, struct ota_err *err)
{
	struct ota_err why = {0};
	struct fs_state fs;
	struct stat st;
	int r;

	m->standby = *standby;
	r = prepare_points(m, run_dir, err);
	if (r == 0)
		r = check_device(m->standby.device, active_root, &st, err);
	if (r == 0)
		r = bind_active(m, active_root, err);
	if (r < 0)
		return r;
	if (fs_state_read(m->standby.device, &fs) < 0 || !fs.closed)
		return 0;
	m->usable = mount_standby(m, MS_RDONLY | MS_NOEXEC, MOUNT_EXT4_TO_LOOK, &why) == 0;
	if (!m->usable)
		log_info("The standby slot is not looked at: %s", why.msg);
	return 0;
}

int slot_mount_peek(struct slot_mount *m, const struct boot_slot *standby, const char *run_dir,
	struct ota_err *err)
{
	int r;

	m->standby = *standby;
	r = prepare_points(m, run_dir, err);
	return r < 0 ? r : mount_standby(m, MS_RDONLY | MS_NOEXEC, MOUNT_EXT4_TO_LOOK, err);
}

bool slot_mount_is_in_place(const struct slot_mount *m)
{
	struct stat mounted, there;

	return fstat(m->standby_fd, &mounted) == 0 && stat(m->standby_dir, &there) == 0 &&
	       mounted.st_dev == there.st_dev && mounted.st_ino == there.st_ino;
}

bool slot_mount_owns_status(const struct slot_mount *m)
{
	const char *dir = m->standby.status_dir;
	AUTO_CLOSE int fd = -1;

	if (!path_is_below(dir, m->standby_dir))
		return false;
	fd = path_open(m->standby_fd, dir + strlen(m->standby_dir), O_PATH | O_DIRECTORY, 0);
	return fd >= 0 || fd == -ENOENT;
}

int slot_mount_hold(struct slot_mount *m, const struct boot_slot *standby, const char *active_root,
	struct ota_err *err)
{
	m->standby = *standby;
	return take_device(m->standby.device, active_root, &m->held_fd, err);
}

static int device_size(const char *device, uint64_t *ret_bytes)
{
	AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, ret_bytes) < 0)
		return -errno;
	return 0;
}

int slot_mount_space(const struct slot_mount *m, struct slot_space *ret_space, struct ota_err *err)
{
	struct statvfs v;
	uint64_t size = 0;
	int r;

	if (m->standby_fd < 0) {
		r = device_size(m->standby.device, &size);
		if (r < 0)
			return ota_err_set(err, r, OTA_E_UNSPECIFIC,
				"Cannot ask for the size of %s: %s", m->standby.device,
				strerror(-r));
		*ret_space = (struct slot_space){
			.free_bytes = size / 100 * EMPTY_FS_PCT,
			.total_bytes = size / 100 * EMPTY_FS_PCT,
			.free_inodes = size / BYTES_PER_INODE,
			.total_inodes = size / BYTES_PER_INODE,
		};
		return 0;
	}
	if (fstatvfs(m->standby_fd, &v) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot ask for the room on %s: %s", m->standby.device, strerror(errno));
	/* We write as root, so the blocks reserved for root count. */
	*ret_space = (struct slot_space){
		.free_bytes = (uint64_t)v.f_bfree * v.f_frsize,
		.total_bytes = (uint64_t)v.f_blocks * v.f_frsize,
		.free_inodes = v.f_ffree,
		.total_inodes = v.f_files,
	};
	return 0;
}

static bool is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(form); i++)
		if (form[i] == 'x' ? !isxdigit((unsigned char)text[i]) : text[i] != form[i])
			return false;
	return true;
}

/*
 * A slot that never held a file system, or one that goes by another kind of id, gets a UUID of its own;
 * the boot controller asks the device for it later.
 */
static void make_uuid(char ret_uuid[BOOT_UUID_MAX])
{
	uint8_t u[16];
	char hex[2 * sizeof(u) + 1];

	clock_random(u, sizeof(u));
	u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
	u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
	hex_encode(u, sizeof(u), hex);
	snprintf(ret_uuid, BOOT_UUID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
		hex + 16, hex + 20);
}

static int make_fs(struct slot_mount *m, struct ota_err *err)
{
	const char *argv[] = {"mkfs.ext4", "-q", "-F", "-U", m->standby.fs_uuid, "-L",
		m->standby.fs_label, "-E", "lazy_itable_init=1,lazy_journal_init=1",
		m->standby.device, NULL};
	int r = io_point("make the standby file system");

	if (r < 0)
		return r;
	if (!is_uuid(m->standby.fs_uuid))
		make_uuid(m->standby.fs_uuid);
	r = run_tool(
		&(struct run_args){
			.argv = argv,
			.timeout_ms = MKFS_TIMEOUT_MS,
			.stop = m->stop,
			.stop_ctx = m->stop_ctx,
		},
		err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot make a file system on the standby slot");
	return 0;
}

int slot_mount_make_writable(struct slot_mount *m, bool rebuild, struct ota_err *err)
{
	int r = unmount_standby(m, err);

	if (r == 0 && rebuild)
		r = make_fs(m, err);
	if (r == 0)
		r = mount_standby(m, 0, "errors=remount-ro", err);
	/* A feature that this kernel can read but not write, as quotas: a new file system has none. */
	if (r == -EINVAL || r == -EROFS)
		return rebuild ? r : -EUCLEAN;
	if (r < 0)
		return r;
	warn_of_small_inodes(m->standby.device);
	m->usable = true;
	return 0;
}

static int sync_device(const struct slot_mount *m, struct ota_err *err)
{
	AUTO_CLOSE int fd = open(m->standby.device, O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? -errno : io_sync_file("sync the standby device", fd);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write %s to the disk: %s",
			m->standby.device, strerror(-r));
	return 0;
}

int slot_mount_close_standby(struct slot_mount *m, struct ota_err *err)
{
	int r;

	if (m->standby_fd < 0)
		return 0;
	/* The descriptor is as old as the mount, so it reports every write error that happened
	 * since. */
	r = io_sync_fs("sync the standby slot", m->standby_fd);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot write the standby slot to the disk: %s", strerror(-r));
	r = unmount_standby(m, err);
	return r < 0 ? r : sync_device(m, err);
}

int slot_mount_look_again(struct slot_mount *m, struct ota_err *err)
{
	struct ota_err why = {0};
	int status = -1;
	/* Without mending: to take a name away that leads nowhere would be mending, too. */
	int r = run_fsck(m, "-fn", &status, err);

	if (r < 0)
		return r;
	/* Or the next update would end here, too: nobody looks at all of a file system before. */
	if (status & FSCK_DAMAGED && make_fs(m, &why) < 0)
		log_warning("%s", why.msg);
	if (status != 0)
		return ota_err_set(err, -EUCLEAN, OTA_E_UNSPECIFIC,
			"The standby slot does not keep what is written to it: its file system is "
			"damaged (e2fsck ended with %d)",
			status);
	return mount_standby(m, MS_RDONLY, MOUNT_EXT4_TO_LOOK, err);
}

/* The kernel writes to the superblock when it mounts and was asked not to write: what it has last written, and when. */
int slot_mount_end_look(struct slot_mount *m, struct ota_err *err)
{
	int r = unmount_standby(m, err);

	return r < 0 ? r : sync_device(m, err);
}

void slot_mount_done(struct slot_mount *m)
{
	closep(&m->active_fd);
	closep(&m->standby_fd);
	closep(&m->held_fd);
	m->active_fd = m->standby_fd = m->held_fd = -1;
	if (m->standby_dir[0])
		mount_undo(m->standby_dir, true, NULL);
	if (m->active_dir[0])
		mount_undo(m->active_dir, true, NULL);
}
