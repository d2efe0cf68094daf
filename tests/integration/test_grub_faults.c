/*
 * The GRUB controller where one step fails: what it says then, that the running slot is the one that boots, and that
 * the same succeeds once it can. Needs grub-emu and e2fsprogs; no root.
 *
 * Elsewhere: spoiled files (test_grub_bad_input.c), cuts (test_boot_powercut.c).
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "boot-controllers/grub/grub_ctl.h"
#include "common/base/cleanup.h"
#include "tests/support/grub_bench.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

#define KERNEL_1 GRUB_MACHINE_KERNEL
#define KERNEL_2 "5.10.0-20-fake"

/* ---- what the daemon does ----------------------------------------------------------------------- */

static int do_setup(void)
{
	bool reset;

	return ctl->ops->setup(ctl, &reset, &err);
}

static int do_prepare(void)
{
	return ctl->ops->prepare(ctl, &err);
}

static int do_stage(void)
{
	return ctl->ops->stage(ctl, grub_machine_put_image(&m, 'b', KERNEL_2), &err);
}

static int do_flip(void)
{
	return ctl->ops->flip(ctl, &err);
}

static int do_keep(void)
{
	return ctl->ops->keep(ctl, &err);
}

static int do_check(void)
{
	return ctl->ops->check(ctl, &err);
}

/* ---- a step that fails -------------------------------------------------------------------------- */

static int fail_at(void *ctx, const char *what)
{
	return strcmp(what, ctx) == 0 ? -EIO : 0;
}

/* what is done, at which step it fails, and what is said then */
static const struct fault {
	int (*run)(void);
	const char *step, *sentence;
} faults[] = {
  /* clang-format off */
	{do_setup, "make the empty boot folder", "Cannot set up GRUB for two slots: Cannot make grub.cfg: "
		"Cannot make a folder in /boot: Input/output error"},
	{do_setup, "publish what grub.cfg points at", "Cannot set up GRUB for two slots: Cannot make grub.cfg: "
		"Cannot write back /boot (publish what grub.cfg points at): Input/output error"},
	{do_prepare, "remove the menu entry", "Cannot take ota-slot_b out of GRUB's reach: "
		"Cannot remove ota-slot_b.cfg: Input/output error"},
	{do_prepare, "remove the standby's folder", "Cannot take ota-slot_b out of GRUB's reach: "
		"Cannot remove ota-slot_b from /boot: Input/output error"},
	{do_prepare, "make the slot's folder", "Cannot take ota-slot_b out of GRUB's reach: "
		"Cannot make /boot/ota-slot_b: Input/output error"},
	{do_stage, "remove an old kernel file", "Cannot make ota-slot_b bootable: "
		"Cannot remove an old kernel from /boot: Input/output error"},
	{do_stage, "copy a kernel file", "Cannot make ota-slot_b bootable: "
		"Cannot put the kernel 5.10.0-20-fake and its initrd into /boot/ota-slot_b: "
		"Input/output error"},
	{do_stage, "make /boot/ota", "Cannot make ota-slot_b bootable: "
		"Cannot install the image's /boot/ota: Input/output error"},
	{do_flip, "show the menu entry", "Cannot make the next boot try ota-slot_b: "
		"Cannot rename ota-slot_b.cfg.staged: Input/output error"},
  /* clang-format on */
};

static void a_step_that_fails_is_said_and_can_be_repeated(void **state)
{
	must(grub_machine_open(&m, &ctl, &err));
	grub_machine_write(&m, "boot/vmlinuz-4.0-old", "of nobody\n");
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		const struct fault *f = &faults[i];
		int r;

		if (i > 0 && faults[i - 1].run != f->run)
			must(faults[i - 1].run());
		err = (struct ota_err){0};
		io_set_hook(fail_at, (void *)(uintptr_t)f->step);
		r = f->run();
		io_set_hook(NULL, NULL);
		assert_int_equal(r, -EIO);
		assert_sentence(&err, "%s", f->sentence);
		if (f->run != do_setup) /* before it the distribution's own GRUB boots */
			assert_int_equal(grub_machine_try(&m).slot, 'a');
	}
	must(do_flip());
	assert_int_equal(grub_machine_restart(&m), 'b');
}

/* ---- the way back ------------------------------------------------------------------------------- */

/* An update to slot b, which is committed. */
static void update(void)
{
	start();
	must(do_prepare());
	must(do_stage());
	must(do_flip());
	assert_int_equal(grub_machine_restart(&m), 'b');
	start();
	must(ctl->ops->commit(ctl, &err));
}

static void a_way_back_that_cannot_be_made_ready_is_said(void **state)
{
	int r;

	update();
	io_set_hook(fail_at, (void *)(uintptr_t) "replace grubenv at keep");
	r = do_keep();
	io_set_hook(NULL, NULL);
	assert_int_equal(r, -EIO);
	assert_sentence(&err,
		"Cannot make GRUB ready to go back to ota-slot_a: Cannot write back /boot (replace "
		"grubenv at keep): Input/output error");
	assert_int_equal(grub_machine_try(&m).slot, 'b');
	must(do_keep());
}

static void a_slot_that_cannot_be_kept_is_said(void **state)
{
	int r;

	start();
	grub_machine_remove(&m, "boot/grub/ota-committed.cfg");
	io_set_hook(fail_at, (void *)(uintptr_t) "replace ota-committed.cfg");
	r = ctl->ops->commit(ctl, &err);
	io_set_hook(NULL, NULL);
	assert_int_equal(r, -EIO);
	assert_sentence(&err,
		"Cannot keep ota-slot_a for good: Cannot write /boot/grub/ota-committed.cfg: "
		"Input/output error");
	must(ctl->ops->commit(ctl, &err));
}

static void an_entry_of_another_file_system_is_not_the_slots(void **state)
{
	update();
	stop();
	snprintf(m.disk.slot[GRUB_SLOT_A].fs_uuid, BOOT_UUID_MAX, "made-anew");
	must(grub_machine_open(&m, &ctl, &err));
	assert_int_equal(do_check(), -ENOENT);
	assert_sentence(&err,
		"GRUB cannot boot ota-slot_a: ota-slot_a.cfg has the root file system "
		"aaaaaaaa-0000-4000-8000-000000000002, but the slot's is \"made-anew\"");
}

/* The disk is full, and then it fails too. */
static int full_and_broken(void *ctx, const char *what)
{
	return strcmp(what, "replace grubenv at start") == 0 ? -ENOSPC
	       : strcmp(what, "overwrite grubenv") == 0      ? -EIO
							     : 0;
}

static void a_full_boot_that_does_not_even_take_what_is_in_its_place_is_said(void **state)
{
	int r;

	start();
	must(do_prepare());
	must(do_stage());
	must(do_flip());
	assert_int_equal(grub_machine_restart(&m), 'b');
	assert_int_equal(
		grub_machine_restart(&m), 'a'); /* the trial is over, which is to be noted */
	start();
	io_set_hook(full_and_broken, NULL);
	r = ctl->ops->settle(ctl, true, &err);
	io_set_hook(NULL, NULL);
	assert_int_equal(r, -EIO);
	assert_sentence(&err, "Cannot tell GRUB that ota-slot_a has come up: Cannot overwrite "
			      "/boot/grub/grubenv: Input/output error");
	must(ctl->ops->settle(ctl, true, &err));
}

/* ---- an image, or a machine, that is not as it should be ---------------------------------------- */

static void stage_is_refused(const char *root, int r, const char *sentence)
{
	err = (struct ota_err){0};
	assert_int_equal(ctl->ops->stage(ctl, root, &err), r);
	assert_sentence(&err, "%s", sentence);
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_POSTUPDATE);
	assert_int_equal(grub_machine_try(&m).slot, 'a');
}

static void an_image_without_a_place_for_its_files_is_refused(void **state)
{
	const char *root;

	start();
	must(do_prepare());
	root = grub_machine_put_image(&m, 'b', KERNEL_2);
	grub_machine_remove(&m, "slot_b/etc/default");
	grub_machine_write(&m, "slot_b/etc/default", "no folder\n");
	stage_is_refused(root, -ENOTDIR,
		"Cannot make ota-slot_b bootable: The slot's /etc/default cannot be opened: Not a "
		"directory");
	grub_machine_remove(&m, "slot_b/etc");
	stage_is_refused(root, -ENOENT,
		"Cannot make ota-slot_b bootable: The slot's /etc cannot be opened: No such file "
		"or directory");
	must(do_stage());
}

static void a_slot_without_an_entry_of_its_own_is_refused(void **state)
{
	start();
	must(do_prepare());
	grub_machine_write(&m, "tools/grub-mkconfig", "#!/bin/sh\necho '# no entry'\n");
	stage_is_refused(grub_machine_put_image(&m, 'b', KERNEL_2), -ENOENT,
		"Cannot make ota-slot_b bootable: Cannot make the menu entry of ota-slot_b: There "
		"is no menu entry that boots vmlinuz-" KERNEL_2);
	stop();
	m.disk.slot[GRUB_SLOT_B].fs_uuid[0] = '\0';
	must(grub_machine_open(&m, &ctl, &err));
	stage_is_refused(grub_machine_put_image(&m, 'b', KERNEL_2), -ENODEV,
		"Cannot make ota-slot_b bootable: ota-slot_b has no file system on /dev/fake3");
}

static int stage_without_knowing_the_room(void *ctx)
{
	CHECK(refusal_call(SYS_fstatfs, EIO) == 0);
	CHECK(do_stage() == -EIO);
	CHECK(sentence_is(&err,
		"Cannot make ota-slot_b bootable: Cannot ask for the room on /boot: Input/output "
		"error"));
	return 0;
}

static int stage_without_seeing_boot(void *ctx)
{
	const char *root = grub_machine_put_image(&m, 'b', KERNEL_2);
	uint32_t boot_fd = (uint32_t)grub_ctl_of(ctl)->boot_fd;

	CHECK(refusal_call_with(SYS_openat, 0, boot_fd, EMFILE) == 0);
	CHECK(ctl->ops->stage(ctl, root, &err) == -EMFILE);
	CHECK(sentence_is(
		&err, "Cannot make ota-slot_b bootable: Cannot list /boot: Too many open files"));
	return 0;
}

static void a_boot_that_cannot_be_asked_is_said(void **state)
{
	start();
	must(do_prepare());
	assert_int_equal(in_child(stage_without_knowing_the_room, NULL), 0);
	assert_int_equal(in_child(stage_without_seeing_boot, NULL), 0);
	must(do_stage());
}

static int open_without_a_release(void *ctx)
{
	m.env.kernel_release = NULL;
	/* As file_read() opens. */
	CHECK(refusal_call_with(
		      SYS_openat, 2, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, EACCES) == 0);
	CHECK(grub_machine_open(&m, &ctl, &err) == -EACCES);
	CHECK(sentence_is(&err, "Cannot ask for the running kernel's release: Permission denied"));
	return 0;
}

static void a_kernel_that_does_not_tell_its_release_is_said(void **state)
{
	assert_int_equal(in_child(open_without_a_release, NULL), 0);
}

static void a_root_whose_path_is_too_long_is_refused(void **state)
{
	static char root[PATH_MAX];

	memset(root, '/', sizeof(root) - 1);
	m.env.root = root;
	assert_int_equal(grub_machine_open(&m, &ctl, &err), -ENAMETOOLONG);
	assert_sentence(&err, "The root's path is too long");
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_step_that_fails_is_said_and_can_be_repeated),
		T(a_way_back_that_cannot_be_made_ready_is_said),
		T(a_slot_that_cannot_be_kept_is_said),
		T(an_entry_of_another_file_system_is_not_the_slots),
		T(a_full_boot_that_does_not_even_take_what_is_in_its_place_is_said),
		T(an_image_without_a_place_for_its_files_is_refused),
		T(a_slot_without_an_entry_of_its_own_is_refused),
		T(a_boot_that_cannot_be_asked_is_said),
		T(a_kernel_that_does_not_tell_its_release_is_said),
		T(a_root_whose_path_is_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
