/*
 * grub_rootfs: adapt a root file system to its slot. Contract: grub_rootfs.h.
 */
#include "boot-controllers/grub/grub_rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/grub/fstab.h"
#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_default.h"
#include "boot-controllers/grub/grub_entry.h"
#include "boot-controllers/grub/grub_mkconfig.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/path.h"

static int open_etc(int root_fd, struct ota_err *err)
{
	int fd = path_open(root_fd, "/etc", O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? ota_err_set(err, fd, OTA_E_UNSPECIFIC,
				"The slot's /etc cannot be opened: %s", strerror(-fd))
		      : fd;
}

/* A folder of /etc, made if it is missing. */
static int open_below_etc(int etc_fd, const char *name, struct ota_err *err)
{
	int r = io_mkdir("make a folder of /etc", etc_fd, name, 0755);

	if (r == 0)
		r = path_open(etc_fd, name, O_RDONLY | O_DIRECTORY, 0);
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "The slot's /etc/%s cannot be opened: %s", name, strerror(-r))
		     : r;
}

/* A missing file is an empty one. @path: of /etc, for the sentence. */
static int read_text(
	int dir_fd, const char *name, const char *path, struct buf *ret, struct ota_err *err)
{
	int r = grub_read_file(dir_fd, name, GRUB_SMALL_FILE_MAX_BYTES, ret);

	if (r == 0 || r == -ENOENT)
		return 0;
	return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot read /etc/%s: %s", path,
		r == -ELOOP ? "It is a symbolic link" : strerror(-r));
}

static int adapt_fstab(const struct grub_ctl *ctl, int etc_fd, unsigned slot, struct ota_err *err)
{
	AUTO_BUF struct buf own = {0}, image = {0}, merged = {0};
	struct fstab_ids ids = {
		.root_uuid = ctl->disk.slot[slot].fs_uuid,
		.boot_uuid = ctl->disk.boot.fs_uuid,
		.esp_uuid = ctl->disk.uefi ? ctl->disk.esp.fs_uuid : NULL,
	};
	AUTO_CLOSE int own_root =
		open(ctl->root[0] ? ctl->root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int own_etc = own_root < 0 ? -1 : open_etc(own_root, err);
	int r = own_etc < 0 ? -EIO : read_text(own_etc, "fstab", "fstab", &own, err);

	if (r == 0)
		r = read_text(etc_fd, "fstab", "fstab", &image, err);
	if (r == 0)
		r = fstab_merge(&ids, buf_str(&own), own.len_bytes, buf_str(&image),
			image.len_bytes, &merged, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot make the fstab of %s", grub_slot_id[slot]);
	return grub_write_file(
		"replace fstab", etc_fd, "fstab", "the slot's /etc/fstab", &merged, 0644, err);
}

static int adapt_default(int etc_fd, struct ota_err *err)
{
	AUTO_BUF struct buf old = {0}, new = {0};
	AUTO_CLOSE int fd = open_below_etc(etc_fd, "default", err);
	int r = fd < 0 ? fd : read_text(fd, "grub", "default/grub", &old, err);

	if (r == 0)
		r = grub_default_rewrite(buf_str(&old), old.len_bytes, &new, err);
	if (r < 0)
		return r;
	return grub_write_file("replace /etc/default/grub", fd, "grub",
		"the slot's /etc/default/grub", &new, 0644, err);
}

static int adapt_hooks(int etc_fd, struct ota_err *err)
{
	AUTO_BUF struct buf hook = {0}, stub = {0};
	AUTO_CLOSE int fd = open_below_etc(etc_fd, "grub.d", err);
	struct stat st;
	int r = fd < 0 ? fd : 0;

	if (r == 0)
		r = buf_puts(&hook, grub_cfg_hook_script);
	if (r == 0)
		r = buf_puts(&stub, grub_cfg_uefi_stub);
	if (r == 0)
		r = grub_write_file("replace 30_ota", fd, "30_ota", "the slot's /etc/grub.d/30_ota",
			&hook, 0750, err);
	if (r == 0 && fstatat(fd, "30_uefi-firmware", &st, AT_SYMLINK_NOFOLLOW) == 0)
		r = grub_write_file("replace 30_uefi-firmware", fd, "30_uefi-firmware",
			"the slot's /etc/grub.d/30_uefi-firmware", &stub, 0640, err);
	return r;
}

int grub_rootfs_adapt(const struct grub_ctl *ctl, int root_fd, unsigned slot, struct ota_err *err)
{
	AUTO_CLOSE int etc_fd = open_etc(root_fd, err);
	int r = etc_fd < 0 ? etc_fd : adapt_fstab(ctl, etc_fd, slot, err);

	if (r == 0)
		r = adapt_default(etc_fd, err);
	if (r == 0)
		r = adapt_hooks(etc_fd, err);
	return r;
}

/* The kernel's arguments as the slot's /etc/default/grub has them. */
static int plain_entry(
	int root_fd, const struct grub_entry_wish *wish, struct buf *ret, struct ota_err *err)
{
	static const char *const key[] = {"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"};
	AUTO_BUF struct buf text = {0}, args = {0};
	AUTO_CLOSE int etc_fd = open_etc(root_fd, err);
	int r = etc_fd < 0 ? etc_fd : read_text(etc_fd, "default/grub", "default/grub", &text, err);

	for (size_t i = 0; i < ARRAY_SIZE(key) && r == 0; i++) {
		AUTO_BUF struct buf value = {0};

		r = grub_default_value(buf_str(&text), text.len_bytes, key[i], &value);
		if (r == 0 && value.len_bytes > 0)
			r = buf_printf(&args, "%s%s", args.len_bytes > 0 ? " " : "", value.data);
		r = r == -ENOENT ? 0 : r;
	}
	if (r == 0)
		r = grub_entry_plain(wish, buf_str(&args), ret, err);
	return r;
}

int grub_rootfs_entry(const struct grub_ctl *ctl, const char *rootfs, int root_fd, unsigned slot,
	const char *release, struct buf *ret, struct ota_err *err)
{
	const struct grub_entry_wish wish = {
		.slot_id = grub_slot_id[slot],
		.kernel_version = release,
		.root_uuid = ctl->disk.slot[slot].fs_uuid,
		.boot_uuid = ctl->disk.boot.fs_uuid,
	};
	AUTO_BUF struct buf out = {0};
	struct ota_err why = {0};
	char boot_dir[PATH_MAX];
	int r;

	if (wish.root_uuid[0] == '\0')
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC, "%s has no file system on %s",
			wish.slot_id, ctl->disk.slot[slot].device);
	grub_boot_path(ctl, wish.slot_id, boot_dir);
	r = grub_mkconfig_run(ctl, rootfs, boot_dir, &out, &why);
	if (r == -ENOENT)
		r = plain_entry(root_fd, &wish, ret, err);
	else if (r == 0)
		r = grub_entry_from_mkconfig(buf_str(&out), out.len_bytes, &wish, ret, err);
	else if (err)
		*err = why;
	return r < 0 ? ota_err_wrap(err, r, "Cannot make the menu entry of %s", wish.slot_id) : 0;
}
