/*
 * The way back on a Jetson, where each slot's status files lie inside its file system: by the real updater's steps, the
 * real start and the real CBoot controller, with an ext4 on a loop device for each slot. NVIDIA's tools and CBoot are
 * simulated (tests/support/fake-cboot). Needs root and loop devices; mounts in a namespace of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/base/io.h"
#include "common/base/mount.h"
#include "otaclient/flight/flight_recorder.h"
#include "otaclient/flight/return_reason.h"
#include "otaclient/slot/fs_state.h"
#include "otaclient/slot/slot_note.h"
#include "otaclient/trial/first_boot.h"
#include "otaclient/update/rollback.h"
#include "otaclient/update/session.h"
#include "otaclient/update/updater.h"
#include "tests/support/cboot_machine.h"

#define KERNEL "4.9.2-tegra"

static struct {
	struct cboot_machine m;
	struct boot_ctl *boot; /* NULL: the daemon does not run */
	struct flight_recorder *recorder; /* of the slot that runs; NULL = not opened */
	struct status *status;
	char run_dir[PATH_MAX];
} j;

static void must(int r, const struct ota_err *err)
{
	if (r < 0)
		fail_msg("%s", err->msg);
}

/* ---- two file systems --------------------------------------------------------------------------- */

static void point_of(unsigned slot, char ret[PATH_MAX])
{
	char name[16];

	snprintf(name, sizeof(name), "slot_%u", slot);
	machine_dir_path(j.m.dir, name, ret);
}

static void mount_slot(unsigned slot, const char *point, bool writable)
{
	if (mount(j.m.disk.slot[slot].device, point, "ext4", writable ? 0 : MS_RDONLY,
		    writable ? NULL : "noload") < 0)
		fail_msg("Cannot mount slot %u: %s", slot, strerror(errno));
}

/* Until the superblock tells: its time of the last mount is in whole seconds. */
static void mount_writable(unsigned slot)
{
	struct fs_state was, is;
	char point[PATH_MAX];

	point_of(slot, point);
	assert_int_equal(fs_state_read(j.m.disk.slot[slot].device, &was), 0);
	do {
		mount_slot(slot, point, true);
		assert_int_equal(umount(point), 0);
		assert_int_equal(fs_state_read(j.m.disk.slot[slot].device, &is), 0);
	} while (is.mounted_unix_s == was.mounted_unix_s);
}

/* What is in slot_N becomes a file system of that slot. The folder stays, empty, to be mounted on. */
static void make_fs(unsigned slot)
{
	static const char script[] =
		"rm -f \"$0/fs_$1\"; truncate -s 8M \"$0/fs_$1\" && mkfs.ext4 -q -F -d "
		"\"$0/slot_$1\" \"$0/fs_$1\" && "
		"rm -rf \"$0/slot_$1\" && mkdir \"$0/slot_$1\" && losetup --show -f \"$0/fs_$1\"";
	AUTO_BUF struct buf out = {0}, command = {0};
	struct disk_part *part = &j.m.disk.slot[slot];
	struct fs_state fs;
	char number[2] = {(char)('0' + slot)};

	assert_int_equal(buf_printf(&command, "set -- %s; %s", number, script), 0);
	machine_tool("sh", "-c", buf_str(&command), j.m.dir, &out);
	snprintf(part->device, sizeof(part->device), "%.*s", (int)strcspn(buf_str(&out), "\n"),
		buf_str(&out));
	assert_int_equal(fs_state_read(part->device, &fs), 0);
	snprintf(part->fs_uuid, sizeof(part->fs_uuid), "%s", fs.uuid);
}

static void run_on(unsigned slot)
{
	char point[PATH_MAX];

	point_of(slot, point);
	mount_slot(slot, point, true);
	cboot_machine_run_on(&j.m, slot);
	machine_dir_remove(j.m.root, "run/otaclient");
	machine_dir_make(j.m.root, "run/otaclient/mnt/standby_slot");
	snprintf(j.run_dir, sizeof(j.run_dir), "%.*s/run/otaclient", PATH_MAX - 32, j.m.root);
}

/* ---- the daemon --------------------------------------------------------------------------------- */

static void open_recorder(const char *slot)
{
	char path[PATH_MAX];

	machine_dir_make(j.m.root, "boot/ota");
	machine_dir_path(j.m.root, "boot/ota/flight-recorder", path);
	flight_recorder_free(j.recorder);
	j.recorder = flight_recorder_open(path, slot);
}

static int start(struct ota_err *err)
{
	bool on_trial = false;
	bool reset = false;
	struct return_reason why;
	struct slot_pair slots;
	int r = cboot_machine_open(&j.m, &j.boot, err);

	if (r == 0)
		r = j.boot->ops->setup(j.boot, &reset, err);
	if (r == 0)
		r = slot_note_find(j.boot, j.run_dir, err);
	if (r == 0)
		r = j.boot->ops->slots(j.boot, &slots, err);
	if (r < 0)
		return r;
	open_recorder(slots.active.id);
	return_reason_begin(j.recorder, &slots, reset, &why);
	r = first_boot_run(j.boot, reset, j.status, &on_trial, err);
	if (r < 0)
		return r;
	return_reason_tell(&why, j.recorder, &slots, NULL, j.m.root, j.run_dir, j.status);
	first_boot_settle(j.boot);
	if (!on_trial)
		return 0;
	/* As a trial without checks. */
	r = first_boot_commit(j.boot, j.m.root, err);
	if (r == 0)
		status_set_live(j.status, STATUS_SUCCESS);
	return r;
}

static void started(void)
{
	struct ota_err err = {0};

	must(start(&err), &err);
}

static void stop(void)
{
	if (j.boot)
		j.boot->ops->close(j.boot);
	j.boot = NULL;
	flight_recorder_free(j.recorder);
	j.recorder = NULL;
}

static char running(void)
{
	return j.m.disk.active == 0 ? 'a' : 'b';
}

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Each start has another one, and this machine's own is but one. */
static void new_boot_id(void)
{
	AUTO_CLOSE int fd = -1;
	uint8_t random[16];
	char hex[33], path[PATH_MAX];

	clock_random(random, sizeof(random));
	hex_encode(random, sizeof(random), hex);
	machine_dir_path(j.m.dir, "boot_id", path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_int_equal(file_write_all(fd, hex, 32), 0);
	umount2(BOOT_ID, MNT_DETACH);
	assert_int_equal(mount(path, BOOT_ID, NULL, MS_BIND, NULL), 0);
}

/* What CBoot chooses @n_starts later comes up, without a daemon yet; what it chose before ended in its kernel. */
static char restart_after(unsigned n_starts)
{
	char point[2][PATH_MAX], slot = 0;

	stop();
	for (unsigned s = 0; s < 2; s++)
		point_of(s, point[s]);
	assert_int_equal(umount(point[j.m.disk.active]), 0);
	for (unsigned s = 0; s < 2; s++)
		mount_slot(s, point[s], false);
	for (unsigned i = 0; i < n_starts; i++)
		slot = cboot_machine_try(&j.m);
	for (unsigned s = 0; s < 2; s++)
		assert_int_equal(umount(point[s]), 0);
	run_on(slot == 'a' ? 0 : 1);
	new_boot_id();
	return slot;
}

static char restart(void)
{
	return restart_after(1);
}

static void status_is(enum ota_status want, const char *slot_in_use)
{
	struct status_snapshot snap;
	char dir[PATH_MAX], stored[STATUS_SLOT_MAX];

	status_get(j.status, &snap);
	snprintf(dir, sizeof(dir), "%.*s/boot/ota-status", PATH_MAX - 64, j.m.root);
	assert_string_equal(ota_status_name(snap.ota_status), ota_status_name(want));
	assert_string_equal(ota_status_name(status_store_read_status(dir)), ota_status_name(want));
	status_store_read_slot_in_use(dir, stored);
	assert_string_equal(stored, slot_in_use);
}

static int roll_back(struct ota_err *err)
{
	const struct update_env env = {
		.status = j.status,
		.boot = j.boot,
		.recorder = j.recorder,
		.run_dir = j.run_dir,
		.scratch_dir = j.m.dir,
		.active_root = j.m.root,
	};
	struct update_session *s;
	int r = rollback_check(j.boot, err);

	if (r < 0)
		return r;
	s = session_new(&env, NULL);
	assert_non_null(s);
	r = updater_run(&env, s, err);
	session_free(s);
	return r;
}

static void refused_with(const char *sentence)
{
	struct ota_err err = {0};

	assert_true(roll_back(&err) < 0);
	assert_string_equal(err.msg, sentence);
	assert_int_equal(err.code, OTA_E_INVALID_STATUS_FOR_ROLLBACK);
}

/* What an update writes where, up to the restart; its image has been put into the other slot. */
static void update(void)
{
	unsigned standby = 1 - j.m.disk.active;
	char dir[PATH_MAX], id[2] = {(char)('0' + standby)}, point[PATH_MAX], mark[PATH_MAX];
	struct slot_pair slots;
	struct ota_err err = {0};

	must(j.boot->ops->slots(j.boot, &slots, &err), &err);
	must(status_store_write_status(slots.active.status_dir, STATUS_FAILURE, &err), &err);
	must(status_store_write_slot_in_use(slots.active.status_dir, id, &err), &err);
	slot_note_mark_dir(&slots, mark);
	must(status_store_remove_complete(mark, &err), &err);
	must(j.boot->ops->prepare(j.boot, &err), &err);
	machine_dir_path(j.run_dir, "mnt/standby_slot", point);
	mount_slot(standby, point, true);
	must(j.boot->ops->stage(j.boot, point, &err), &err);
	machine_dir_path(point, "boot/ota-status", dir);
	must(status_store_write_status(dir, STATUS_UPDATING, &err), &err);
	must(status_store_write_slot_in_use(dir, id, &err), &err);
	assert_int_equal(umount(point), 0);
	must(j.boot->ops->flip(j.boot, &err), &err);
}

/* Slot a is the factory's; b was updated to, and is committed. */
static int begin(void **state)
{
	cboot_machine_init(&j.m, false, false);
	cboot_machine_put_image(&j.m, 1, KERNEL);
	j.status = status_new();
	make_fs(0);
	make_fs(1);
	run_on(0);
	started();
	status_is(STATUS_INITIALIZED, "0");
	refused_with("Cannot go back to 1: No complete system is known to be on it");
	update();
	assert_int_equal(restart(), 'b');
	started();
	status_is(STATUS_SUCCESS, "1");
	return 0;
}

static int end(void **state)
{
	char point[PATH_MAX];

	stop();
	point_of(j.m.disk.active, point);
	assert_int_equal(umount(point), 0);
	for (unsigned s = 0; s < 2; s++)
		machine_tool("losetup", "-d", j.m.disk.slot[s].device, NULL, NULL);
	umount2(BOOT_ID, MNT_DETACH);
	cboot_machine_done(&j.m);
	status_free(j.status);
	return 0;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void there_and_back_and_there_again(void **state)
{
	struct ota_err err = {0};

	for (int i = 0; i < 4; i++) {
		const char *to = i % 2 == 0 ? "0" : "1";

		must(roll_back(&err), &err);
		assert_int_equal(restart(), to[0] == '0' ? 'a' : 'b');
		started();
		status_is(STATUS_SUCCESS, to);
		/* For good. */
		for (int n = 0; n < CBOOT_MACHINE_LOADER_TRIES + 1; n++)
			assert_int_equal(restart(), to[0] == '0' ? 'a' : 'b');
		started();
		status_is(STATUS_SUCCESS, to);
	}
}

static void a_slot_that_does_not_come_up_has_failed_and_may_be_tried_again(void **state)
{
	struct ota_err err = {0};

	must(roll_back(&err), &err);
	assert_int_equal(restart_after(CBOOT_MACHINE_TRIES + 1), 'b');
	started();
	status_is(STATUS_ROLLBACK_FAILURE, "0");
	must(roll_back(&err), &err);
	assert_int_equal(restart(), 'a');
	started();
	status_is(STATUS_SUCCESS, "0");
}

static void a_slot_that_came_up_without_a_daemon_is_no_longer_as_it_was_left(void **state)
{
	struct ota_err err = {0};

	must(roll_back(&err), &err);
	for (int i = 0; i < CBOOT_MACHINE_TRIES; i++) {
		struct fs_state left, now;

		assert_int_equal(fs_state_read(j.m.disk.slot[0].device, &left), 0);
		while ((uint32_t)clock_unix_s() == left.mounted_unix_s)
			clock_sleep_ms(20);
		assert_int_equal(restart(), 'a');
		assert_int_equal(fs_state_read(j.m.disk.slot[0].device, &now), 0);
		assert_true(now.mounted_unix_s > left.mounted_unix_s);
	}
	assert_int_equal(restart(), 'b');
	started();
	status_is(STATUS_ROLLBACK_FAILURE, "0");
	refused_with("Cannot go back to 0: It was mounted writable since it was left");
}

static void a_slot_that_somebody_has_mounted_is_not_gone_back_to(void **state)
{
	struct ota_err err = {0};

	mount_writable(0);
	refused_with("Cannot go back to 0: It was mounted writable since it was left");
	assert_int_equal(restart(), 'b');
	must(start(&err), &err);
	status_is(STATUS_SUCCESS, "1");
}

/* Slot a is left for an update that is cut; that b once asked for it is an old story. */
static void a_note_counts_once(void **state)
{
	struct ota_err err = {0};
	struct slot_pair slots;

	must(roll_back(&err), &err);
	assert_int_equal(restart(), 'a');
	started();
	status_is(STATUS_SUCCESS, "0");
	must(j.boot->ops->slots(j.boot, &slots, &err), &err);
	must(status_store_write_status(slots.active.status_dir, STATUS_FAILURE, &err), &err);
	must(status_store_write_slot_in_use(slots.active.status_dir, "1", &err), &err);
	must(j.boot->ops->prepare(j.boot, &err), &err);
	assert_int_equal(restart(), 'a');
	started();
	status_is(STATUS_FAILURE, "1");
}

/* The commit fails, and b is back. That CBoot later falls back to a is nothing that anybody has asked for. */
static void a_rollback_that_was_given_up_is_not_gone_on_with(void **state)
{
	struct ota_err err = {0};

	must(roll_back(&err), &err);
	cboot_machine_fake_tool(&j.m, "nv_update_engine", "#!/bin/sh\nexit 1\n");
	assert_int_equal(restart(), 'a');
	assert_int_equal(start(&err), -EIO);
	assert_int_equal(restart_after(CBOOT_MACHINE_TRIES), 'b');
	cboot_machine_fake_tool(&j.m, "nv_update_engine", "#!/bin/sh\nexec ~ \"$@\"\n");
	started();
	status_is(STATUS_ROLLBACK_FAILURE, "0");
	must(nvbootctrl_set_unbootable(
		     &(struct nvbootctrl){.root = "", .tools_path = j.m.tools}, 1, &err),
		&err);
	must(nvbootctrl_mark_successful(
		     &(struct nvbootctrl){.root = "", .tools_path = j.m.tools}, 0, &err),
		&err);
	assert_int_equal(restart(), 'a');
	started();
	status_is(STATUS_FAILURE, "0");
}

/* CBoot's own fallback from a committed slot is no rollback, and no success. */
static void a_slot_that_cboot_falls_back_to_says_failure(void **state)
{
	struct ota_err err = {0};

	must(nvbootctrl_set_unbootable(
		     &(struct nvbootctrl){.root = "", .tools_path = j.m.tools}, 1, &err),
		&err);
	assert_int_equal(restart(), 'a');
	started();
	status_is(STATUS_FAILURE, "1");
	refused_with("Cannot go back to 1: No complete system is known to be on it");
}

static void reason_is(const char *want)
{
	struct status_snapshot snap;

	status_get(j.status, &snap);
	assert_string_equal(snap.failure_reason, want);
}

/* What the tried slot has recorded stays on it; the one that the machine comes back to looks there. */
static void a_slot_that_was_left_again_is_asked_why(void **state)
{
	static const char why[] =
		"E209: The new system on 0 (version \"3.0\") did not commit: the last that "
		"it recorded is that the health check 10-network failed: exit 1";

	flight_recorder_note(j.recorder, FLIGHT_UPDATE_BEGINS, "3.0", "%s", "session");
	update();
	flight_recorder_note(j.recorder, FLIGHT_FLIP, "0", "%s", "session");
	assert_int_equal(restart(), 'a');
	open_recorder("0");
	flight_recorder_note(j.recorder, FLIGHT_START, "commit", "%s", "");
	flight_recorder_check(j.recorder, "10-network", false, "exit 1");
	assert_int_equal(restart_after(CBOOT_MACHINE_TRIES), 'b');
	for (int i = 0; i < 2; i++) {
		started();
		status_is(STATUS_FAILURE, "0");
		reason_is(why);
		restart();
	}
}

static void a_slot_that_never_came_up_has_recorded_nothing(void **state)
{
	flight_recorder_note(j.recorder, FLIGHT_UPDATE_BEGINS, "3.0", "%s", "session");
	update();
	flight_recorder_note(j.recorder, FLIGHT_FLIP, "0", "%s", "session");
	assert_int_equal(restart_after(CBOOT_MACHINE_TRIES + 1), 'b');
	started();
	status_is(STATUS_FAILURE, "0");
	reason_is("E209: The new system on 0 (version \"3.0\") did not commit: it gave no sign of "
		  "life: its "
		  "kernel, its root file system or the way to otaclient failed");
}

/* @path of the slot that runs goes to a place outside, and a link leads there. */
static void lead_outside(const char *path)
{
	char inside[PATH_MAX], outside[PATH_MAX], name[64];

	snprintf(name, sizeof(name), "outside-%.*s", (int)strcspn(path, "/"), path);
	machine_dir_path(j.m.root, path, inside);
	machine_dir_path(j.m.dir, name, outside);
	machine_tool("mv", inside, outside, NULL, NULL);
	assert_int_equal(symlink(outside, inside), 0);
}

/* Another system's links must not make this one read, or believe, what is not that system's. */
static void what_a_slot_says_through_links_counts_for_nothing(void **state)
{
	static const char *const paths[] = {
		"boot/ota-status", "boot/ota-status/status", "boot/ota-status/rollback_token"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct ota_err err = {0};
		struct slot_pair slots;

		if (i > 0) {
			end(state);
			begin(state);
		}
		must(j.boot->ops->slots(j.boot, &slots, &err), &err);
		must(slot_note_leave(&slots, &err), &err);
		lead_outside(paths[i]);
		must(nvbootctrl_set_unbootable(
			     &(struct nvbootctrl){.root = "", .tools_path = j.m.tools}, 1, &err),
			&err);
		assert_int_equal(restart(), 'a');
		started();
		status_is(STATUS_FAILURE, "1");
	}
}

static void a_record_behind_a_link_is_not_asked(void **state)
{
	static const char *const paths[] = {"boot/ota/flight-recorder", "boot/ota", "boot"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (i > 0) {
			end(state);
			begin(state);
		}
		flight_recorder_note(j.recorder, FLIGHT_UPDATE_BEGINS, "3.0", "%s", "session");
		update();
		flight_recorder_note(j.recorder, FLIGHT_FLIP, "0", "%s", "session");
		assert_int_equal(restart(), 'a');
		open_recorder("0");
		flight_recorder_check(j.recorder, "10-network", false, "exit 1");
		lead_outside(paths[i]);
		assert_int_equal(restart_after(CBOOT_MACHINE_TRIES), 'b');
		started();
		status_is(STATUS_FAILURE, "0");
		reason_is("E209: The new system on 0 (version \"3.0\") did not commit: what it "
			  "did is recorded on its own slot alone");
	}
}

static struct {
	unsigned n, at;
} power;

static int count_step(void *ctx, const char *what)
{
	return ++power.n < power.at ? 0 : -EIO;
}

/* Ends with the machine running again, and says what it says. */
static void come_up(void)
{
	struct status_snapshot snap;

	restart();
	started();
	status_get(j.status, &snap);
	if (running() == 'a')
		status_is(STATUS_SUCCESS, "0");
	else if (snap.ota_status == STATUS_SUCCESS)
		status_is(STATUS_SUCCESS, "1");
	else
		status_is(STATUS_ROLLBACK_FAILURE, "0");
}

/* In the request, and in the first start of the slot that was gone back to. */
static void a_cut_anywhere_leaves_a_machine_that_says_what_is_true(void **state)
{
	unsigned n_cuts[2] = {0};

	for (int when = 0; when < 2; when++) {
		int r = -EIO;

		for (unsigned at = 1; r < 0; at++) {
			struct ota_err err = {0};

			begin(NULL);
			if (when == 1) {
				must(roll_back(&err), &err);
				assert_int_equal(restart(), 'a');
			}
			power.n = 0;
			power.at = at;
			io_set_hook(count_step, NULL);
			r = when == 0 ? roll_back(&err) : start(&err);
			/* That the slots are marked is a courtesy, which a commit goes on without. */
			if (power.n >= at)
				r = -EIO;
			io_set_hook(NULL, NULL);
			n_cuts[when] += r < 0;
			come_up();
			if (when == 1)
				assert_int_equal(running(), 'a');
			if (running() == 'b')
				must(roll_back(&err), &err);
			end(NULL);
		}
	}
	print_message("%u and %u cuts\n", n_cuts[0], n_cuts[1]);
	assert_true(n_cuts[0] >= 7 && n_cuts[1] >= 8);
}

#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(there_and_back_and_there_again),
		T(a_slot_that_does_not_come_up_has_failed_and_may_be_tried_again),
		T(a_slot_that_came_up_without_a_daemon_is_no_longer_as_it_was_left),
		T(a_slot_that_somebody_has_mounted_is_not_gone_back_to),
		T(a_note_counts_once),
		T(a_rollback_that_was_given_up_is_not_gone_on_with),
		T(a_slot_that_cboot_falls_back_to_says_failure),
		T(a_slot_that_was_left_again_is_asked_why),
		T(a_slot_that_never_came_up_has_recorded_nothing),
		T(what_a_slot_says_through_links_counts_for_nothing),
		T(a_record_behind_a_link_is_not_asked),
		cmocka_unit_test(a_cut_anywhere_leaves_a_machine_that_says_what_is_true),
	};

	/* Nothing that is mounted here may show outside. */
	if (mount_own_namespace(NULL) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
