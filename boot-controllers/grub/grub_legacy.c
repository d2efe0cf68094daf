/*
 * grub_legacy: from the older layout and back to it. Contract: grub_legacy.h.
 *
 * Files are shared by hard links, which cost no room; each status file is replaced by a rename later, so the two
 * folders part at the first change. Format: docs/formats.md, "GRUB files".
 */
#include "boot-controllers/grub/grub_legacy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_entry.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"

static const char mirror_tmp[] = ".ota_mirror";

static int open_dir(const struct grub_ctl *ctl, const char *name)
{
	int fd = openat(ctl->boot_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_legacy(const struct grub_ctl *ctl, unsigned slot)
{
	char name[NAME_MAX];

	grub_legacy_name(ctl, slot, name);
	return open_dir(ctl, name);
}

bool grub_legacy_default(const struct grub_ctl *ctl, unsigned *ret_slot)
{
	char target[PATH_MAX] = "", name[NAME_MAX];

	if (readlinkat(ctl->boot_fd, "ota-partition", target, sizeof(target) - 1) < 0)
		return false;
	for (unsigned s = 0; s < GRUB_N_SLOTS; s++) {
		grub_legacy_name(ctl, s, name);
		if (strcmp(target, name) == 0) {
			*ret_slot = s;
			return true;
		}
	}
	return false;
}

static int failed(struct ota_err *err, int r, const char *what)
{
	return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot %s: %s", what, strerror(-r));
}

static int link_if_there(int from_fd, const char *name, int to_fd)
{
	int r = io_replace_link("link a file of the other layout", from_fd, name, to_fd, name);

	return r == -ENOENT ? 0 : r;
}

static int write_slot_in_use(int dir_fd, const char *id)
{
	return io_replace_file("write slot_in_use of the other layout", dir_fd, "slot_in_use", id,
		strlen(id), 0644);
}

/* slot_in_use names slots as "sda3" there; what it does not know means the running slot. */
static int translate_slot_in_use(const struct grub_ctl *ctl, int legacy_fd, int slot_fd)
{
	AUTO_BUF struct buf b = {0};
	unsigned slot = grub_active(ctl);
	unsigned number = 0;

	if (grub_read_file(legacy_fd, "slot_in_use", GRUB_SMALL_FILE_MAX_BYTES, &b) < 0)
		return 0;
	if (sscanf(buf_str(&b), " sda%u", &number) == 1)
		for (unsigned s = 0; s < GRUB_N_SLOTS; s++)
			if (ctl->disk.slot[s].number == number)
				slot = s;
	return write_slot_in_use(slot_fd, grub_slot_id[slot]);
}

static int take_status(const struct grub_ctl *ctl, struct ota_err *err)
{
	static const char *const name[] = {"status", "version", "version_detail"};
	AUTO_CLOSE int legacy = open_legacy(ctl, grub_active(ctl));
	AUTO_CLOSE int slot = -1;
	int r;

	if (legacy == -ENOENT)
		return 0;
	if (legacy < 0)
		return failed(err, legacy, "open the running slot's folder of the older layout");
	r = grub_open_slot_dir(ctl, grub_active(ctl), &slot, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(name) && r == 0; i++)
		r = link_if_there(legacy, name[i], slot);
	if (r == 0)
		r = translate_slot_in_use(ctl, legacy, slot);
	return r < 0 ? failed(err, r, "take over the status files of the older layout") : 0;
}

/* The release that the folder's vmlinuz-ota leads to. */
static bool legacy_release(int dir_fd, char ret_release[GRUB_RELEASE_MAX])
{
	char target[PATH_MAX] = "", release[GRUB_RELEASE_MAX];
	size_t prefix = strlen("vmlinuz-");

	if (readlinkat(dir_fd, "vmlinuz-ota", target, sizeof(target) - 1) < 0 ||
		strncmp(target, "vmlinuz-", prefix) != 0 ||
		strlen(target + prefix) >= sizeof(release))
		return false;
	snprintf(release, sizeof(release), "%s", target + prefix);
	return grub_find_kernel(dir_fd, release, ret_release) == 0;
}

/*
 * The other slot's entry as its own grub.cfg has it. It is the way back from a trial, so without it we do not go on;
 * the trial then ends with the next restart.
 */
static int take_return_slot(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err)
{
	char release[GRUB_RELEASE_MAX], name[NAME_MAX];
	AUTO_CLOSE int legacy = open_legacy(ctl, slot);
	AUTO_CLOSE int slot_fd = -1;
	AUTO_BUF struct buf cfg = {0}, entry = {0};
	struct grub_entry_wish wish = {
		.slot_id = grub_slot_id[slot],
		.kernel_version = release,
		.root_uuid = ctl->disk.slot[slot].fs_uuid,
		.boot_uuid = ctl->disk.boot.fs_uuid,
	};
	int r;

	if (legacy < 0 || !legacy_release(legacy, release))
		return ota_err_set(err, -ENOENT, OTA_E_BOOTCONTROL_STARTUP,
			"The slot to return to has no kernel in the older layout");
	r = grub_read_file(legacy, "grub.cfg", GRUB_CFG_MAX_BYTES, &cfg);
	if (r < 0)
		return failed(err, r, "read grub.cfg of the slot to return to");
	r = grub_entry_from_legacy(buf_str(&cfg), cfg.len_bytes, "vmlinuz-ota", &wish, &entry, err);
	if (r == 0)
		r = grub_open_slot_dir(ctl, slot, &slot_fd, err);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "vmlinuz-%s", release);
	r = io_replace_link("link the kernel to return to", legacy, name, slot_fd, name);
	if (r == 0) {
		snprintf(name, sizeof(name), "initrd.img-%s", release);
		r = io_replace_link("link the initrd to return to", legacy, name, slot_fd, name);
	}
	if (r < 0)
		return failed(err, r, "keep the kernel of the slot to return to");
	r = grub_publish(ctl, "publish the kernel to return to", err);
	if (r < 0)
		return r;
	grub_entry_name(slot, false, name);
	return grub_write_file(
		"replace the menu entry to return to", ctl->grub_fd, name, name, &entry, 0644, err);
}

int grub_legacy_take_over(const struct grub_ctl *ctl, struct ota_err *err)
{
	unsigned saved = grub_active(ctl);
	int r = take_status(ctl, err);

	if (r == 0 && grub_legacy_default(ctl, &saved) && saved != grub_active(ctl))
		r = take_return_slot(ctl, saved, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot take over the older layout of /boot") : 0;
}

int grub_legacy_remove_links(const struct grub_ctl *ctl, struct ota_err *err)
{
	static const char *const name[] = {"vmlinuz-ota", "initrd.img-ota", "vmlinuz-ota.standby",
		"initrd.img-ota.standby", "ota-partition"};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(name) && r == 0; i++) {
		struct stat st;

		if (fstatat(ctl->boot_fd, name[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			!S_ISDIR(st.st_mode))
			r = io_unlink(
				"remove a link of the older layout", ctl->boot_fd, name[i], 0);
	}
	return r < 0 ? failed(err, r, "remove the links of the older layout") : 0;
}

static int fill_mirror(const struct grub_ctl *ctl, int slot_fd, int to_fd)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	char id[NAME_MAX];
	struct dirent *e;
	int fd = openat(slot_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	while (r == 0 && (e = readdir(dir))) {
		struct stat st;

		if (fstatat(slot_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode) && strcmp(e->d_name, "complete") != 0 &&
			strcmp(e->d_name, "slot_in_use") != 0)
			r = link_if_there(slot_fd, e->d_name, to_fd);
	}
	snprintf(id, sizeof(id), "sda%u", ctl->disk.slot[grub_active(ctl)].number);
	return r < 0 ? r : write_slot_in_use(to_fd, id);
}

int grub_legacy_mirror(const struct grub_ctl *ctl, struct ota_err *err)
{
	AUTO_CLOSE int slot = open_dir(ctl, grub_slot_id[grub_active(ctl)]);
	AUTO_CLOSE int to = -1;
	char name[NAME_MAX];
	struct stat st;
	int r;

	grub_legacy_name(ctl, grub_active(ctl), name);
	if (slot < 0 || fstatat(ctl->boot_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	/* Filled under another name: an older client must not find half of it. */
	r = grub_remove_tree("remove a half-made folder", ctl->boot_fd, mirror_tmp, err);
	if (r < 0)
		return r;
	r = io_mkdir("make the folder for an older client", ctl->boot_fd, mirror_tmp, 0755);
	if (r == 0)
		r = to = open_dir(ctl, mirror_tmp);
	if (r >= 0)
		r = fill_mirror(ctl, slot, to);
	if (r == 0)
		r = io_rename("show the folder for an older client", ctl->boot_fd, mirror_tmp,
			ctl->boot_fd, name);
	return r < 0 ? failed(err, r, "make the folder for an older client in /boot") : 0;
}

int grub_legacy_mark_failure(const struct grub_ctl *ctl, struct ota_err *err)
{
	static const char status[] = "FAILURE";
	AUTO_CLOSE int fd = open_legacy(ctl, grub_active(ctl));
	int r;

	if (fd == -ENOENT)
		return 0;
	r = fd < 0 ? fd
		   : io_replace_file("write status of the older layout", fd, "status", status,
			     strlen(status), 0644);
	return r < 0 ? failed(err, r, "write the status for an older client") : 0;
}

int grub_legacy_wipe(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err)
{
	char name[NAME_MAX];

	grub_legacy_name(ctl, slot, name);
	return grub_remove_tree(
		"remove the standby's folder of the older layout", ctl->boot_fd, name, err);
}
