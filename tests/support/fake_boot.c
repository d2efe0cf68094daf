/*
 * fake_boot: a boot controller in a plain folder. Contract: fake_boot.h.
 */
#include "tests/support/fake_boot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"

static const char *const op_name[FAKE_BOOT_N_OPS] = {"open", "setup", "slots", "prepare", "stage",
	"check", "keep", "flip", "reboot", "commit", "revert", "close"};

static struct fake_boot *fake;

struct fake_ctl {
	struct boot_ctl base;
	char running;
};

static const struct boot_controller_ops fake_ops;

static struct fake_ctl *fake_of(struct boot_ctl *ctl)
{
	assert(ctl->ops == &fake_ops);
	return (struct fake_ctl *)ctl;
}

static int open_state(const struct fake_boot *f)
{
	int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert(fd >= 0);
	return fd;
}

/* The slot that a state file names; 0 if there is no such file. */
static char get(const struct fake_boot *f, const char *name)
{
	AUTO_CLOSE int fd = open_state(f);
	AUTO_BUF struct buf b = {0};

	return file_read(fd, name, 64, &b) == 0 ? *buf_str(&b) : 0;
}

static int put(const char *name, char slot)
{
	AUTO_CLOSE int fd = open_state(fake);
	int r;

	if (slot)
		return io_replace_file("fake boot state", fd, name, &slot, 1, 0644);
	r = io_unlink("fake boot state", fd, name, 0);
	return r == -ENOENT ? 0 : r;
}

static char other(char slot)
{
	return slot == 'a' ? 'b' : 'a';
}

static const char *entry(char slot)
{
	return slot == 'a' ? "entry_a" : "entry_b";
}

/* Every operation begins with this: it is noted, and fails if it is told to. */
static int enter(enum fake_boot_op op, struct ota_err *err)
{
	assert(fake);
	if (buf_printf(&fake->calls, "%s%s", fake->calls.len_bytes ? " " : "", op_name[op]) < 0)
		abort();
	if (!fake->fail[op])
		return 0;
	return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC,
		"The fake boot loader was told to fail at %s", op_name[op]);
}

static int leave(int r, struct ota_err *err)
{
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "Cannot write the fake boot loader's state: %s", strerror(-r))
		     : 0;
}

static int fake_open(struct boot_ctl **ret_ctl, const struct boot_env *env, struct ota_err *err)
{
	int r = enter(FAKE_BOOT_OPEN, err);
	struct fake_ctl *ctl;

	if (r < 0)
		return r;
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return leave(-ENOMEM, err);
	ctl->base.ops = &fake_ops;
	ctl->running = get(fake, "running");
	if (!ctl->running)
		ctl->running = 'a';
	*ret_ctl = &ctl->base;
	return 0;
}

static int fake_setup(struct boot_ctl *base, bool *ret_reset, struct ota_err *err)
{
	char running = fake_of(base)->running;
	bool fresh = !get(fake, "set_up");
	int r = enter(FAKE_BOOT_SETUP, err);

	if (r < 0)
		return r;
	if (fresh) {
		r = put("running", running);
		if (r == 0)
			r = put(entry(running), running);
		if (r == 0)
			r = put("saved", running);
		if (r == 0)
			r = put("set_up", running);
	}
	if (r < 0)
		return leave(r, err);
	*ret_reset = fresh;
	return 0;
}

static void fill(char slot, struct boot_slot *ret)
{
	unsigned i = slot == 'a' ? 0 : 1;

	snprintf(ret->id, sizeof(ret->id), "ota-slot_%c", slot);
	snprintf(ret->device, sizeof(ret->device), "%s", fake->device[i] ? fake->device[i] : "");
	snprintf(
		ret->fs_uuid, sizeof(ret->fs_uuid), "%s", fake->fs_uuid[i] ? fake->fs_uuid[i] : "");
	snprintf(ret->fs_label, sizeof(ret->fs_label), "%s",
		fake->fs_label[i] ? fake->fs_label[i] : "");
	snprintf(ret->status_dir, sizeof(ret->status_dir), "%.*s/%s", PATH_MAX - 64, fake->dir,
		ret->id);
}

static int fake_slots(const struct boot_ctl *base, struct slot_pair *ret_slots, struct ota_err *err)
{
	const struct fake_ctl *ctl = (const struct fake_ctl *)base;
	struct slot_pair pair = {0};
	int r = enter(FAKE_BOOT_SLOTS, err);

	if (r < 0)
		return r;
	fill(ctl->running, &pair.active);
	fill(other(ctl->running), &pair.standby);
	*ret_slots = pair;
	return 0;
}

static int fake_prepare(struct boot_ctl *base, struct ota_err *err)
{
	char running = fake_of(base)->running;
	int r = enter(FAKE_BOOT_PREPARE, err);

	if (r < 0)
		return r;
	r = put("saved", running);
	if (r == 0)
		r = put("next", 0);
	if (r == 0)
		r = put(entry(other(running)), 0);
	if (r == 0)
		r = put("staged", 0);
	return leave(r, err);
}

static int fake_stage(struct boot_ctl *base, const char *standby_root, struct ota_err *err)
{
	int r = enter(FAKE_BOOT_STAGE, err);

	if (r < 0)
		return r;
	snprintf(fake->staged_root, sizeof(fake->staged_root), "%s", standby_root);
	return leave(put("staged", other(fake_of(base)->running)), err);
}

static int fake_check(const struct boot_ctl *base, struct ota_err *err)
{
	char standby = other(((const struct fake_ctl *)base)->running);
	int r = enter(FAKE_BOOT_CHECK, err);

	if (r < 0 || get(fake, entry(standby)) == standby)
		return r;
	return ota_err_set(err, -ENOENT, OTA_E_UNSPECIFIC, "ota-slot_%c cannot be booted", standby);
}

static int fake_keep(struct boot_ctl *base, struct ota_err *err)
{
	char running = fake_of(base)->running, standby = other(running);
	int r = enter(FAKE_BOOT_KEEP, err);

	if (r < 0)
		return r;
	if (get(fake, entry(standby)) != standby)
		return ota_err_set(
			err, -ENOENT, OTA_E_UNSPECIFIC, "ota-slot_%c cannot be booted", standby);
	r = put("saved", running);
	return leave(r < 0 ? r : put("next", 0), err);
}

static int fake_flip(struct boot_ctl *base, struct ota_err *err)
{
	char standby = other(fake_of(base)->running);
	int r = enter(FAKE_BOOT_FLIP, err);

	if (r < 0)
		return r;
	if (get(fake, "staged") != standby && get(fake, entry(standby)) != standby)
		return ota_err_set(err, -ENOENT, OTA_E_BOOTCONTROL_POSTUPDATE,
			"ota-slot_%c was not staged", standby);
	r = put(entry(standby), standby);
	if (r == 0)
		r = put("staged", 0);
	if (r == 0)
		r = put("next", standby);
	return leave(r, err);
}

static int fake_reboot(struct boot_ctl *base, struct ota_err *err)
{
	int r = enter(FAKE_BOOT_REBOOT, err);

	if (r < 0)
		return r;
	fake->n_reboots++;
	return 0;
}

static int settle_on(char slot, struct ota_err *err)
{
	int r;

	if (get(fake, entry(slot)) != slot)
		return ota_err_set(
			err, -ENOENT, OTA_E_UNSPECIFIC, "ota-slot_%c cannot be booted", slot);
	r = put("saved", slot);
	return leave(r < 0 ? r : put("next", 0), err);
}

static int fake_commit(struct boot_ctl *base, struct ota_err *err)
{
	int r = enter(FAKE_BOOT_COMMIT, err);

	return r < 0 ? r : settle_on(fake_of(base)->running, err);
}

static int fake_revert(struct boot_ctl *base, struct ota_err *err)
{
	int r = enter(FAKE_BOOT_REVERT, err);

	return r < 0 ? r : settle_on(other(fake_of(base)->running), err);
}

static void fake_close(struct boot_ctl *base)
{
	if (!base)
		return;
	enter(FAKE_BOOT_CLOSE, NULL);
	free(fake_of(base));
}

static const struct boot_controller_ops fake_ops = {
	.name = "fake",
	.open = fake_open,
	.setup = fake_setup,
	.slots = fake_slots,
	.prepare = fake_prepare,
	.stage = fake_stage,
	.check = fake_check,
	.keep = fake_keep,
	.flip = fake_flip,
	.reboot = fake_reboot,
	.commit = fake_commit,
	.revert = fake_revert,
	.close = fake_close,
};

void fake_boot_use(struct fake_boot *f)
{
	fake = f;
	boot_controller_register_for_test(f ? &fake_ops : NULL);
}

void fake_boot_restart(const struct fake_boot *f)
{
	char next = get(f, "next"), chosen = next ? next : get(f, "saved");

	/* The loader clears the trial before it boots it, and takes the other entry if one is not there. */
	if (put("next", 0) < 0)
		abort();
	if (chosen && get(f, entry(chosen)) != chosen)
		chosen = other(chosen);
	if (put("running", chosen) < 0)
		abort();
}

char fake_boot_running(const struct fake_boot *f)
{
	return get(f, "running");
}

char fake_boot_saved(const struct fake_boot *f)
{
	return get(f, "saved");
}

bool fake_boot_can_reach(const struct fake_boot *f, char slot)
{
	return get(f, entry(slot)) == slot;
}

void fake_boot_done(struct fake_boot *f)
{
	buf_done(&f->calls);
}
