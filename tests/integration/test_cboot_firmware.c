/*
 * Firmware that an image brings, with the CBoot controller on a Jetson in a folder: what is written where and when, and
 * what is refused before anything is changed. NVIDIA's tools and CBoot are simulated (tests/support/fake-cboot); needs
 * no root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "boot-controllers/cboot/firmware_update.h"
#include "common/base/cleanup.h"
#include "tests/support/cboot_machine.h"

#define CANNOT "Cannot make slot 1 bootable: Cannot update the firmware: "

static struct cboot_machine m;

static int begin(void **state)
{
	cboot_machine_init(&m, false, false);
	m.firmware = true;
	return 0;
}

static int begin_unified(void **state)
{
	cboot_machine_init(&m, true, false);
	m.firmware = true;
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

/* A daemon that has begun an update. */
static struct boot_ctl *prepared(void)
{
	struct boot_ctl *ctl = NULL;
	struct ota_err err = {0};
	bool reset;

	must(cboot_machine_open(&m, &ctl, &err), &err);
	must(ctl->ops->setup(ctl, &reset, &err), &err);
	must(ctl->ops->prepare(ctl, &err), &err);
	if (cboot_machine_exists(&m, "nvbootctrl-calls"))
		cboot_machine_write(&m, "nvbootctrl-calls", "");
	return ctl;
}

static void file_is(const char *path, const char *want)
{
	AUTO_BUF struct buf b = {0};

	cboot_machine_read(&m, path, &b);
	assert_string_equal(buf_str(&b), want);
}

static const char *image(void)
{
	return cboot_machine_put_image(&m, 1, "4.9.2-tegra");
}

static void boots_a(void)
{
	for (int i = 0; i < CBOOT_MACHINE_LOADER_TRIES + 2; i++)
		assert_int_equal(cboot_machine_try(&m), 'a');
}

static unsigned loader_slot(void)
{
	struct ota_err err = {0};
	unsigned slot = 2;

	must(nvbootctrl_current_slot(&(struct nvbootctrl){.root = "", .tools_path = m.tools},
		     NVBOOTCTRL_LOADER, &slot, &err),
		&err);
	return slot;
}

/* ---- what is written ---------------------------------------------------------------------------- */

static void it_is_written_with_the_slot_and_booted_with_it(void **state)
{
	struct boot_ctl *ctl = prepared();
	struct ota_err err = {0};

	must(ctl->ops->stage(ctl, image(), &err), &err);
	file_is("firmware_1", CBOOT_MACHINE_FIRMWARE);
	assert_false(cboot_machine_exists(&m, "firmware_0"));
	must(ctl->ops->flip(ctl, &err), &err);
	file_is("nvbootctrl-calls",
		"get-current-slot\n"
		"nv_update_engine -i bl --payload bl_payload --no-reboot\nget-current-slot\n"
		"is-unified-enabled\nset-active-boot-slot 1\n"
		"-t rootfs set-slot-as-unbootable 1\nset-active-boot-slot 0\n"
		"nv_update_engine --verify\nget-current-slot\nmark-boot-successful 0\n"
		"set-active-boot-slot 1\n-t rootfs set-active-boot-slot 1\n");
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'b');
	assert_int_equal(loader_slot(), 1);
}

static void it_is_written_without_a_switch_where_one_moves_both(void **state)
{
	struct boot_ctl *ctl = prepared();
	struct ota_err err = {0};

	must(ctl->ops->stage(ctl, image(), &err), &err);
	file_is("nvbootctrl-calls",
		"nv_update_engine -i bl-only --payload bl_payload\nget-current-slot\n"
		"is-unified-enabled\n");
	file_is("firmware_1", CBOOT_MACHINE_FIRMWARE);
	must(ctl->ops->flip(ctl, &err), &err);
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'b');
}

/* The tool switches the boot loader by itself, but hours may be between stage and flip. */
static void until_the_flip_the_boot_loader_stays_as_well(void **state)
{
	struct boot_ctl *ctl = prepared();
	struct ota_err err = {0};

	must(ctl->ops->stage(ctl, image(), &err), &err);
	ctl->ops->close(ctl);
	boots_a();
	assert_int_equal(loader_slot(), 0);
}

static void a_tool_that_fails_leaves_the_running_slot(void **state)
{
	static const struct {
		const char *script, *part;
		int errnum;
	} odd[] = {
		{"#!/bin/sh\n[ \"$1\" = --verify ] || { echo no space >&2; exit 3; }\nexec ~ "
		 "\"$@\"\n",								      "no space", -EIO},
		{ "#!/bin/sh\n[ \"$1\" = --verify ] || { ~ \"$@\"; exit 1; }\nexec ~ \"$@\"\n",
                 "status 1",										  -EIO},
		{ "#!/bin/sh\n[ \"$1\" = --verify ] || exec sleep 100\nexec ~ \"$@\"\n",
                 "did not end",									       -ETIMEDOUT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct boot_ctl *ctl;
		struct ota_err err = {0};

		m.tool_timeout_ms = odd[i].errnum == -ETIMEDOUT ? 500 : 0;
		ctl = prepared();
		cboot_machine_fake_tool(&m, "nv_update_engine", odd[i].script);
		assert_int_equal(ctl->ops->stage(ctl, image(), &err), odd[i].errnum);
		assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
		assert_int_equal(
			strncmp(err.msg, CANNOT "Cannot write the boot loader's firmware: ",
				strlen(CANNOT) + 41),
			0);
		assert_non_null(strstr(err.msg, odd[i].part));
		assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
		ctl->ops->close(ctl);
		boots_a();
		assert_int_equal(loader_slot(), 0);
	}
}

/* After a cut between the boot loader's switch and the root's; a restart of the machine makes both the same. */
static void a_boot_loader_on_the_other_slot_is_brought_in_line_first(void **state)
{
	struct boot_ctl *ctl;
	struct ota_err err = {0};

	must(nvbootctrl_set_active(&(struct nvbootctrl){.root = "", .tools_path = m.tools}, "test",
		     NVBOOTCTRL_LOADER, 1, &err),
		&err);
	assert_int_equal(cboot_machine_restart(&m), 'a');
	ctl = prepared();
	assert_int_equal(ctl->ops->stage(ctl, image(), &err), -EBUSY);
	assert_string_equal(err.msg,
		CANNOT "The boot loader runs from slot 1 and the root file system from slot 0; "
		       "after a restart of the machine both are the same, and the update can be "
		       "repeated");
	assert_false(cboot_machine_exists(&m, "firmware_0"));
	ctl->ops->close(ctl);
	assert_int_equal(cboot_machine_restart(&m), 'a');
	ctl = prepared();
	must(ctl->ops->stage(ctl, image(), &err), &err);
	file_is("firmware_1", CBOOT_MACHINE_FIRMWARE);
	ctl->ops->close(ctl);
}

/* ---- what is refused, and what asks for nothing ------------------------------------------------- */

#define FOLDER "slot_1/opt/ota/firmware/"

static void refused_with(const char *root, const char *sentence)
{
	struct boot_ctl *ctl = prepared();
	struct ota_err err = {0};
	AUTO_BUF struct buf menu = {0};

	assert_true(ctl->ops->stage(ctl, root, &err) < 0);
	assert_string_equal(err.msg, sentence);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	/* Before the first change. */
	cboot_machine_read(&m, "slot_1/boot/extlinux/extlinux.conf", &menu);
	assert_non_null(strstr(buf_str(&menu), "root=/dev/mmcblk0p1 "));
	assert_false(cboot_machine_exists(&m, "firmware_1"));
	assert_int_equal(ctl->ops->flip(ctl, &err), -ENOENT);
	ctl->ops->close(ctl);
	boots_a();
}

static void what_is_not_for_this_board_or_not_what_it_says_is_refused(void **state)
{
	const char *root = image();
	char path[PATH_MAX];

	cboot_machine_write(&m, FOLDER "bl_payload", "another one");
	refused_with(root,
		CANNOT "The firmware \"bl\" at /opt/ota/firmware/bl_payload is not what the "
		       "image's manifest says");
	cboot_machine_remove(&m, FOLDER "bl_payload");
	refused_with(root,
		CANNOT "The firmware \"bl\" cannot be read at /opt/ota/firmware/bl_payload: No "
		       "such file or directory");
	root = image();
	cboot_machine_remove(&m, FOLDER "bl_payload");
	machine_dir_path(m.dir, FOLDER "bl_payload", path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	refused_with(root,
		CANNOT "The firmware \"bl\" cannot be read at /opt/ota/firmware/bl_payload: Too "
		       "many levels of symbolic links");
	root = image();
	cboot_machine_write(
		&m, FOLDER "firmware_update.yaml", "format_version: 1\nfirmware_list: [none]\n");
	refused_with(root,
		CANNOT "The image asks for the firmware \"none\", which its firmware_manifest.yaml "
		       "does not have");
	root = image();
	cboot_machine_write(&m, "slot_0/etc/nv_boot_control.conf", "TNSPEC 3668-another-board\n");
	refused_with(root,
		CANNOT "The image's firmware is for another board: its board_id \"2888\" is not in "
		       "the TNSPEC \"3668-another-board\"");
}

static void what_cannot_be_asked_about_is_left_alone(void **state)
{
	static char long_root[PATH_MAX];
	const struct firmware_plan plan = {.wanted = true, .path = "/opt/ota/firmware/bl_payload"};
	const char *root = image();
	struct boot_ctl *ctl = prepared();
	struct ota_err err = {0};

	cboot_machine_fake_tool(&m, "nvbootctrl", "#!/bin/sh\necho busy >&2; exit 1\n");
	assert_int_equal(ctl->ops->stage(ctl, root, &err), -EIO);
	assert_non_null(
		strstr(err.msg, CANNOT "Cannot ask which slot the boot loader runs from: "));
	assert_non_null(strstr(err.msg, "nvbootctrl failed with status 1: busy"));
	cboot_machine_remove(&m, "slot_0/etc/nv_boot_control.conf");
	err = (struct ota_err){0};
	assert_int_equal(ctl->ops->stage(ctl, root, &err), -ENOENT);
	assert_string_equal(err.msg,
		CANNOT "Which board this is cannot be seen: /etc/nv_boot_control.conf: No such "
		       "file or directory");
	memset(long_root, '/', sizeof(long_root) - 2);
	err = (struct ota_err){0};
	assert_int_equal(
		firmware_update_install(cboot_ctl_of(ctl), long_root, &plan, &err), -ENAMETOOLONG);
	assert_string_equal(err.msg, "The firmware's path is too long");
	ctl->ops->close(ctl);
	assert_false(cboot_machine_exists(&m, "firmware_1"));
}

/* As without them: such an image has always been installed without its firmware. */
static void a_package_that_is_not_whole_asks_for_nothing(void **state)
{
	static const char request[] = "format_version: 1\nfirmware_list: [bl]\n";
	static const char *const odd[][2] = {
		{NULL,				       NULL                 },
		{request,				    NULL                 },
		{NULL,				       "format_version: 1\n"},
		{request,				    "- a list\n"         },
		{"{",					""                   },
		{"format_version: 2\nfirmware_list: [bl]\n", ""                   },
		{request,				    "format_version: 1\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		const char *root = image();
		struct boot_ctl *ctl = prepared();
		struct ota_err err = {0};

		cboot_machine_remove(&m, FOLDER "firmware_update.yaml");
		if (odd[i][0])
			cboot_machine_write(&m, FOLDER "firmware_update.yaml", odd[i][0]);
		if (!odd[i][1])
			cboot_machine_remove(&m, FOLDER "firmware_manifest.yaml");
		else if (odd[i][1][0])
			cboot_machine_write(&m, FOLDER "firmware_manifest.yaml", odd[i][1]);
		must(ctl->ops->stage(ctl, root, &err), &err);
		file_is("nvbootctrl-calls", "");
		ctl->ops->close(ctl);
	}
	assert_false(cboot_machine_exists(&m, "firmware_1"));
}

#define T(test, how)                        \
	{                                   \
#test, test, how, end, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_is_written_with_the_slot_and_booted_with_it, begin),
		T(it_is_written_without_a_switch_where_one_moves_both, begin_unified),
		T(until_the_flip_the_boot_loader_stays_as_well, begin),
		T(a_tool_that_fails_leaves_the_running_slot, begin),
		T(a_boot_loader_on_the_other_slot_is_brought_in_line_first, begin),
		T(what_is_not_for_this_board_or_not_what_it_says_is_refused, begin),
		T(what_cannot_be_asked_about_is_left_alone, begin),
		T(a_package_that_is_not_whole_asks_for_nothing, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
