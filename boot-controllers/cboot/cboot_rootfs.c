/*
 * cboot_rootfs: files of a slot that CBoot boots. Contract: cboot_rootfs.h.
 *
 * Nothing that is written here is read before the flip: the standby's partitions are not the active ones.
 */
#include "boot-controllers/cboot/cboot_rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "boot-controllers/boot_tree.h"
#include "boot-controllers/cboot/extlinux.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/mount.h"
#include "common/base/path.h"

static const char extlinux_path[] = "/boot/extlinux/extlinux.conf";

int cboot_rootfs_read(int root_fd, const char *path, size_t max_bytes, struct buf *ret)
{
	AUTO_CLOSE int fd = path_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? file_read_fd(fd, max_bytes, ret) : -ENOENT;
}

/* The menu to start from: the image's, or the running system's. */
static int read_menu(const struct cboot_ctl *ctl, int root_fd, struct buf *ret, struct ota_err *err)
{
	const char *whose = "image";
	int r = cboot_rootfs_read(root_fd, extlinux_path, EXTLINUX_MAX_BYTES, ret);

	if (r == -ENOENT) {
		whose = "running system";
		r = cboot_rootfs_read(ctl->root_fd, extlinux_path, EXTLINUX_MAX_BYTES, ret);
	}
	if (r == -ENOENT)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Neither the image nor the running system has %s", extlinux_path);
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read the %s's %s: %s", whose,
			       extlinux_path, file_read_why(r))
		     : 0;
}

/* A file that the entry names; CBoot follows links inside the root. */
static int check_named(int root_fd, const char *label, const char *path, struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (!path[0])
		return 0;
	fd = path_open_in_root(root_fd, path, O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
			"The entry \"%.64s\" boots \"%.128s\", which the image does not have",
			label, path);
	return 0;
}

/* Would CBoot boot this root by what the menu says? */
static int check_menu(int root_fd, const struct buf *menu, struct ota_err *err)
{
	struct extlinux_entry entry;
	int r = extlinux_read(buf_str(menu), menu->len_bytes, &entry, err);

	if (r < 0)
		return ota_err_wrap(err, r, "%s is unusable", extlinux_path);
	if (!entry.kernel[0])
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"%s is unusable: Its default entry, \"%.64s\", has no kernel",
			extlinux_path, entry.label);
	r = check_named(root_fd, entry.label, entry.kernel, err);
	return r < 0 ? r : check_named(root_fd, entry.label, entry.initrd, err);
}

static int write_menu(int root_fd, const struct buf *menu, struct ota_err *err)
{
	AUTO_CLOSE int dir_fd =
		cboot_open_dir(root_fd, "/boot", "extlinux", "make the folder of extlinux.conf");
	AUTO_BUF struct buf old = {0};
	int r = dir_fd < 0 ? dir_fd : 0;

	if (r == 0 && cboot_rootfs_read(dir_fd, "extlinux.conf", EXTLINUX_MAX_BYTES, &old) == 0 &&
		old.len_bytes == menu->len_bytes &&
		memcmp(buf_str(&old), buf_str(menu), old.len_bytes) == 0)
		return 0;
	if (r == 0)
		r = io_replace_file("replace extlinux.conf", dir_fd, "extlinux.conf", buf_str(menu),
			menu->len_bytes, 0644);
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write the slot's menu %s: %s",
			       extlinux_path, strerror(-r))
		     : 0;
}

int cboot_rootfs_set_extlinux(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err)
{
	const char *part_uuid = ctl->disk.slot[cboot_standby(ctl)].part_uuid;
	AUTO_BUF struct buf found = {0}, menu = {0};
	int r = read_menu(ctl, root_fd, &found, err);

	if (r < 0)
		return r;
	r = extlinux_set_root(buf_str(&found), found.len_bytes, part_uuid, &menu, err);
	if (r < 0)
		return ota_err_wrap(err, r, "%s is unusable", extlinux_path);
	r = check_menu(root_fd, &menu, err);
	return r < 0 ? r : write_menu(root_fd, &menu, err);
}

int cboot_rootfs_mirror_config(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err)
{
	AUTO_CLOSE int from = path_open(ctl->root_fd, "/boot/ota", O_RDONLY | O_DIRECTORY, 0);
	AUTO_CLOSE int to = -1;
	int r = from < 0 ? from : 0;

	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		to = cboot_open_dir(root_fd, "/boot", "ota", "make /boot/ota");
		r = to < 0 ? to : boot_tree_mirror("copy /boot/ota", from, to);
	}
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "Cannot copy /boot/ota to the slot: %s", strerror(-r))
		     : 0;
}

/* Take what the new system has to CBoot's partition, and have it on the disk. */
static int fill_boot(const char *top, int root_fd)
{
	AUTO_CLOSE int top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int from = path_open(root_fd, "/boot", O_RDONLY | O_DIRECTORY, 0);
	AUTO_CLOSE int to = -1;
	int r;

	if (top_fd < 0)
		return -errno;
	if (from < 0)
		return from;
	to = cboot_open_dir(top_fd, "/", "boot", "make the boot folder");
	r = to < 0 ? to : boot_tree_mirror("copy the boot folder", from, to);
	return r < 0 ? r : io_publish_boot("publish the boot folder", to);
}

static int make_mount_point(const char *root, char ret_path[PATH_MAX])
{
	static const char *const part[] = {
		"run/otaclient", "run/otaclient/mnt", "run/otaclient/mnt/standby_boot"};

	for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
		snprintf(ret_path, PATH_MAX, "%.*s/%s", PATH_MAX - 64, root, part[i]);
		if (mkdir(ret_path, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int fill_device(
	const struct cboot_ctl *ctl, const char *device, int root_fd, struct ota_err *err)
{
	char point[PATH_MAX];
	int r = make_mount_point(ctl->root, point), r2;

	if (r < 0)
		return r;
	r = mount_undo(point, true, err); /* of a run that was killed */
	if (r == 0)
		r = mount_private(device, point, "ext4", MS_NODEV | MS_NOSUID | MS_NOEXEC,
			"errors=remount-ro", err);
	if (r < 0)
		return r;
	r = fill_boot(point, root_fd);
	r2 = mount_undo(point, false, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

int cboot_rootfs_mirror_boot(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err)
{
	const char *boot = ctl->disk.boot[cboot_standby(ctl)];
	int r;

	if (!ctl->disk.external)
		return 0;
	r = ctl->disk.described ? fill_boot(boot, root_fd) : fill_device(ctl, boot, root_fd, err);
	if (r < 0)
		r = ota_err_wrap(
			err, r, "Cannot copy the slot's /boot to %s, which CBoot reads", boot);
	if (r == -ENOSPC && err)
		err->code = OTA_E_STANDBY_SLOT_SPACE;
	return r;
}
