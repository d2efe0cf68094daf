/*
 * The CBoot controller on a Jetson in a folder: what it recognises, asks, writes and refuses. NVIDIA's tools and CBoot
 * are simulated (tests/support/fake-cboot); needs no root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "tests/support/cboot_machine.h"

static struct cboot_machine m;

static int begin(void **state)
{
	cboot_machine_init(&m, false, false);
	return 0;
}

static int begin_unified(void **state)
{
	cboot_machine_init(&m, true, false);
	return 0;
}

static int begin_external(void **state)
{
	cboot_machine_init(&m, false, true);
	return 0;
}

static int end(void **state)
{
	cboot_machine_done(&m);
	return 0;
}

static void must(int r, const struct ota_err *err)
{
	if (r < 0)
		fail_msg("%s", err->msg);
}

static struct boot_ctl *opened(void)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	bool reset;

	must(cboot_machine_open(&m, &ctl, &err), &err);
	must(ctl->ops->setup(ctl, &reset, &err), &err);
	return ctl;
}

static void opens_not(int errnum, const char *sentence)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	int r = cboot_machine_open(&m, &ctl, &err);

	assert_string_equal(err.msg, sentence);
	assert_int_equal(r, errnum);
	assert_null(ctl);
}

static void file_is(const char *path, const char *want)
{
	AUTO_BUF struct buf b = {0};

	cboot_machine_read(&m, path, &b);
	assert_string_equal(buf_str(&b), want);
}

/* What the tools were asked since the last look. */
static void calls_are(const char *want)
{
	file_is("nvbootctrl-calls", want);
	cboot_machine_write(&m, "nvbootctrl-calls", "");
}

static void calls_have_been_read(void)
{
	cboot_machine_write(&m, "nvbootctrl-calls", "");
}

/* ---- recognising -------------------------------------------------------------------------------- */

static void a_machine_that_is_none_is_not_asked(void **state)
{
	cboot_machine_remove(&m, "slot_0/etc/nv_boot_control.conf");
	opens_not(-ENODEV, "This Jetson has no two slots: /etc/nv_boot_control.conf: No such file "
			   "or directory");
	cboot_machine_write(
		&m, "slot_0/etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 1\n");
	opens_not(-ENODEV,
		"The board support package is R35.4.1, but CBoot is that of releases before R34; "
		"later ones boot by UEFI, which is not supported");
	cboot_machine_write(&m, "slot_0/etc/nv_tegra_release", "Debian\n");
	opens_not(-ENODEV,
		"/etc/nv_tegra_release is unusable: It does not begin with \"# R<number> (…), "
		"REVISION: <number>.<number>\"");
	cboot_machine_remove(&m, "slot_0/etc/nv_tegra_release");
	opens_not(-ENODEV, "This is no Jetson: /etc/nv_tegra_release cannot be read: No such file "
			   "or directory");
	assert_false(cboot_machine_exists(&m, "nvbootctrl-calls"));
}

static void older_packages_are_not_asked_whether_they_are_unified(void **state)
{
	struct boot_ctl *ctl = opened();

	calls_are("is-unified-enabled\n-t rootfs get-current-slot\n");
	ctl->ops->close(ctl);
	cboot_machine_write(
		&m, "slot_0/etc/nv_tegra_release", "# R32 (release), REVISION: 5.2, X\n");
	ctl = opened();
	calls_are("-t rootfs get-current-slot\n");
	ctl->ops->close(ctl);
}

static void any_other_answer_than_yes_is_not_unified(void **state)
{
	static const char *const status[] = {"69", "70", "1", "255"};

	for (size_t i = 0; i < ARRAY_SIZE(status); i++) {
		char script[128];
		struct boot_ctl *ctl;

		snprintf(script, sizeof(script),
			"#!/bin/sh\n[ \"$1\" != is-unified-enabled ] || exit %s\nexec ~ \"$@\"\n",
			status[i]);
		cboot_machine_fake_tool(&m, "nvbootctrl", script);
		ctl = opened();
		calls_are("-t rootfs get-current-slot\n");
		ctl->ops->close(ctl);
	}
}

static void slots_are_partitions_with_their_status_inside(void **state)
{
	struct boot_ctl *ctl = opened();
	struct slot_pair slots;
	struct ota_err err = {0};
	char dir[PATH_MAX];

	must(ctl->ops->slots(ctl, &slots, &err), &err);
	assert_string_equal(slots.active.id, "0");
	assert_string_equal(slots.active.device, "/dev/fake1");
	snprintf(dir, sizeof(dir), "%.*s/boot/ota-status", PATH_MAX - 64, m.root);
	assert_string_equal(slots.active.status_dir, dir);
	assert_false(slots.active.status_inside);
	assert_string_equal(slots.standby.id, "1");
	assert_string_equal(slots.standby.device, "/dev/fake2");
	snprintf(dir, sizeof(dir), "%.*s/run/otaclient/mnt/standby_slot/boot/ota-status",
		PATH_MAX - 64, m.root);
	assert_string_equal(slots.standby.status_dir, dir);
	assert_true(slots.standby.status_inside);
	ctl->ops->close(ctl);
	/* Where the daemon is told to mount it. */
	m.env.run_dir = "/var/lib/ota";
	ctl = opened();
	must(ctl->ops->slots(ctl, &slots, &err), &err);
	assert_string_equal(
		slots.standby.status_dir, "/var/lib/ota/mnt/standby_slot/boot/ota-status");
	ctl->ops->close(ctl);
}

/* ---- tools that misbehave ----------------------------------------------------------------------- */

static void answers_that_are_no_slot_are_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *print, *sentence;
	} odd[] = {
		{"echo garbage",
			"Cannot ask which slot runs: nvbootctrl get-current-slot printed 8 bytes that are neither 0 nor 1"},
		{"echo 2",
			"Cannot ask which slot runs: nvbootctrl get-current-slot printed 2 bytes that are neither 0 nor 1"},
		{":",
			"Cannot ask which slot runs: nvbootctrl get-current-slot printed 0 bytes that are neither 0 nor 1"},
		{"head -c 1000 /dev/zero",
			"Cannot ask which slot runs: nvbootctrl get-current-slot printed 1000 bytes that are neither 0 nor 1"},
		{"echo 1",
			"nvbootctrl says that slot 1 runs, but the root file system is that of slot 0"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		char script[128];

		snprintf(script, sizeof(script),
			"#!/bin/sh\ncase $* in *get-current-slot) %s ;; *) exit 70 ;; esac\n",
			odd[i].print);
		cboot_machine_fake_tool(&m, "nvbootctrl", script);
		opens_not(i == 4 ? -EINVAL : -EBADMSG, odd[i].sentence);
	}
}

/* The sentence, without the path of the tool. */
static void opens_not_for(int errnum, const char *part)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};

	assert_int_equal(cboot_machine_open(&m, &ctl, &err), errnum);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
	assert_int_equal(strncmp(err.msg, "Cannot ask which slot runs: ", 28), 0);
	if (!strstr(err.msg, part))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, part);
}

static void a_tool_that_is_missing_hangs_floods_or_fails_is_told(void **state)
{
	cboot_machine_fake_tool(&m, "nvbootctrl",
		"#!/bin/sh\n[ $# -gt 1 ] || exit 70\necho no device >&2\nexit 1\n");
	opens_not_for(-EIO, "no device");
	cboot_machine_fake_tool(&m, "nvbootctrl",
		"#!/bin/sh\n[ $# -gt 1 ] || exit 70\nexec head -c 8M /dev/zero\n");
	opens_not_for(-EFBIG, "nvbootctrl");
	cboot_machine_fake_tool(&m, "nvbootctrl", "#!/bin/sh\nexec sleep 100\n");
	m.tool_timeout_ms = 200;
	opens_not_for(-ETIMEDOUT, "nvbootctrl");
	cboot_machine_remove(&m, "tools/nvbootctrl");
	opens_not_for(-ENOENT, "nvbootctrl");
}

static void a_standby_that_stays_in_reach_is_not_touched(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	cboot_machine_fake_tool(&m, "nvbootctrl",
		"#!/bin/sh\n[ \"$3\" != set-slot-as-unbootable ] || exit 1\nexec ~ \"$@\"\n");
	assert_int_equal(ctl->ops->prepare(ctl, &err), -EIO);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_PREUPDATE);
	assert_int_equal(strncmp(err.msg,
				 "Cannot take slot 1 out of CBoot's reach: Cannot make the standby "
				 "unbootable: ",
				 76),
		0);
	ctl->ops->close(ctl);
}

static void a_flip_that_fails_half_way_is_taken_back(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	must(ctl->ops->prepare(ctl, &err), &err);
	must(ctl->ops->stage(ctl, cboot_machine_put_image(&m, 1, "4.9.2-tegra"), &err), &err);
	calls_have_been_read();
	cboot_machine_fake_tool(&m, "nvbootctrl",
		"#!/bin/sh\n[ \"$*\" != '-t rootfs set-active-boot-slot 1' ] || exit 1\nexec ~ "
		"\"$@\"\n");
	assert_int_equal(ctl->ops->flip(ctl, &err), -EIO);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	calls_are("set-active-boot-slot 1\n-t rootfs set-slot-as-unbootable "
		  "1\nset-active-boot-slot 0\n"
		  "nv_update_engine --verify\nget-current-slot\nmark-boot-successful 0\n");
	ctl->ops->close(ctl);
	for (int i = 0; i < CBOOT_MACHINE_LOADER_TRIES + 1; i++)
		assert_int_equal(cboot_machine_restart(&m), 'a');
}

static void a_boot_loader_that_is_not_verified_is_not_committed(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	cboot_machine_fake_tool(
		&m, "nv_update_engine", "#!/bin/sh\necho slot differs >&2\nexit 3\n");
	assert_int_equal(ctl->ops->commit(ctl, &err), -EIO);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
	assert_int_equal(
		strncmp(err.msg,
			"Cannot keep slot 0 for good: Cannot verify the boot loader: ", 60),
		0);
	assert_non_null(strstr(err.msg, "slot differs"));
	cboot_machine_remove(&m, "tools/nv_update_engine");
	err = (struct ota_err){0};
	assert_int_equal(ctl->ops->commit(ctl, &err), -ENOENT);
	ctl->ops->close(ctl);
}

/* ---- what is asked and written ------------------------------------------------------------------ */

static void update(struct boot_ctl *ctl)
{
	struct ota_err err = {0};

	must(ctl->ops->prepare(ctl, &err), &err);
	must(ctl->ops->stage(ctl, cboot_machine_put_image(&m, 1, "4.9.2-tegra"), &err), &err);
	must(ctl->ops->flip(ctl, &err), &err);
}

static void two_switches_move_the_root_last(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	calls_have_been_read();
	update(ctl);
	calls_are("-t rootfs set-slot-as-unbootable 1\nset-active-boot-slot 1\n"
		  "-t rootfs set-active-boot-slot 1\n");
	must(ctl->ops->commit(ctl, &err), &err);
	calls_are("nv_update_engine --verify\nget-current-slot\nmark-boot-successful 0\n"
		  "-t rootfs mark-boot-successful 0\n");
	ctl->ops->close(ctl);
}

/* Only what the status calls settled is called good by a start. */
static void a_start_calls_good_what_is_no_trial(void **state)
{
	/* clang-format off */
	static const struct {
		const char *status;
		bool good;
	} rows[] = {
		{"SUCCESS", true}, {"SUCCESS\n", true}, {"FAILURE", true}, {"ROLLBACK_FAILURE", true},
		{"ABORTED", true}, {"INITIALIZED", true}, {"UPDATING", false}, {"ROLLBACKING", false},
		{"", false}, {"SUCCESSFUL", false}, {"garbage", false}, {NULL, false},
	};
	/* clang-format on */
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	calls_have_been_read();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cboot_machine_remove(&m, "slot_0/boot/ota-status/status");
		if (rows[i].status)
			cboot_machine_write(&m, "slot_0/boot/ota-status/status", rows[i].status);
		must(ctl->ops->settle(ctl, true, &err), &err);
		calls_are(rows[i].good
				  ? "nv_update_engine --verify\nget-current-slot\n"
				    "mark-boot-successful 0\n-t rootfs mark-boot-successful 0\n"
				  : "");
	}
	/* Nor while another slot was chosen for the next start. */
	cboot_machine_write(&m, "slot_0/boot/ota-status/status", "FAILURE");
	update(ctl);
	calls_have_been_read();
	must(ctl->ops->settle(ctl, true, &err), &err);
	calls_are("");
	ctl->ops->close(ctl);
}

static void a_start_that_cannot_call_its_slot_good_says_so(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	cboot_machine_write(&m, "slot_0/boot/ota-status/status", "SUCCESS");
	cboot_machine_fake_tool(&m, "nv_update_engine", "#!/bin/sh\nexit 3\n");
	assert_int_equal(ctl->ops->settle(ctl, true, &err), -EIO);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
	assert_int_equal(
		strncmp(err.msg,
			"CBoot may leave slot 0 again: Cannot verify the boot loader: ", 61),
		0);
	ctl->ops->close(ctl);
}

/* Where one switch moves both, going back makes the old slot one that has to prove itself. */
static void a_slot_that_was_gone_back_to_stays(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	update(ctl);
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'b');
	ctl = opened();
	must(ctl->ops->revert(ctl, &err), &err);
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'a');
	cboot_machine_write(&m, "slot_0/boot/ota-status/status", "FAILURE");
	ctl = opened();
	must(ctl->ops->settle(ctl, false, &err), &err);
	ctl->ops->close(ctl);
	for (int i = 0; i < CBOOT_MACHINE_LOADER_TRIES + 1; i++)
		assert_int_equal(cboot_machine_restart(&m), 'a');
}

static void one_switch_is_the_boot_loaders(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	calls_are("is-unified-enabled\nget-current-slot\n");
	update(ctl);
	calls_are("set-active-boot-slot 1\n");
	must(ctl->ops->commit(ctl, &err), &err);
	calls_are("nv_update_engine --verify\nget-current-slot\nmark-boot-successful 0\n");
	ctl->ops->close(ctl);
}

static void the_slot_gets_the_machines_configuration_and_its_root(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};
	const char *root;
	AUTO_BUF struct buf menu = {0};
	char path[PATH_MAX + 32];

	must(ctl->ops->prepare(ctl, &err), &err);
	root = cboot_machine_put_image(&m, 1, "4.9.2-tegra");
	snprintf(path, sizeof(path), "%s/boot/ota", root);
	assert_int_equal(mkdir(path, 0755), 0);
	cboot_machine_write(&m, "slot_1/boot/ota/ecu_info.yaml", "ecu_id: of the image\n");
	cboot_machine_write(&m, "slot_1/boot/ota/extra", "of the image");
	must(ctl->ops->stage(ctl, root, &err), &err);
	file_is("slot_1/boot/ota/ecu_info.yaml", "ecu_id: jetson\n");
	assert_false(cboot_machine_exists(&m, "slot_1/boot/ota/extra"));
	file_is("slot_1/boot/ota-status/other_slot", "0");
	cboot_machine_read(&m, "slot_1/boot/extlinux/extlinux.conf", &menu);
	assert_non_null(strstr(buf_str(&menu),
		"APPEND ${cbootargs} quiet root=PARTUUID=bbbbbbbb-0000-4000-8000-000000000002 rw"));
	assert_false(cboot_machine_exists(&m, "slot_0/boot/ota-status/other_slot"));
	must(ctl->ops->flip(ctl, &err), &err);
	file_is("slot_0/boot/ota-status/other_slot", "1");
	ctl->ops->close(ctl);
}

static void the_internal_disk_gets_the_same_boot_folder(void **state)
{
	struct boot_ctl *ctl = opened();

	cboot_machine_write(&m, "emmc_1/left-alone", "");
	update(ctl);
	file_is("emmc_1/boot/Image", "kernel 4.9.2-tegra\n");
	file_is("emmc_1/boot/ota/ecu_info.yaml", "ecu_id: jetson\n");
	assert_true(cboot_machine_exists(&m, "emmc_1/left-alone"));
	file_is("emmc_0/boot/Image", "kernel " CBOOT_MACHINE_KERNEL "\n");
	/* What is gone from the image goes there, too. */
	cboot_machine_write(&m, "emmc_1/boot/old-kernel", "");
	update(ctl);
	assert_false(cboot_machine_exists(&m, "emmc_1/boot/old-kernel"));
	ctl->ops->close(ctl);
}

static void an_image_without_a_menu_gets_the_running_one(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};
	const char *root = cboot_machine_put_image(&m, 1, "4.9.2-tegra");

	cboot_machine_remove(&m, "slot_1/boot/extlinux");
	must(ctl->ops->stage(ctl, root, &err), &err);
	must(ctl->ops->flip(ctl, &err), &err);
	assert_int_equal(cboot_machine_try(&m), 'b');
	cboot_machine_remove(&m, "slot_0/boot/extlinux");
	root = cboot_machine_put_image(&m, 1, "4.9.2-tegra");
	cboot_machine_remove(&m, "slot_1/boot/extlinux");
	assert_int_equal(ctl->ops->stage(ctl, root, &err), -ENOENT);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	assert_string_equal(err.msg,
		"Cannot make slot 1 bootable: Neither the image nor the running system "
		"has /boot/extlinux/extlinux.conf");
	ctl->ops->close(ctl);
}

static void a_menu_that_boots_nothing_is_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *text, *sentence;
	} odd[] = {
		{"", "/boot/extlinux/extlinux.conf is unusable: There is no APPEND line in it"},
		{"APPEND x\n", "/boot/extlinux/extlinux.conf is unusable: There is no LABEL in it"},
		{"LABEL a\nAPPEND x\n",
			"/boot/extlinux/extlinux.conf is unusable: Its default entry, \"a\", has no kernel"},
		{"LABEL a\nLINUX /boot/Other\nAPPEND x\n",
			"The entry \"a\" boots \"/boot/Other\", which the image does not have"},
		{"LABEL a\nLINUX /boot/Image\nINITRD /etc\nAPPEND x\n",
			"The entry \"a\" boots \"/etc\", which the image does not have"},
	};
	/* clang-format on */
	struct boot_ctl *ctl = opened();

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		const char *root = cboot_machine_put_image(&m, 1, "4.9.2-tegra");
		struct ota_err err = {0};
		char want[256];

		cboot_machine_write(&m, "slot_1/boot/extlinux/extlinux.conf", odd[i].text);
		assert_true(ctl->ops->stage(ctl, root, &err) < 0);
		snprintf(want, sizeof(want), "Cannot make slot 1 bootable: %s", odd[i].sentence);
		assert_string_equal(err.msg, want);
		assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
	}
	ctl->ops->close(ctl);
}

/* Names of all that is on the machine, but for what the simulated tools note. */
static void list_names(struct buf *ret)
{
	machine_tool("sh", "-c",
		"cd \"$0\" && find slot_? emmc_? tools | sort | grep -v reboot-was-asked", m.dir,
		ret);
}

static void twenty_updates(bool unified, bool external)
{
	struct buf names[2] = {{0}};

	cboot_machine_init(&m, unified, external);
	for (unsigned i = 0; i < 20; i++) {
		unsigned to = 1 - m.disk.active;
		struct boot_ctl *ctl = opened();
		struct ota_err err = {0};

		must(ctl->ops->commit(ctl, &err), &err);
		must(ctl->ops->prepare(ctl, &err), &err);
		must(ctl->ops->stage(ctl, cboot_machine_put_image(&m, to, "4.9.2-tegra"), &err),
			&err);
		must(ctl->ops->flip(ctl, &err), &err);
		ctl->ops->close(ctl);
		assert_int_equal(cboot_machine_restart(&m), to == 0 ? 'a' : 'b');
		if (i < 2) /* the first two make what is kept */
			continue;
		if (i >= 4) {
			AUTO_BUF struct buf now = {0};

			list_names(&now);
			assert_string_equal(buf_str(&now), buf_str(&names[to]));
		} else {
			list_names(&names[to]);
		}
	}
	buf_done(&names[0]);
	buf_done(&names[1]);
	cboot_machine_done(&m);
}

static void twenty_updates_in_a_row_leave_nothing_behind(void **state)
{
	twenty_updates(false, false);
	twenty_updates(true, false);
	twenty_updates(false, true);
}

static void a_stage_of_before_a_restart_does_not_count(void **state)
{
	struct boot_ctl *ctl = opened();
	struct ota_err err = {0};

	must(ctl->ops->prepare(ctl, &err), &err);
	must(ctl->ops->stage(ctl, cboot_machine_put_image(&m, 1, "4.9.2-tegra"), &err), &err);
	ctl->ops->close(ctl);
	ctl = opened();
	assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
	assert_string_equal(err.msg,
		"Cannot make the next boot try slot 1: Slot 1 is not known to hold a "
		"whole system");
	ctl->ops->close(ctl);
}

#define ON(test, how)                       \
	{                                   \
#test, test, how, end, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(a_machine_that_is_none_is_not_asked, begin),
		ON(older_packages_are_not_asked_whether_they_are_unified, begin),
		ON(any_other_answer_than_yes_is_not_unified, begin),
		ON(slots_are_partitions_with_their_status_inside, begin),
		ON(answers_that_are_no_slot_are_refused, begin),
		ON(a_tool_that_is_missing_hangs_floods_or_fails_is_told, begin),
		ON(a_standby_that_stays_in_reach_is_not_touched, begin),
		ON(a_flip_that_fails_half_way_is_taken_back, begin),
		ON(a_boot_loader_that_is_not_verified_is_not_committed, begin),
		ON(two_switches_move_the_root_last, begin),
		ON(a_start_calls_good_what_is_no_trial, begin),
		ON(a_start_that_cannot_call_its_slot_good_says_so, begin),
		ON(a_slot_that_was_gone_back_to_stays, begin_unified),
		ON(one_switch_is_the_boot_loaders, begin_unified),
		ON(the_slot_gets_the_machines_configuration_and_its_root, begin),
		ON(the_internal_disk_gets_the_same_boot_folder, begin_external),
		ON(an_image_without_a_menu_gets_the_running_one, begin),
		ON(a_menu_that_boots_nothing_is_refused, begin),
		ON(a_stage_of_before_a_restart_does_not_count, begin),
		cmocka_unit_test(twenty_updates_in_a_row_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
