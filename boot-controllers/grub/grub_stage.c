/*
 * grub_stage: kernel, configuration and menu entry of a new slot. Contract: grub_stage.h.
 *
 * What is there already with the same content stays, so that a second run writes what is missing.
 */
#include "boot-controllers/grub/grub_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/grub/grub_legacy.h"
#include "boot-controllers/grub/grub_rootfs.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/path.h"

/* Kernels at the top of /boot that belong to neither slot any more. */
static int remove_foreign_kernels(
	const struct grub_ctl *ctl, const char *new_release, struct ota_err *err)
{
	static const char *const prefix[] = {"vmlinuz-", "initrd.img-"};
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd = openat(ctl->boot_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return ota_err_set(
			err, -errno, OTA_E_UNSPECIFIC, "Cannot list /boot: %s", strerror(errno));
	while (r == 0 && (e = readdir(dir))) {
		for (size_t i = 0; i < ARRAY_SIZE(prefix) && r == 0; i++) {
			const char *release = e->d_name + strlen(prefix[i]);
			struct stat st;

			if (strncmp(e->d_name, prefix[i], strlen(prefix[i])) != 0 ||
				strcmp(release, new_release) == 0 ||
				strcmp(release, ctl->kernel_release) == 0)
				continue;
			if (fstatat(ctl->boot_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
				S_ISREG(st.st_mode))
				r = io_unlink(
					"remove an old kernel file", ctl->boot_fd, e->d_name, 0);
		}
	}
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "Cannot remove an old kernel from /boot: %s", strerror(-r))
		     : 0;
}

/* The image's proxy_info.yaml replaces the machine's, its ecu_info.yaml only fills a gap. */
static int install_config(const struct grub_ctl *ctl, int image_boot_fd, struct ota_err *err)
{
	static const char *const name[] = {"proxy_info.yaml", "ecu_info.yaml"};
	AUTO_CLOSE int from = path_open(image_boot_fd, "ota", O_PATH | O_DIRECTORY, 0);
	AUTO_CLOSE int to = -1;
	int r;

	if (from < 0)
		return 0;
	r = io_mkdir("make /boot/ota", ctl->boot_fd, "ota", 0755);
	if (r == 0)
		to = path_open(ctl->boot_fd, "ota", O_RDONLY | O_DIRECTORY, 0);
	if (r == 0 && to < 0)
		r = to;
	for (size_t i = 0; i < ARRAY_SIZE(name) && r == 0; i++) {
		AUTO_BUF struct buf b = {0};
		struct stat st;

		if (i == 1 && fstatat(to, name[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		r = grub_read_file(from, name[i], GRUB_SMALL_FILE_MAX_BYTES, &b);
		if (r == 0) {
			r = grub_write_file("install a configuration file", to, name[i], name[i],
				&b, 0644, err);
			if (r < 0)
				return r;
		} else if (r == -ENOENT) {
			r = 0;
		}
	}
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "Cannot install the image's /boot/ota: %s", strerror(-r))
		     : 0;
}

static int write_staged_entry(struct grub_ctl *ctl, const char *standby_root, int root_fd,
	const char *release, struct ota_err *err)
{
	unsigned slot = grub_standby(ctl);
	AUTO_BUF struct buf entry = {0};
	char name[NAME_MAX];
	int r = grub_rootfs_entry(ctl, standby_root, root_fd, slot, release, &entry, err);

	grub_entry_name(slot, true, name);
	if (r == 0)
		r = grub_write_file(
			"stage the menu entry", ctl->grub_fd, name, name, &entry, 0644, err);
	return r;
}

int grub_stage_run(struct grub_ctl *ctl, const char *standby_root, struct ota_err *err)
{
	unsigned slot = grub_standby(ctl);
	AUTO_CLOSE int root_fd = open(standby_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int image_boot =
		root_fd < 0 ? -1 : path_open(root_fd, "/boot", O_RDONLY | O_DIRECTORY, 0);
	char release[GRUB_RELEASE_MAX];
	int r;

	if (root_fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot open %s: %s",
			standby_root, strerror(errno));
	if (image_boot < 0 || grub_find_kernel(image_boot, NULL, release) < 0)
		return ota_err_set(err, -ENOENT, OTA_E_BOOTCONTROL_POSTUPDATE,
			"The image has no kernel with an initrd: it needs /boot/vmlinuz-<release> "
			"and "
			"/boot/initrd.img-<release>");
	r = grub_disk_refresh(&ctl->disk, &ctl->disk.slot[slot], err);
	if (r == 0)
		r = grub_legacy_wipe(ctl, slot, err);
	if (r == 0)
		r = remove_foreign_kernels(ctl, release, err);
	if (r == 0)
		r = grub_install_kernel(ctl, image_boot, release, slot, err);
	if (r == 0)
		r = grub_rootfs_adapt(ctl, root_fd, slot, err);
	if (r == 0)
		r = install_config(ctl, image_boot, err);
	if (r == 0)
		r = write_staged_entry(ctl, standby_root, root_fd, release, err);
	return r < 0 ? r : grub_publish(ctl, "publish what was staged", err);
}
