/*
 * grub_setup: bootstrap and migration. Contract: grub_setup.h.
 *
 * What is found in grub.cfg's place decides:
 *
 *     a whole frame of ours                          nothing to do
 *     a frame by an old or another client, or one    write it anew, keep the status and the saved slot
 *       whose running slot has no sound entry
 *     a link (the older layout)                      take kernel, status and saved slot over; keep the status
 *     anything else                                  write all of it; the stored status means nothing
 *
 * grub.cfg is the switch and is replaced last: until then the machine boots as it did before.
 */
#include "boot-controllers/grub/grub_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_choice.h"
#include "boot-controllers/grub/grub_entry.h"
#include "boot-controllers/grub/grub_legacy.h"
#include "boot-controllers/grub/grub_mkconfig.h"
#include "boot-controllers/grub/grub_rootfs.h"
#include "boot-controllers/grub/kernel_version.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"

/* Frames by releases before this one carry an entry that breaks the boot of older systems. */
static const char frame_since[] = "3.14.1";

/* A /boot without kernels, so that grub-mkconfig makes no entries; on the same file system as the real one. */
static const char empty_boot[] = ".ota_empty_boot";

enum found {
	FOUND_OURS,
	FOUND_FRAME,  /* to be written anew, everything else kept */
	FOUND_LEGACY, /* the older layout */
	FOUND_FRESH,
};

static enum found look(const struct grub_ctl *ctl)
{
	AUTO_BUF struct buf b = {0};
	struct grub_cfg_info info;
	struct stat st;
	bool before;

	if (fstatat(ctl->grub_fd, "grub.cfg", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
		return FOUND_LEGACY;
	if (grub_read_file(ctl->grub_fd, "grub.cfg", GRUB_CFG_MAX_BYTES, &b) < 0 ||
		grub_cfg_check(buf_str(&b), b.len_bytes, &info, NULL) < 0 ||
		release_is_before(info.otaclient_version, frame_since, &before) < 0)
		return FOUND_FRESH;
	if (before || !info.has_hook || grub_check_entry(ctl, grub_active(ctl), false, NULL) < 0)
		return FOUND_FRAME;
	return FOUND_OURS;
}

static int frame_body(const struct grub_ctl *ctl, struct buf *ret, struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};
	struct ota_err why = {0};
	char path[PATH_MAX];
	int r;

	grub_boot_path(ctl, empty_boot, path);
	r = grub_mkconfig_run(ctl, ctl->root, path, &out, &why);
	if (r == -ENOENT)
		return buf_puts(ret, grub_cfg_plain_frame);
	if (r < 0 && err)
		*err = why;
	return r < 0 ? r : grub_cfg_hook_first(buf_str(&out), out.len_bytes, ret, err);
}

/* The text of grub.cfg, made with a /boot that has no kernels. */
static int frame_text(const struct grub_ctl *ctl, struct buf *ret, struct ota_err *err)
{
	AUTO_BUF struct buf body = {0};
	char grub_version[GRUB_CFG_VERSION_MAX];
	AUTO_CLOSE int fd = -1;
	int r = grub_remove_tree("remove the empty boot folder", ctl->boot_fd, empty_boot, err);

	if (r < 0)
		return r;
	r = io_mkdir("make the empty boot folder", ctl->boot_fd, empty_boot, 0755);
	if (r == 0) {
		fd = openat(ctl->boot_fd, empty_boot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? -errno : io_mkdir("make the empty boot folder", fd, "grub", 0755);
	}
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot make a folder in /boot: %s",
			strerror(-r));
	r = frame_body(ctl, &body, err);
	grub_remove_tree("remove the empty boot folder", ctl->boot_fd, empty_boot, NULL);
	if (r < 0)
		return r;
	grub_mkconfig_version(ctl, grub_version, sizeof(grub_version));
	return grub_cfg_wrap(buf_str(&body), body.len_bytes, ctl->version, grub_version, ret);
}

static int write_frame(const struct grub_ctl *ctl, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	int r = frame_text(ctl, &text, err);

	/* What it points at first. */
	if (r == 0)
		r = grub_publish(ctl, "publish what grub.cfg points at", err);
	if (r == 0)
		r = grub_write_boot_file(ctl, "replace grub.cfg", "grub.cfg", "/boot/grub/grub.cfg",
			&text, 0600, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot make grub.cfg") : 0;
}

int grub_setup_frame(const struct grub_ctl *ctl, struct ota_err *err)
{
	AUTO_BUF struct buf b = {0};
	struct grub_cfg_info info;

	if (grub_read_file(ctl->grub_fd, "grub.cfg", GRUB_CFG_MAX_BYTES, &b) == 0 &&
		grub_cfg_check(buf_str(&b), b.len_bytes, &info, NULL) == 0 && info.has_hook)
		return 0;
	return write_frame(ctl, err);
}

/* The running kernel and its initrd, wherever an earlier owner of this machine kept them. */
static int install_running_kernel(const struct grub_ctl *ctl, struct ota_err *err)
{
	char legacy[NAME_MAX], release[GRUB_RELEASE_MAX];
	const char *const folder[] = {".", grub_slot_id[grub_active(ctl)], legacy};

	grub_legacy_name(ctl, grub_active(ctl), legacy);
	for (size_t i = 0; i < ARRAY_SIZE(folder); i++) {
		AUTO_CLOSE int fd =
			openat(ctl->boot_fd, folder[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0 && grub_find_kernel(fd, ctl->kernel_release, release) == 0)
			return grub_install_kernel(ctl, fd, release, grub_active(ctl), err);
	}
	return ota_err_set(err, -ENOENT, OTA_E_BOOTCONTROL_STARTUP,
		"There is no vmlinuz-%s with its initrd.img-%s in /boot, so the running system "
		"could not be booted "
		"again",
		ctl->kernel_release, ctl->kernel_release);
}

static int write_active_entry(const struct grub_ctl *ctl, int root_fd, struct ota_err *err)
{
	unsigned slot = grub_active(ctl);
	AUTO_BUF struct buf entry = {0};
	char name[NAME_MAX];
	int r = grub_rootfs_entry(ctl, ctl->root, root_fd, slot, ctl->kernel_release, &entry, err);

	if (r < 0)
		return r;
	grub_entry_name(slot, false, name);
	/* The kernel that it names first; after an update of otaclient it may be the only entry. */
	r = grub_publish(ctl, "publish the running slot's kernel", err);
	if (r == 0)
		r = grub_write_boot_file(ctl, "replace the running slot's menu entry", name, name,
			&entry, 0644, err);
	return r;
}

/*
 * Which slot is to boot by itself. A running trial is not made permanent here: that is commit's to do. So where the
 * loader's own choice is known and sound, it stays.
 */
static struct grub_choice choose(const struct grub_ctl *ctl, enum found found)
{
	struct grub_choice choice;
	unsigned saved;

	if (found == FOUND_LEGACY && grub_legacy_default(ctl, &saved) &&
		grub_check_entry(ctl, saved, false, NULL) == 0)
		return grub_choice_of(saved);
	if (found == FOUND_FRAME && grub_choice_read(ctl, &choice) == 0 &&
		grub_check_entry(ctl, choice.saved, false, NULL) == 0)
		return choice;
	return grub_choice_of(grub_active(ctl));
}

static int bootstrap(const struct grub_ctl *ctl, enum found found, struct ota_err *err)
{
	AUTO_CLOSE int root_fd =
		open(ctl->root[0] ? ctl->root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct grub_choice choice;
	int r;

	if (root_fd < 0)
		return ota_err_set(err, -errno, OTA_E_BOOTCONTROL_STARTUP,
			"Cannot open the root file system: %s", strerror(errno));
	r = install_running_kernel(ctl, err);
	if (r == 0)
		r = grub_rootfs_adapt(ctl, root_fd, grub_active(ctl), err);
	if (r == 0 && found == FOUND_LEGACY)
		r = grub_legacy_take_over(ctl, err);
	if (r == 0)
		r = write_active_entry(ctl, root_fd, err);
	/* Nobody vouches for what stands there for the other slot. */
	if (r == 0 && grub_check_entry(ctl, grub_standby(ctl), false, NULL) < 0)
		r = grub_remove_entry(ctl, grub_standby(ctl), err);
	if (r < 0)
		return r;
	choice = choose(ctl, found);
	r = grub_choice_commit(ctl, choice.saved, err);
	if (r == 0)
		r = grub_choice_write(ctl, "replace grubenv at the take-over", &choice, err);
	if (r == 0)
		r = write_frame(ctl, err);
	return r == 0 ? grub_legacy_remove_links(ctl, err) : r;
}

/* What a cut left behind; nobody reads it. */
static void remove_leftovers(const struct grub_ctl *ctl, int dir_fd)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd = dir_fd < 0 ? -1 : openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return;
	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name), suffix = strlen(GRUB_ENTRY_STAGED_SUFFIX);
		bool staged = dir_fd == ctl->grub_fd && len > suffix &&
			      strcmp(e->d_name + len - suffix, GRUB_ENTRY_STAGED_SUFFIX) == 0;

		if (strncmp(e->d_name, IO_TMP_PREFIX, strlen(IO_TMP_PREFIX)) == 0 || staged)
			io_unlink("remove a leftover", dir_fd, e->d_name, 0);
	}
}

static void tidy(const struct grub_ctl *ctl)
{
	remove_leftovers(ctl, ctl->boot_fd);
	remove_leftovers(ctl, ctl->grub_fd);
	for (unsigned s = 0; s < GRUB_N_SLOTS; s++) {
		AUTO_CLOSE int fd = openat(ctl->boot_fd, grub_slot_id[s],
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		remove_leftovers(ctl, fd);
	}
}

/* A frame of ours, but perhaps from before a cut, or with an other slot that was overwritten behind our back. */
static int keep_sound(const struct grub_ctl *ctl, struct ota_err *err)
{
	struct grub_choice choice;
	char name[NAME_MAX];
	struct stat st;
	int r = 0;

	grub_entry_name(grub_standby(ctl), false, name);
	if (fstatat(ctl->grub_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		grub_check_entry(ctl, grub_standby(ctl), false, NULL) < 0)
		r = grub_remove_entry(ctl, grub_standby(ctl), err);
	if (r == 0 && fstatat(ctl->grub_fd, "ota-committed.cfg", &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (grub_choice_read(ctl, &choice) < 0)
			choice = grub_choice_of(grub_active(ctl));
		r = grub_choice_commit(ctl, choice.saved, err);
	}
	return r;
}

int grub_setup_run(const struct grub_ctl *ctl, bool *ret_reset, struct ota_err *err)
{
	enum found found;
	int r;

	/* Where that cannot be done, there is hardly one to be ended. */
	(void)io_thaw_boot(ctl->boot_fd);
	tidy(ctl);
	found = look(ctl);
	r = found == FOUND_OURS ? keep_sound(ctl, err) : bootstrap(ctl, found, err);
	if (r == 0)
		r = grub_legacy_mirror(ctl, err);
	if (r < 0)
		return r;
	*ret_reset = found == FOUND_FRESH;
	return 0;
}
