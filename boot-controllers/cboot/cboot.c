/*
 * cboot: the controller's operations. Contract: boot_controller.h; what CBoot can and cannot: cboot.h.
 *
 * The power-cut rule, step by step:
 *
 *     prepare   a switch of before is taken back; the standby counts as not whole; its root is made unbootable
 *     stage     files inside the standby's root, and on the disk that CBoot reads; both are not in use; then firmware,
 *               into the boot loader's slot that goes with the standby
 *     keep      a switch of before is taken back
 *     flip      the standby counts as whole (it is closed by now); the boot loader's slot, then the root's, which
 *               decides; unified: one switch
 *     settle    the boot loader and the root are called good, if the slot's status says that this is no trial
 *     commit    the same, so that their counters stand still
 *
 * Elsewhere: cboot_ctl (single changes), cboot_rootfs (files of a slot), nvbootctrl (tools), cboot_disk (partitions).
 */
#include "boot-controllers/cboot/cboot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "boot-controllers/cboot/cboot_ctl.h"
#include "boot-controllers/cboot/cboot_inspect.h"
#include "boot-controllers/cboot/cboot_rootfs.h"
#include "boot-controllers/cboot/firmware_update.h"
#include "boot-controllers/cboot/tegra_release.h"
#include "boot-controllers/restart.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/base/path.h"

enum {
	STATUS_MAX_BYTES = 256, /* one word: docs/formats.md, "Status files" */
};

/* ---- opening ------------------------------------------------------------------------------------ */

static void ctl_free(struct cboot_ctl *ctl)
{
	if (!ctl)
		return;
	closep(&ctl->root_fd);
	free(ctl->tools_path);
	free(ctl);
}

static void cboot_close(struct boot_ctl *base)
{
	if (base)
		ctl_free(cboot_ctl_of(base));
}

static void ctl_closep(struct cboot_ctl **ctl)
{
	ctl_free(*ctl);
}

/* A Jetson by its files alone: no tool of NVIDIA's is run on a machine that is none. */
static int recognise(int root_fd, struct tegra_release *ret_release, struct ota_err *err)
{
	AUTO_BUF struct buf text = {0};
	struct stat st;
	int r = file_read(root_fd, "etc/nv_tegra_release", TEGRA_RELEASE_MAX_BYTES, &text);

	if (r < 0)
		return ota_err_set(err, r == -ENOENT ? -ENODEV : r, OTA_E_UNSPECIFIC,
			"This is no Jetson: /etc/nv_tegra_release cannot be read: %s",
			file_read_why(r));
	r = tegra_release_parse(buf_str(&text), text.len_bytes, ret_release, err);
	if (r < 0)
		return ota_err_wrap(err, -ENODEV, "/etc/nv_tegra_release is unusable");
	if (!tegra_release_before(ret_release, 34, 0, 0))
		return ota_err_set(err, -ENODEV, OTA_E_UNSPECIFIC,
			"The board support package is R%u.%u.%u, but CBoot is that of releases "
			"before R34; later ones boot by UEFI, which is not supported",
			ret_release->major, ret_release->minor, ret_release->patch);
	if (fstatat(root_fd, "etc/nv_boot_control.conf", &st, 0) < 0)
		return ota_err_set(err, errno == ENOENT ? -ENODEV : -errno, OTA_E_UNSPECIFIC,
			"This Jetson has no two slots: /etc/nv_boot_control.conf: %s",
			strerror(errno));
	return 0;
}

/* As otaclient/slot/slot_mount.c has it. */
static void put_standby_dir(const struct boot_env *env, char ret_dir[PATH_MAX])
{
	snprintf(ret_dir, PATH_MAX, "%.*s%s/mnt/standby_slot", PATH_MAX - 64,
		env->run_dir ? env->run_dir : env->root, env->run_dir ? "" : "/run/otaclient");
}

static int ctl_new(const struct boot_env *env, struct cboot_ctl **ret_ctl,
	struct tegra_release *ret_release, struct ota_err *err)
{
	CLEANUP(ctl_closep) struct cboot_ctl *ctl = calloc(1, sizeof(*ctl));
	int r;

	if (!ctl)
		return ota_err_no_memory(err, "the boot controller");
	ctl->base.ops = &cboot_ops;
	ctl->root_fd = -1;
	if ((size_t)snprintf(ctl->root, sizeof(ctl->root), "%s", env->root) >=
		sizeof(ctl->root) - 64)
		return ota_err_set(err, -ENAMETOOLONG, OTA_E_BOOTCONTROL_STARTUP,
			"The root's path is too long");
	put_standby_dir(env, ctl->standby_dir);
	ctl->tools_path = env->tools_path ? strdup(env->tools_path) : NULL;
	if (env->tools_path && !ctl->tools_path)
		return ota_err_no_memory(err, "the boot controller");
	ctl->root_fd = open(ctl->root[0] ? ctl->root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ctl->root_fd < 0)
		return ota_err_set(err, errno == ENOENT ? -ENODEV : -errno, OTA_E_UNSPECIFIC,
			"Cannot open %s: %s", ctl->root[0] ? ctl->root : "/", strerror(errno));
	r = recognise(ctl->root_fd, ret_release, err);
	if (r < 0)
		return r;
	ctl->tools = (struct nvbootctrl){.root = ctl->root, .tools_path = ctl->tools_path};
	*ret_ctl = TAKE_PTR(ctl);
	return 0;
}

/* What the tools say must agree with where the root is, or we would write over the system that runs. */
static int ask_tools(
	struct cboot_ctl *ctl, const struct tegra_release *release, struct ota_err *err)
{
	unsigned slot = 0;
	int r = 0;

	if (!tegra_release_before(release, 32, 6, 1))
		r = nvbootctrl_is_unified(&ctl->tools, &ctl->unified, err);
	if (r == 0)
		r = nvbootctrl_current_slot(&ctl->tools,
			ctl->unified ? NVBOOTCTRL_LOADER : NVBOOTCTRL_ROOTFS, &slot, err);
	if (r < 0) {
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
		return ota_err_wrap(err, r == -ENODEV ? -EIO : r, "Cannot ask which slot runs");
	}
	if (slot != ctl->disk.active)
		return ota_err_set(err, -EINVAL, OTA_E_BOOTCONTROL_STARTUP,
			"nvbootctrl says that slot %u runs, but the root file system is that of "
			"slot %u",
			slot, ctl->disk.active);
	return 0;
}

static int open_on(struct boot_ctl **ret_ctl, const struct boot_env *env,
	const struct cboot_disk *disk, uint32_t tool_timeout_ms, struct ota_err *err)
{
	CLEANUP(ctl_closep) struct cboot_ctl *ctl = NULL;
	struct tegra_release release;
	int r = ctl_new(env, &ctl, &release, err); /* no Jetson: do not look at disks */

	if (r < 0)
		return r;
	ctl->tools.timeout_ms = tool_timeout_ms;
	if (disk)
		ctl->disk = *disk;
	else
		r = cboot_disk_probe(env->root[0] ? env->root : "/", &ctl->disk, err);
	if (r == 0)
		r = ask_tools(ctl, &release, err);
	if (r < 0)
		return r;
	*ret_ctl = &TAKE_PTR(ctl)->base;
	return 0;
}

int cboot_open_on_disk(struct boot_ctl **ret_ctl, const struct boot_env *env,
	const struct cboot_disk *disk, uint32_t tool_timeout_ms, struct ota_err *err)
{
	return open_on(ret_ctl, env, disk, tool_timeout_ms, err);
}

static int cboot_open(struct boot_ctl **ret_ctl, const struct boot_env *env, struct ota_err *err)
{
	return open_on(ret_ctl, env, NULL, 0, err);
}

/* ---- slots -------------------------------------------------------------------------------------- */

static int cboot_setup(struct boot_ctl *base, bool *ret_reset, struct ota_err *err)
{
	AUTO_CLOSE int fd = cboot_open_status_dir(cboot_ctl_of(base));

	if (fd < 0)
		return ota_err_set(err, fd, OTA_E_BOOTCONTROL_STARTUP,
			"Cannot make the status folder /%s: %s", CBOOT_STATUS_DIR, strerror(-fd));
	/* The status is the slot's own; whoever flashes a slot starts without one. */
	*ret_reset = false;
	return 0;
}

static void fill_slot(const struct cboot_ctl *ctl, unsigned slot, struct boot_slot *ret)
{
	const struct disk_part *p = &ctl->disk.slot[slot];
	bool standby = slot != ctl->disk.active;

	snprintf(ret->id, sizeof(ret->id), "%u", slot);
	snprintf(ret->device, sizeof(ret->device), "%s", p->device);
	snprintf(ret->fs_uuid, sizeof(ret->fs_uuid), "%s", p->fs_uuid);
	snprintf(ret->fs_label, sizeof(ret->fs_label), "%s", p->fs_label);
	snprintf(ret->status_dir, sizeof(ret->status_dir), "%.*s/%s", PATH_MAX - 64,
		standby ? ctl->standby_dir : ctl->root, CBOOT_STATUS_DIR);
	ret->status_inside = standby;
}

static int cboot_slots(
	const struct boot_ctl *base, struct slot_pair *ret_slots, struct ota_err *err)
{
	const struct cboot_ctl *ctl = cboot_ctl_of_const(base);
	struct slot_pair pair = {0};

	fill_slot(ctl, ctl->disk.active, &pair.active);
	fill_slot(ctl, cboot_standby(ctl), &pair.standby);
	*ret_slots = pair;
	return 0;
}

/* ---- operations --------------------------------------------------------------------------------- */

static int cboot_prepare(struct boot_ctl *base, struct ota_err *err)
{
	struct cboot_ctl *ctl = cboot_ctl_of(base);
	unsigned standby = cboot_standby(ctl);
	int r = cboot_fall_back(ctl, err);

	ctl->staged = false;
	if (r == 0)
		r = cboot_forget_other(ctl, err);
	if (r == 0 && !ctl->unified)
		r = nvbootctrl_set_unbootable(&ctl->tools, standby, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREUPDATE);
	return r < 0 ? ota_err_wrap(err, r, "Cannot take slot %u out of CBoot's reach", standby)
		     : 0;
}

/* The new system is to know that the one it comes from is whole. */
static int note_in_standby(const struct cboot_ctl *ctl, int root_fd, struct ota_err *err)
{
	AUTO_CLOSE int fd =
		cboot_open_dir(root_fd, "/boot", "ota-status", "make the status folder");
	int r = fd < 0 ? fd : cboot_write_other(fd, ctl->disk.active);

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write the slot's /%s/%s: %s",
			       CBOOT_STATUS_DIR, CBOOT_OTHER_SLOT, strerror(-r))
		     : 0;
}

static int stage_on(const struct cboot_ctl *ctl, const char *standby_root, struct ota_err *err)
{
	AUTO_CLOSE int root_fd = open(standby_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct firmware_plan firmware;
	int r;

	if (root_fd < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC, "Cannot open %s: %s",
			standby_root, strerror(errno));
	r = firmware_update_plan(ctl, root_fd, &firmware, err);
	if (r == 0)
		r = cboot_rootfs_set_extlinux(ctl, root_fd, err);
	if (r == 0)
		r = cboot_rootfs_mirror_config(ctl, root_fd, err);
	if (r == 0)
		r = note_in_standby(ctl, root_fd, err);
	if (r == 0)
		r = cboot_rootfs_mirror_boot(ctl, root_fd, err);
	return r < 0 ? r : firmware_update_install(ctl, standby_root, &firmware, err);
}

static int cboot_stage(struct boot_ctl *base, const char *standby_root, struct ota_err *err)
{
	struct cboot_ctl *ctl = cboot_ctl_of(base);
	int r = stage_on(ctl, standby_root, err);

	ctl->staged = r == 0;
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_POSTUPDATE);
	return r < 0 ? ota_err_wrap(err, r, "Cannot make slot %u bootable", cboot_standby(ctl)) : 0;
}

static int cboot_check(const struct boot_ctl *base, struct ota_err *err)
{
	int r = cboot_check_other(cboot_ctl_of_const(base), err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREROLLBACK);
	return r;
}

static int cboot_keep(struct boot_ctl *base, struct ota_err *err)
{
	const struct cboot_ctl *ctl = cboot_ctl_of(base);
	int r = cboot_check_other(ctl, err);

	if (r == 0)
		r = cboot_fall_back(ctl, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREROLLBACK);
	return r < 0 ? ota_err_wrap(err, r, "Cannot make CBoot ready to go back to slot %u",
			       cboot_standby(ctl))
		     : 0;
}

/* What was staged is closed by now, and therefore whole. */
static int confirm_other(struct cboot_ctl *ctl, struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	int r;

	if (!ctl->staged)
		return cboot_check_other(ctl, err);
	fd = cboot_open_status_dir(ctl);
	r = fd < 0 ? fd : cboot_write_other(fd, cboot_standby(ctl));
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot write /%s/%s: %s",
			CBOOT_STATUS_DIR, CBOOT_OTHER_SLOT, strerror(-r));
	return 0;
}

static int cboot_flip(struct boot_ctl *base, struct ota_err *err)
{
	struct cboot_ctl *ctl = cboot_ctl_of(base);
	unsigned standby = cboot_standby(ctl);
	int r = confirm_other(ctl, err);

	if (r == 0)
		r = cboot_switch(ctl, standby, err);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_POSTUPDATE);
	return r < 0 ? ota_err_wrap(err, r, "Cannot make the next boot try slot %u", standby) : 0;
}

static int cboot_reboot(struct boot_ctl *base, struct ota_err *err)
{
	const struct cboot_ctl *ctl = cboot_ctl_of(base);

	return restart_machine(ctl->root, ctl->tools_path, err);
}

/* So that the counters stand still. */
static int call_good(const struct cboot_ctl *ctl, struct ota_err *err)
{
	struct ota_err why = {0};
	int r = nvbootctrl_verify(&ctl->tools, err);

	/* What NVIDIA's own service does at each start, too, so this alone does not fail an update. */
	if (r == 0 && !ctl->unified &&
		nvbootctrl_mark_successful(&ctl->tools, ctl->disk.active, &why) < 0)
		log_warning("CBoot may leave slot %u again: %s", ctl->disk.active, why.msg);
	return r;
}

/* Does the status say that nothing is to be decided about this slot? Not if there is none. */
static bool is_settled(const struct cboot_ctl *ctl)
{
	static const char *const words[] = {
		"INITIALIZED", "SUCCESS", "FAILURE", "ROLLBACK_FAILURE", "ABORTED"};
	AUTO_BUF struct buf text = {0};
	size_t len;

	if (cboot_rootfs_read(
		    ctl->root_fd, "/" CBOOT_STATUS_DIR "/status", STATUS_MAX_BYTES, &text) < 0)
		return false;
	len = strcspn(buf_str(&text), "\r\n");
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strlen(words[i]) == len && memcmp(text.data, words[i], len) == 0)
			return true;
	return false;
}

/*
 * A slot that was gone back to, by revert() or by CBoot itself, has been made the active one, and has to prove itself
 * again: without this it would be left for the one that was given up.
 */
static int cboot_settle(struct boot_ctl *base, bool standby_whole, struct ota_err *err)
{
	const struct cboot_ctl *ctl = cboot_ctl_of(base);
	int r = cboot_is_switched(ctl) || !is_settled(ctl) ? 0 : call_good(ctl, err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r < 0 ? ota_err_wrap(err, r, "CBoot may leave slot %u again", ctl->disk.active) : 0;
}

static int cboot_commit(struct boot_ctl *base, struct ota_err *err)
{
	const struct cboot_ctl *ctl = cboot_ctl_of(base);
	int r = call_good(ctl, err);

	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r < 0 ? ota_err_wrap(err, r, "Cannot keep slot %u for good", ctl->disk.active) : 0;
}

static int cboot_revert(struct boot_ctl *base, struct ota_err *err)
{
	const struct cboot_ctl *ctl = cboot_ctl_of(base);
	unsigned standby = cboot_standby(ctl);
	struct ota_err why = {0};
	int r = cboot_check_other(ctl, err);

	if (r == 0)
		r = cboot_switch(ctl, standby, err);
	/* It was good before, so it has nothing to prove. Without that it boots next all the same. */
	if (r == 0 && !ctl->unified && nvbootctrl_mark_successful(&ctl->tools, standby, &why) < 0)
		log_warning("CBoot may leave slot %u again: %s", standby, why.msg);
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_PREROLLBACK);
	return r < 0 ? ota_err_wrap(err, r, "Cannot go back to slot %u", standby) : 0;
}

const struct boot_controller_ops cboot_ops = {
	.name = "jetson-cboot",
	.open = cboot_open,
	.setup = cboot_setup,
	.slots = cboot_slots,
	.prepare = cboot_prepare,
	.stage = cboot_stage,
	.check = cboot_check,
	.keep = cboot_keep,
	.flip = cboot_flip,
	.reboot = cboot_reboot,
	.settle = cboot_settle,
	.commit = cboot_commit,
	.revert = cboot_revert,
	.close = cboot_close,
	.checks = cboot_checks,
};
