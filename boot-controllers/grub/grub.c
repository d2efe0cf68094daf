/*
 * grub: the controller's operations. Contract: boot_controller.h.
 *
 * The power-cut rule, step by step, by what GRUB can reach:
 *
 *     prepare   committed and saved slot = the running one; then the standby's entry goes, published; then its kernel
 *     stage     the new kernel, and the entry under a name that GRUB does not read
 *     keep      committed and saved slot = the running one; the standby's entry and kernel stay as they are
 *     flip      the entry gets its name (the slot is closed and complete by now); then the trial, one write of grubenv
 *     settle    starts of the committed slot are counted anew, and whether the standby is its spare
 *     forget    a trial that GRUB could not begin is taken off
 *     commit    ota-committed.cfg first, then saved_entry
 *
 * Elsewhere: grub_setup (start, migration), grub_stage (what a new slot gets), grub_rootfs (files inside a slot),
 * grub_choice (what GRUB is told), grub_traces (what a trial has left), grub_ctl (single durable changes).
 */
#include "boot-controllers/grub/grub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_choice.h"
#include "boot-controllers/grub/grub_ctl.h"
#include "boot-controllers/grub/grub_inspect.h"
#include "boot-controllers/grub/grub_legacy.h"
#include "boot-controllers/grub/grub_setup.h"
#include "boot-controllers/grub/grub_stage.h"
#include "boot-controllers/grub/grub_traces.h"
#include "boot-controllers/restart.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/path.h"

static void ctl_free(struct grub_ctl *ctl)
{
	if (!ctl)
		return;
	closep(&ctl->boot_fd);
	closep(&ctl->grub_fd);
	free(ctl->tools_path);
	free(ctl->version);
	free(ctl);
}

static void grub_close(struct boot_ctl *base)
{
	if (base)
		ctl_free(grub_ctl_of(base));
}

static void ctl_closep(struct grub_ctl **ctl)
{
	ctl_free(*ctl);
}

static int read_kernel_release(
	const struct boot_env *env, char ret[GRUB_RELEASE_MAX], struct ota_err *err)
{
	AUTO_BUF struct buf b = {0};
	const char *release = env->kernel_release;
	size_t len;

	if (!release) {
		int r = file_read(AT_FDCWD, "/proc/sys/kernel/osrelease", GRUB_RELEASE_MAX, &b);

		if (r < 0)
			return ota_err_set(err, r, OTA_E_BOOTCONTROL_STARTUP,
				"Cannot ask for the running kernel's release: %s", strerror(-r));
		release = buf_str(&b);
	}
	len = strcspn(release, "\n");
	if (len == 0 || len >= GRUB_RELEASE_MAX)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"The running kernel's release is empty or too long");
	memcpy(ret, release, len);
	ret[len] = '\0';
	return 0;
}

static int ctl_new(const struct boot_env *env, struct grub_ctl **ret_ctl, struct ota_err *err)
{
	CLEANUP(ctl_closep) struct grub_ctl *ctl = calloc(1, sizeof(*ctl));
	char path[PATH_MAX];

	if (!ctl)
		return ota_err_no_memory(err, "the boot controller");
	ctl->base.ops = &grub_ops;
	ctl->boot_fd = ctl->grub_fd = -1;
	ctl->tries = MAX_OF(1U, MIN_OF(env->boot_attempts, (unsigned)GRUB_TRIES_MAX));
	ctl->spare_after = MIN_OF(env->committed_attempts, (unsigned)GRUB_TRIES_MAX);
	ctl->version = strdup(env->version ? env->version : OTA_VERSION);
	ctl->tools_path = env->tools_path ? strdup(env->tools_path) : NULL;
	if (!ctl->version || (env->tools_path && !ctl->tools_path))
		return ota_err_no_memory(err, "the boot controller");
	if ((size_t)snprintf(ctl->root, sizeof(ctl->root), "%s", env->root) >=
		sizeof(ctl->root) - GRUB_ROOT_SPARE_BYTES)
		return ota_err_set(err, -ENAMETOOLONG, OTA_E_BOOTCONTROL_STARTUP,
			"The root's path is too long");
	snprintf(path, sizeof(path), "%.*s/boot", PATH_MAX - GRUB_ROOT_SPARE_BYTES, ctl->root);
	ctl->boot_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ctl->boot_fd >= 0)
		ctl->grub_fd = openat(ctl->boot_fd, "grub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ctl->grub_fd < 0)
		return ota_err_set(err, errno == ENOENT ? -ENODEV : -errno, OTA_E_UNSPECIFIC,
			"Cannot open %s/grub: %s", path, strerror(errno));
	*ret_ctl = TAKE_PTR(ctl);
	return 0;
}

int grub_open_on_disk(struct boot_ctl **ret_ctl, const struct boot_env *env,
	const struct grub_disk *disk, struct ota_err *err)
{
	CLEANUP(ctl_closep) struct grub_ctl *ctl = NULL;
	int r = ctl_new(env, &ctl, err);

	if (r == 0)
		r = read_kernel_release(env, ctl->kernel_release, err);
	if (r < 0)
		return r;
	ctl->disk = *disk;
	*ret_ctl = &TAKE_PTR(ctl)->base;
	return 0;
}

static int grub_open(struct boot_ctl **ret_ctl, const struct boot_env *env, struct ota_err *err)
{
	CLEANUP(ctl_closep) struct grub_ctl *ctl = NULL;
	struct grub_disk disk;
	int r = ctl_new(env, &ctl, err); /* no GRUB: do not look at disks */

	if (r == 0)
		r = grub_disk_probe(env->root[0] ? env->root : "/", &disk, err);
	if (r == 0)
		r = read_kernel_release(env, ctl->kernel_release, err);
	if (r < 0)
		return r;
	ctl->disk = disk;
	*ret_ctl = &TAKE_PTR(ctl)->base;
	return 0;
}

static int grub_setup(struct boot_ctl *base, bool *ret_reset, struct ota_err *err)
{
	int r = grub_setup_run(grub_ctl_of(base), ret_reset, err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r < 0 ? ota_err_wrap(err, r, "Cannot set up GRUB for two slots") : 0;
}

static void fill_slot(const struct grub_ctl *ctl, unsigned slot, struct boot_slot *ret)
{
	const struct disk_part *p = &ctl->disk.slot[slot];

	snprintf(ret->id, sizeof(ret->id), "%s", grub_slot_id[slot]);
	snprintf(ret->device, sizeof(ret->device), "%s", p->device);
	snprintf(ret->fs_uuid, sizeof(ret->fs_uuid), "%s", p->fs_uuid);
	snprintf(ret->fs_label, sizeof(ret->fs_label), "%s", p->fs_label);
	grub_boot_path(ctl, ret->id, ret->status_dir);
}

static int grub_slots(const struct boot_ctl *base, struct slot_pair *ret_slots, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	struct slot_pair pair = {0};

	fill_slot(ctl, grub_active(ctl), &pair.active);
	fill_slot(ctl, grub_standby(ctl), &pair.standby);
	*ret_slots = pair;
	return 0;
}

/* Whatever becomes of the standby, GRUB comes back to the running slot. */
static int fall_back_on_active(const struct grub_ctl *ctl, const char *what, struct ota_err *err)
{
	unsigned active = grub_active(ctl);
	const struct grub_choice choice = grub_choice_of(active);
	int r = grub_check_entry(ctl, active, false, err);

	/* Somebody may have run update-grub since we started; then the loader is not ours to promise for. */
	if (r == 0)
		r = grub_setup_frame(ctl, err);
	if (r == 0)
		r = grub_choice_commit(ctl, active, err);
	return r < 0 ? r : grub_choice_write(ctl, what, &choice, err);
}

static int grub_prepare(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	unsigned standby = grub_standby(ctl);
	AUTO_CLOSE int slot_fd = -1;
	int r = fall_back_on_active(ctl, "replace grubenv at prepare", err);

	if (r == 0)
		r = grub_remove_entry(ctl, standby, err);
	if (r == 0)
		r = grub_remove_tree(
			"remove the standby's folder", ctl->boot_fd, grub_slot_id[standby], err);
	if (r == 0)
		r = grub_open_slot_dir(ctl, standby, &slot_fd, err);
	if (r == 0)
		r = grub_legacy_mark_failure(ctl, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREUPDATE);
	return r < 0 ? ota_err_wrap(
			       err, r, "Cannot take %s out of GRUB's reach", grub_slot_id[standby])
		     : 0;
}

static int grub_stage(struct boot_ctl *base, const char *standby_root, struct ota_err *err)
{
	struct grub_ctl *ctl = grub_ctl_of(base);
	int r = grub_stage_run(ctl, standby_root, err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_POSTUPDATE);
	return r < 0 ? ota_err_wrap(
			       err, r, "Cannot make %s bootable", grub_slot_id[grub_standby(ctl)])
		     : 0;
}

static int grub_check(const struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of_const(base);
	int r = grub_check_entry(ctl, grub_standby(ctl), false, err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREROLLBACK);
	return r < 0 ? ota_err_wrap(err, r, "GRUB cannot boot %s", grub_slot_id[grub_standby(ctl)])
		     : 0;
}

static int grub_keep(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	int r = grub_check_entry(ctl, grub_standby(ctl), false, err);

	if (r == 0)
		r = fall_back_on_active(ctl, "replace grubenv at keep", err);
	if (r == 0)
		r = grub_legacy_mark_failure(ctl, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREROLLBACK);
	return r < 0 ? ota_err_wrap(err, r, "Cannot make GRUB ready to go back to %s",
			       grub_slot_id[grub_standby(ctl)])
		     : 0;
}

/* From here on GRUB may reach the slot. */
static int show_entry(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err)
{
	char staged[NAME_MAX], entry[NAME_MAX];
	struct stat st;
	int r;

	grub_entry_name(slot, true, staged);
	grub_entry_name(slot, false, entry);
	if (fstatat(ctl->grub_fd, staged, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return grub_check_entry(ctl, slot, false, err); /* a second call */
	r = grub_check_entry(ctl, slot, true, err);
	if (r < 0)
		return r;
	r = io_rename("show the menu entry", ctl->grub_fd, staged, ctl->grub_fd, entry);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot rename %s: %s", staged, strerror(-r));
	return grub_publish(ctl, "publish the menu entry", err);
}

static int grub_flip(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	unsigned standby = grub_standby(ctl);
	const struct grub_choice back = grub_choice_of(grub_active(ctl));
	struct grub_choice trial = back;
	int r = show_entry(ctl, standby, err);

	trial.trial = standby;
	trial.tries = ctl->tries;
	if (r == 0) {
		r = grub_choice_write(ctl, "replace grubenv at flip", &trial, err);
		/* A failed flip is none: the next boot is not to try what the caller has given up. */
		if (r < 0)
			grub_choice_write(ctl, "take the flip back", &back, NULL);
	}
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_POSTUPDATE);
	return r < 0 ? ota_err_wrap(
			       err, r, "Cannot make the next boot try %s", grub_slot_id[standby])
		     : 0;
}

static int grub_reboot(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);

	return restart_machine(ctl->root, ctl->tools_path, err);
}

/* @slot boots by itself from now on, with the environment block and without it. */
static int settle_on(
	const struct grub_ctl *ctl, unsigned slot, const char *what, struct ota_err *err)
{
	const struct grub_choice choice = grub_choice_of(slot);
	int r = grub_check_entry(ctl, slot, false, err);

	if (r == 0)
		r = grub_choice_commit(ctl, slot, err);
	return r < 0 ? r : grub_choice_write(ctl, what, &choice, err);
}

static int grub_commit(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	int r = settle_on(ctl, grub_active(ctl), "replace grubenv at commit", err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r < 0 ? ota_err_wrap(
			       err, r, "Cannot keep %s for good", grub_slot_id[grub_active(ctl)])
		     : 0;
}

/*
 * A trial that GRUB has begun to count is over once the other slot has come up; one that was not begun waits for the
 * restart. The running slot that was only the spare is from now on the one that boots by itself: what comes after it
 * should not depend on a slot that did not start.
 */
static int settle(const struct grub_ctl *ctl, bool standby_whole, struct ota_err *err)
{
	unsigned active = grub_active(ctl), standby = grub_standby(ctl);
	struct grub_choice now, want = grub_choice_of(active);

	if (grub_choice_read(ctl, &now) < 0)
		now.saved = GRUB_N_SLOTS;
	if (now.saved == standby && now.spare == active)
		return settle_on(ctl, active, "replace grubenv after a fallback", err);
	if (now.saved != active || grub_trial_not_begun(ctl, &now))
		return 0;
	if (ctl->spare_after > 0 && standby_whole &&
		grub_check_entry(ctl, standby, false, NULL) == 0) {
		want.spare = standby;
		want.spare_after = ctl->spare_after;
	}
	/* A full /boot must not make a slot that comes up look like one that does not. */
	return grub_choice_write_in_place(ctl, "replace grubenv at start", &want, err);
}

static int grub_settle(struct boot_ctl *base, bool standby_whole, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	int r = settle(ctl, standby_whole, err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r < 0 ? ota_err_wrap(err, r, "Cannot tell GRUB that %s has come up",
			       grub_slot_id[grub_active(ctl)])
		     : 0;
}

static int grub_forget_trial(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	const struct grub_choice home = grub_choice_of(grub_active(ctl));
	struct grub_choice now;
	int r = 0;

	if (grub_choice_read(ctl, &now) == 0 && now.saved == home.saved &&
		grub_trial_not_begun(ctl, &now))
		r = grub_choice_write_in_place(
			ctl, "replace grubenv to forget a trial", &home, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r < 0 ? ota_err_wrap(err, r, "GRUB may yet try %s", grub_slot_id[grub_standby(ctl)])
		     : 0;
}

static int grub_revert(struct boot_ctl *base, struct ota_err *err)
{
	const struct grub_ctl *ctl = grub_ctl_of(base);
	int r = settle_on(ctl, grub_standby(ctl), "replace grubenv at revert", err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREROLLBACK);
	return r < 0 ? ota_err_wrap(err, r, "Cannot go back to %s", grub_slot_id[grub_standby(ctl)])
		     : 0;
}

const struct boot_controller_ops grub_ops = {
	.name = "grub",
	.open = grub_open,
	.traces = grub_traces,
	.setup = grub_setup,
	.slots = grub_slots,
	.prepare = grub_prepare,
	.stage = grub_stage,
	.check = grub_check,
	.keep = grub_keep,
	.flip = grub_flip,
	.reboot = grub_reboot,
	.settle = grub_settle,
	.forget_trial = grub_forget_trial,
	.commit = grub_commit,
	.revert = grub_revert,
	.close = grub_close,
	.checks = grub_checks,
};
