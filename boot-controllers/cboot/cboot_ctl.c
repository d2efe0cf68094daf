/*
 * cboot_ctl: which slot is whole, and which one boots next. Contract: cboot_ctl.h.
 *
 * That a switch was made since this start stands in the run folder, which a restart empties: nvbootctrl cannot be
 * asked.
 */
#include "boot-controllers/cboot/cboot_ctl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/path.h"

static const char run_dir[] = "run/otaclient";
static const char switch_note[] = "cboot-switched";

struct cboot_ctl *cboot_ctl_of(struct boot_ctl *ctl)
{
	assert(ctl->ops == &cboot_ops);
	return (struct cboot_ctl *)ctl;
}

const struct cboot_ctl *cboot_ctl_of_const(const struct boot_ctl *ctl)
{
	assert(ctl->ops == &cboot_ops);
	return (const struct cboot_ctl *)ctl;
}

int cboot_open_dir(int root_fd, const char *parent, const char *name, const char *what)
{
	AUTO_CLOSE int parent_fd = path_open(root_fd, parent, O_RDONLY | O_DIRECTORY, 0);
	int r = parent_fd < 0 ? parent_fd : io_mkdir(what, parent_fd, name, 0755);

	return r < 0 ? r : path_open(parent_fd, name, O_RDONLY | O_DIRECTORY, 0);
}

int cboot_open_status_dir(const struct cboot_ctl *ctl)
{
	return cboot_open_dir(ctl->root_fd, "/boot", "ota-status", "make the status folder");
}

/* ---- is the other slot whole? ------------------------------------------------------------------- */

int cboot_write_other(int status_fd, unsigned slot)
{
	char id = (char)('0' + slot);

	return io_replace_file(
		"note that the other slot is whole", status_fd, CBOOT_OTHER_SLOT, &id, 1, 0644);
}

static bool other_is_whole(const struct cboot_ctl *ctl)
{
	AUTO_CLOSE int fd =
		path_open(ctl->root_fd, "/" CBOOT_STATUS_DIR, O_RDONLY | O_DIRECTORY, 0);
	AUTO_BUF struct buf b = {0};

	return fd >= 0 && file_read(fd, CBOOT_OTHER_SLOT, 1, &b) == 0 && b.len_bytes == 1 &&
	       b.data[0] == (char)('0' + cboot_standby(ctl));
}

int cboot_check_other(const struct cboot_ctl *ctl, struct ota_err *err)
{
	return other_is_whole(ctl)
		       ? 0
		       : ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC,
				 "Slot %u is not known to hold a whole system", cboot_standby(ctl));
}

int cboot_forget_other(const struct cboot_ctl *ctl, struct ota_err *err)
{
	AUTO_CLOSE int fd = cboot_open_status_dir(ctl);
	int r = fd < 0 ? fd : io_unlink("forget the other slot", fd, CBOOT_OTHER_SLOT, 0);

	return r < 0 && r != -ENOENT
		       ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot remove /%s/%s: %s",
				 CBOOT_STATUS_DIR, CBOOT_OTHER_SLOT, strerror(-r))
		       : 0;
}

/* ---- switching ---------------------------------------------------------------------------------- */

static int open_run_dir(const struct cboot_ctl *ctl)
{
	AUTO_CLOSE int run_fd = openat(ctl->root_fd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = run_fd < 0 ? -errno : io_mkdir("make the run folder", run_fd, "otaclient", 0755);

	if (r < 0)
		return r;
	r = openat(run_fd, "otaclient", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

static int note_switch(const struct cboot_ctl *ctl, bool made, struct ota_err *err)
{
	AUTO_CLOSE int fd = open_run_dir(ctl);
	int r = fd;

	if (r >= 0)
		r = made ? io_replace_file("note the switch", fd, switch_note, "", 0, 0644)
			 : io_unlink("forget the switch", fd, switch_note, 0);
	return r < 0 && r != -ENOENT
		       ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot change /%s/%s: %s", run_dir,
				 switch_note, strerror(-r))
		       : 0;
}

/* Only what is surely not there says no. */
bool cboot_is_switched(const struct cboot_ctl *ctl)
{
	char path[sizeof(run_dir) + sizeof(switch_note)];

	snprintf(path, sizeof(path), "%s/%s", run_dir, switch_note);
	return faccessat(ctl->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       (errno != ENOENT && errno != ENOTDIR);
}

/* The last call is the one that decides which root file system comes up. */
static int set_active(const struct cboot_ctl *ctl, unsigned slot, struct ota_err *err)
{
	int r = nvbootctrl_set_active(
		&ctl->tools, "switch the boot loader", NVBOOTCTRL_LOADER, slot, err);

	if (r == 0 && !ctl->unified)
		r = nvbootctrl_set_active(
			&ctl->tools, "switch the root file system", NVBOOTCTRL_ROOTFS, slot, err);
	return r;
}

/*
 * The root first here: it decides. It comes back by the other one being unbootable, for a slot that is made the active
 * one has to prove itself again, and the running one would lose that it is good.
 */
static int take_back(const struct cboot_ctl *ctl, struct ota_err *err)
{
	int r = ctl->unified ? 0 : nvbootctrl_set_unbootable(&ctl->tools, cboot_standby(ctl), err);

	if (r == 0)
		r = nvbootctrl_set_active(&ctl->tools, "take the boot loader's switch back",
			NVBOOTCTRL_LOADER, ctl->disk.active, err);
	if (r == 0)
		r = nvbootctrl_verify(&ctl->tools, err);
	return r < 0 ? r : note_switch(ctl, false, err);
}

int cboot_fall_back(const struct cboot_ctl *ctl, struct ota_err *err)
{
	return cboot_is_switched(ctl) ? take_back(ctl, err) : 0;
}

/*
 * Without one switch for both, the tool switches the boot loader by itself. That is taken back at once, since the real
 * switch may be hours away: a cut would leave boot loader and root on different slots. The note is for a failure in
 * between.
 */
int cboot_install(const struct cboot_ctl *ctl, const char *payload, struct ota_err *err)
{
	int r, r2;

	if (ctl->unified)
		return nvbootctrl_install(&ctl->tools, true, payload, err);
	r = note_switch(ctl, true, err);
	if (r < 0)
		return r;
	r = nvbootctrl_install(&ctl->tools, false, payload, err);
	r2 = take_back(ctl, r < 0 ? NULL : err);
	return r < 0 ? r : r2;
}

int cboot_switch(const struct cboot_ctl *ctl, unsigned slot, struct ota_err *err)
{
	int r = note_switch(ctl, true, err);

	if (r == 0)
		r = set_active(ctl, slot, err);
	/* A failed switch is none: the next boot is not to try what the caller has given up. */
	if (r < 0)
		take_back(ctl, NULL);
	return r;
}
