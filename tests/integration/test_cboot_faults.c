/*
 * The CBoot controller on a Jetson whose tools, disks or images misbehave: each fault ends in a sentence, and the slot
 * that runs is the one that boots. NVIDIA's tools and CBoot are simulated (tests/support/fake-cboot); needs no root.
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
#include <unistd.h>

#include "boot-controllers/cboot/nvbootctrl.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "tests/support/cboot_machine.h"

#define KERNEL "4.9.2-tegra"

static void must(int r, const struct ota_err *err)
{
	if (r < 0)
		fail_msg("%s", err->msg);
}

static struct boot_ctl *opened(struct cboot_machine *m)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	bool reset;

	must(cboot_machine_open(m, &ctl, &err), &err);
	must(ctl->ops->setup(ctl, &reset, &err), &err);
	return ctl;
}

/* Whatever was tried, and however often it is started now. */
static void boots_a(struct cboot_machine *m, const char *after)
{
	for (int i = 0; i < CBOOT_MACHINE_LOADER_TRIES + 2; i++) {
		char slot = cboot_machine_try(m);

		if (slot != 'a')
			fail_msg("After \"%s\", start %d: slot %c boots", after, i + 1,
				slot ? slot : '-');
	}
}

static void says(const char *sentence, const char *part)
{
	if (!strstr(sentence, part))
		fail_msg("\"%s\" does not say \"%s\"", sentence, part);
}

/* ---- tools -------------------------------------------------------------------------------------- */

static int do_prepare(struct boot_ctl *ctl, struct ota_err *err)
{
	return ctl->ops->prepare(ctl, err);
}

static int do_flip(struct boot_ctl *ctl, struct ota_err *err)
{
	return ctl->ops->flip(ctl, err);
}

static int do_commit(struct boot_ctl *ctl, struct ota_err *err)
{
	return ctl->ops->commit(ctl, err);
}

/* operation, its sentence begins so, of so many calls each fails once as the first of those that fail: unified or not */
static const struct operation {
	int (*run)(struct boot_ctl *ctl, struct ota_err *err);
	const char *sentence;
	unsigned calls[2];
} operations[] = {
	{do_prepare, "Cannot take slot 1 out of CBoot's reach: ", {1, 0}},
	{do_flip,    "Cannot make the next boot try slot 1: ",    {2, 1}},
	{do_commit,  "Cannot keep slot 0 for good: ",             {1, 1}},
};

/* what the tool does then, what the sentence says of it, what is returned */
static const struct fault {
	const char *script, *part;
	int errnum;
} faults[] = {
	{"echo 'no such slot' >&2; exit 1", "no such slot", -EIO      },
	{"echo garbage; exit 69",           "69",           -EIO      },
	{"kill -9 $$",                      "signal",       -EINTR    },
	{"exec sleep 100",                  "did not end",  -ETIMEDOUT},
};

/* From the @first-th call on nothing but the fault comes from NVIDIA's tools. */
static void spoil_tools(struct cboot_machine *m, unsigned first, const struct fault *fault)
{
	static const char *const tools[] = {"nvbootctrl", "nv_update_engine"};
	char script[512];

	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		snprintf(script, sizeof(script),
			"#!/bin/sh\necho >> '%.200s/calls'\n"
			"[ $(wc -l < '%.200s/calls') -lt %u ] || { %s; }\nexec ~ \"$@\"\n",
			m->dir, m->dir, first, fault->script);
		cboot_machine_fake_tool(m, tools[i], script);
	}
}

static void fails_by(const struct operation *o, const struct fault *f, bool unified, unsigned first)
{
	struct cboot_machine m;
	struct ota_err err = {0};
	struct boot_ctl *ctl;
	int r;

	cboot_machine_init(&m, unified, false);
	m.tool_timeout_ms = f->errnum == -ETIMEDOUT ? 200 : 0;
	ctl = opened(&m);
	must(ctl->ops->prepare(ctl, &err), &err);
	must(ctl->ops->stage(ctl, cboot_machine_put_image(&m, 1, KERNEL), &err), &err);
	spoil_tools(&m, first, f);
	r = o->run(ctl, &err);
	ctl->ops->close(ctl);
	assert_int_equal(strncmp(err.msg, o->sentence, strlen(o->sentence)), 0);
	says(err.msg, f->part);
	assert_int_equal(r, f->errnum);
	boots_a(&m, err.msg);
	cboot_machine_done(&m);
}

static void tools_that_fail_hang_or_die_leave_the_running_slot(void **state)
{
	for (size_t o = 0; o < ARRAY_SIZE(operations); o++)
		for (size_t f = 0; f < ARRAY_SIZE(faults); f++)
			for (int unified = 0; unified < 2; unified++)
				for (unsigned n = 1; n <= operations[o].calls[unified]; n++)
					fails_by(&operations[o], &faults[f], unified, n);
}

/* The switch was made, and that it is good already is only a courtesy. */
static void a_slot_that_cannot_be_called_good_is_gone_back_to_all_the_same(void **state)
{
	struct cboot_machine m;
	struct ota_err err = {0};
	struct boot_ctl *ctl;

	cboot_machine_init(&m, false, false);
	ctl = opened(&m);
	must(ctl->ops->prepare(ctl, &err), &err);
	must(ctl->ops->stage(ctl, cboot_machine_put_image(&m, 1, KERNEL), &err), &err);
	must(ctl->ops->flip(ctl, &err), &err);
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'b');
	ctl = opened(&m);
	spoil_tools(&m, 3, &faults[0]);
	must(ctl->ops->revert(ctl, &err), &err);
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'a');
	cboot_machine_done(&m);
}

/* ---- disks -------------------------------------------------------------------------------------- */

static struct {
	unsigned n, at;
	int errnum;
	const char *only; /* the step of that name; NULL = the at-th of all */
} disk;

static int fail_step(void *ctx, const char *what)
{
	if (disk.only ? strcmp(what, disk.only) != 0 : ++disk.n != disk.at)
		return 0;
	return disk.errnum;
}

/* One run of the daemon up to the switch. */
static int run_update(struct cboot_machine *m, struct ota_err *err)
{
	struct boot_ctl *ctl = NULL;
	bool reset;
	int r = cboot_machine_open(m, &ctl, err);

	if (r == 0)
		r = ctl->ops->setup(ctl, &reset, err);
	if (r == 0)
		r = ctl->ops->prepare(ctl, err);
	if (r == 0)
		r = ctl->ops->stage(ctl, cboot_machine_put_image(m, 1, KERNEL), err);
	if (r == 0)
		r = ctl->ops->flip(ctl, err);
	if (ctl)
		ctl->ops->close(ctl);
	return r;
}

/* One step is refused, what comes behind it is not: other than after a power cut, the controller tidies up. */
static void a_call_of_a_tool_that_is_refused_is_named(void **state)
{
	struct cboot_machine machine;
	struct ota_err err = {0};

	cboot_machine_init(&machine, false, false);
	disk.only = "boot slot 1";
	disk.errnum = -EIO;
	io_set_hook(fail_step, NULL);
	assert_int_equal(
		nvbootctrl_set_active(&(struct nvbootctrl){.root = "", .tools_path = machine.tools},
			disk.only, NVBOOTCTRL_LOADER, 1, &err),
		-EIO);
	io_set_hook(NULL, NULL);
	assert_string_equal(err.msg, "Cannot boot slot 1: the step was stopped");
	cboot_machine_done(&machine);
}

static void a_step_that_is_refused_leaves_the_running_slot(void **state)
{
	static const struct {
		bool unified, external;
		unsigned steps_min;
	} kinds[] = {
		{false, false, 13},
		{true,  false, 11},
		{false, true,  18},
	};
	static const int errnums[] = {-EROFS, -ENOSPC};

	for (size_t k = 0; k < ARRAY_SIZE(kinds) * ARRAY_SIZE(errnums); k++) {
		int r = -1;

		disk.errnum = errnums[k % ARRAY_SIZE(errnums)];
		disk.only = NULL;
		for (disk.at = 1; r < 0; disk.at++) {
			struct cboot_machine m;
			struct ota_err err = {0};

			cboot_machine_init(&m, kinds[k / 2].unified, kinds[k / 2].external);
			disk.n = 0;
			io_set_hook(fail_step, NULL);
			r = run_update(&m, &err);
			io_set_hook(NULL, NULL);
			assert_true(r < 0 || disk.n < disk.at); /* none may be passed over */
			if (r < 0) {
				assert_int_equal(r, disk.errnum);
				assert_true(strlen(err.msg) > 20);
				boots_a(&m, err.msg);
			}
			cboot_machine_done(&m);
		}
		assert_true(disk.at - 2 >= kinds[k / 2].steps_min);
	}
}

/* step, what goes wrong with it, the code, the sentence */
static const struct refusal {
	const char *step;
	int errnum;
	enum ota_code code;
	const char *sentence;
} refusals[] = {
  /* clang-format off */
	{"make the status folder", -EROFS, OTA_E_BOOTCONTROL_STARTUP,
		"Cannot make the status folder /boot/ota-status: Read-only file system"},
	{"forget the other slot", -EROFS, OTA_E_BOOTCONTROL_PREUPDATE,
		"Cannot take slot 1 out of CBoot's reach: Cannot remove /boot/ota-status/other_slot: "
		"Read-only file system"},
	{"make the standby unbootable", -EIO, OTA_E_BOOTCONTROL_PREUPDATE,
		"Cannot take slot 1 out of CBoot's reach: Cannot make the standby unbootable: "
		"the step was stopped"},
	{"replace extlinux.conf", -ENOSPC, OTA_E_BOOTCONTROL_POSTUPDATE,
		"Cannot make slot 1 bootable: Cannot write the slot's menu /boot/extlinux/extlinux.conf: "
		"No space left on device"},
	{"copy /boot/ota", -ENOSPC, OTA_E_BOOTCONTROL_POSTUPDATE,
		"Cannot make slot 1 bootable: Cannot copy /boot/ota to the slot: No space left on device"},
	{"copy the boot folder", -EROFS, OTA_E_BOOTCONTROL_POSTUPDATE,
		"Cannot make slot 1 bootable: Cannot copy the slot's /boot to FOLDER, which CBoot reads: "
		"Read-only file system"},
	{"copy the boot folder", -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
		"Cannot make slot 1 bootable: Cannot copy the slot's /boot to FOLDER, which CBoot reads: "
		"No space left on device"},
	{"publish the boot folder", -EIO, OTA_E_BOOTCONTROL_POSTUPDATE,
		"Cannot make slot 1 bootable: Cannot copy the slot's /boot to FOLDER, which CBoot reads: "
		"Input/output error"},
	{"note the switch", -ENOSPC, OTA_E_BOOTCONTROL_POSTUPDATE,
		"Cannot make the next boot try slot 1: Cannot change /run/otaclient/cboot-switched: "
		"No space left on device"},
  /* clang-format on */
};

static void a_read_only_or_full_disk_is_told(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *want = &refusals[i];
		AUTO_BUF struct buf sentence = {0};
		const char *folder = strstr(want->sentence, "FOLDER");
		struct cboot_machine m;
		struct ota_err err = {0};
		int r;

		cboot_machine_init(&m, false, true);
		disk.only = want->step;
		disk.errnum = want->errnum;
		io_set_hook(fail_step, NULL);
		r = run_update(&m, &err);
		io_set_hook(NULL, NULL);
		if (folder)
			assert_int_equal(
				buf_printf(&sentence, "%.*s%s%s", (int)(folder - want->sentence),
					want->sentence, m.disk.boot[1], folder + strlen("FOLDER")),
				0);
		assert_string_equal(err.msg, folder ? buf_str(&sentence) : want->sentence);
		assert_int_equal(err.code, want->code);
		assert_int_equal(r, want->errnum);
		boots_a(&m, err.msg);
		cboot_machine_done(&m);
	}
}

/* Of which nobody has noted that it is whole. */
static void a_slot_that_is_not_known_to_be_whole_is_not_gone_back_to(void **state)
{
	struct cboot_machine machine;
	struct ota_err err = {0};
	struct boot_ctl *ctl;

	cboot_machine_init(&machine, false, false);
	ctl = opened(&machine);
	assert_int_equal(ctl->ops->keep(ctl, &err), -ENOENT);
	assert_string_equal(err.msg,
		"Cannot make CBoot ready to go back to slot 1: Slot 1 is not known to hold a whole "
		"system");
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_PREROLLBACK);
	err = (struct ota_err){0};
	assert_int_equal(ctl->ops->revert(ctl, &err), -ENOENT);
	assert_string_equal(
		err.msg, "Cannot go back to slot 1: Slot 1 is not known to hold a whole system");
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_PREROLLBACK);
	ctl->ops->close(ctl);
	boots_a(&machine, err.msg);
	cboot_machine_done(&machine);
}

/* ---- images ------------------------------------------------------------------------------------- */

static struct cboot_machine m;

static int begin(void **state)
{
	cboot_machine_init(&m, false, false);
	return 0;
}

static int end(void **state)
{
	cboot_machine_done(&m);
	return 0;
}

#define MENU "boot/extlinux/extlinux.conf"

/* A new image in slot 1 with that menu; NULL: none. */
static const char *with_menu(const char *text)
{
	const char *root = cboot_machine_put_image(&m, 1, KERNEL);

	cboot_machine_remove(&m, "slot_1/" MENU);
	if (text)
		cboot_machine_write(&m, "slot_1/" MENU, text);
	return root;
}

static void is_refused(const char *root, const char *sentence)
{
	struct boot_ctl *ctl = opened(&m);
	struct ota_err err = {0};
	int r;

	must(ctl->ops->prepare(ctl, &err), &err);
	r = ctl->ops->stage(ctl, root, &err);
	assert_string_equal(err.msg, sentence);
	assert_true(r < 0);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
	ctl->ops->close(ctl);
	boots_a(&m, sentence);
}

#define CANNOT "Cannot make slot 1 bootable: "

static void a_menu_that_is_no_menu_is_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *text, *sentence;
	} odd[] = {
		{"", CANNOT "/" MENU " is unusable: There is no APPEND line in it"},
		{"set timeout=5\nmenuentry 'x' {\n linux /vmlinuz root=UUID=1\n}\n",
			CANNOT "/" MENU " is unusable: There is no APPEND line in it"},
		{"INCLUDE more.conf\nAPPEND x\n",
			CANNOT "/" MENU " is unusable: There is no LABEL in it"},
		{"LABEL a\nLINUX /boot/Image\nAPPEND quiet \\\n  root=/dev/mmcblk0p1\n",
			CANNOT "/" MENU " is unusable: Line 3 ends with a backslash, but no line can go on in the next "
			"one"},
		{"LABEL a\nLINUX /boot/Image\nAPPEND x\nLABEL a\nLINUX /boot/Image\nAPPEND y\n",
			CANNOT "/" MENU " is unusable: Its default entry, \"a\", is there 2 times"},
		{"DEFAULT gone\nLABEL a\nLINUX /boot/Image\nAPPEND x\n",
			CANNOT "/" MENU " is unusable: Its default entry, \"gone\", is not there or has no APPEND"},
		{"LABEL a\nLINUX ../../../../../../bin/sh\nAPPEND x\n",
			CANNOT "The entry \"a\" boots \"../../../../../../bin/sh\", which the image does not have"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
		is_refused(with_menu(odd[i].text), odd[i].sentence);
}

static void a_menu_that_is_too_large_is_refused(void **state)
{
	AUTO_BUF struct buf big = {0};

	while (big.len_bytes <= 64 << 10)
		assert_int_equal(buf_puts(&big, "LABEL a\nLINUX /boot/Image\nAPPEND x\n"), 0);
	is_refused(with_menu(buf_str(&big)),
		CANNOT "Cannot read the image's /boot/extlinux/extlinux.conf: File too large");
}

/* Nothing outside of the image is read through it, and nothing is written there. */
static void a_menu_that_is_no_file_is_not_followed(void **state)
{
	char path[PATH_MAX], running[PATH_MAX];
	const char *root = with_menu(NULL);
	struct boot_ctl *ctl;
	struct ota_err err = {0};

	machine_dir_path(m.dir, "slot_1/" MENU, path);
	machine_dir_path(m.dir, "slot_0/" MENU, running);
	assert_int_equal(symlink(running, path), 0);
	is_refused(root,
		CANNOT "Cannot read the image's /" MENU ": Too many levels of symbolic links");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	is_refused(root, CANNOT "Cannot write the slot's menu /" MENU ": Is a directory");
	assert_int_equal(rmdir(path), 0);
	/* Nobody writes into it. The running system's menu stands in, and replaces it. */
	assert_int_equal(mkfifo(path, 0644), 0);
	ctl = opened(&m);
	must(ctl->ops->stage(ctl, root, &err), &err);
	must(ctl->ops->flip(ctl, &err), &err);
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'b');
}

static void a_menu_with_dos_lines_and_several_entries_boots(void **state)
{
	struct boot_ctl *ctl = opened(&m);
	struct ota_err err = {0};
	AUTO_BUF struct buf menu = {0};
	const char *root =
		with_menu("DEFAULT primary\r\nLABEL backup\r\n\tLINUX /boot/Image.old\r\n"
			  "\tAPPEND root=/dev/sda9 single\r\nLABEL primary\r\n"
			  "\tLINUX /boot/Image\r\n\tAPPEND quiet root=/dev/sda9 rw\r\n");

	must(ctl->ops->prepare(ctl, &err), &err);
	must(ctl->ops->stage(ctl, root, &err), &err);
	must(ctl->ops->flip(ctl, &err), &err);
	ctl->ops->close(ctl);
	cboot_machine_read(&m, "slot_1/" MENU, &menu);
	assert_null(strstr(buf_str(&menu), "/dev/sda9"));
	says(buf_str(&menu), "rw\r\n");
	assert_int_equal(cboot_machine_restart(&m), 'b');
}

/* The kernel line names the root, so it is the image's own business. */
static void fstab_is_left_alone(void **state)
{
	static const char *const text[] = {
		"", "/dev/mmcblk0p1 / ext4 defaults 0 1\n", "\xff\x01 torn"};

	for (size_t i = 0; i < ARRAY_SIZE(text); i++) {
		const char *root = cboot_machine_put_image(&m, 1, KERNEL);
		struct boot_ctl *ctl = opened(&m);
		struct ota_err err = {0};
		AUTO_BUF struct buf after = {0};

		cboot_machine_write(&m, "slot_1/etc/fstab", text[i]);
		must(ctl->ops->prepare(ctl, &err), &err);
		must(ctl->ops->stage(ctl, root, &err), &err);
		ctl->ops->close(ctl);
		cboot_machine_read(&m, "slot_1/etc/fstab", &after);
		assert_string_equal(buf_str(&after), text[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tools_that_fail_hang_or_die_leave_the_running_slot),
		cmocka_unit_test(a_slot_that_cannot_be_called_good_is_gone_back_to_all_the_same),
		cmocka_unit_test(a_call_of_a_tool_that_is_refused_is_named),
		cmocka_unit_test(a_step_that_is_refused_leaves_the_running_slot),
		cmocka_unit_test(a_read_only_or_full_disk_is_told),
		cmocka_unit_test(a_slot_that_is_not_known_to_be_whole_is_not_gone_back_to),
		cmocka_unit_test_setup_teardown(a_menu_that_is_no_menu_is_refused, begin, end),
		cmocka_unit_test_setup_teardown(a_menu_that_is_too_large_is_refused, begin, end),
		cmocka_unit_test_setup_teardown(a_menu_that_is_no_file_is_not_followed, begin, end),
		cmocka_unit_test_setup_teardown(
			a_menu_with_dos_lines_and_several_entries_boots, begin, end),
		cmocka_unit_test_setup_teardown(fstab_is_left_alone, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
