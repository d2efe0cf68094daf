/*
 * What GRUB's controller says of machines that are well, fresh, of the older layout, or broken; and that it only looks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot-controllers/boot_inspect.h"
#include "common/base/cleanup.h"
#include "tests/support/grub_machine.h"

static struct grub_machine m;
static struct boot_ctl *ctl;
static struct finding f;

static void open_it(void)
{
	struct ota_err err = {0};

	if (ctl)
		ctl->ops->close(ctl);
	ctl = NULL;
	if (grub_machine_open(&m, &ctl, &err) < 0)
		fail_msg("%s", err.msg);
}

static void set_up(void)
{
	struct ota_err err = {0};
	bool reset;

	open_it();
	if (ctl->ops->setup(ctl, &reset, &err) < 0)
		fail_msg("%s", err.msg);
}

static void full_path(const char *path, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%.*s/%s", PATH_MAX - 256, m.dir, path);
}

/* That of the stand-ins is elsewhere. */
static void put_mkconfig(void)
{
	char path[PATH_MAX];

	full_path("slot_a/usr", path);
	assert_int_equal(mkdir(path, 0755), 0);
	full_path("slot_a/usr/sbin", path);
	assert_int_equal(mkdir(path, 0755), 0);
	grub_machine_write(&m, "slot_a/usr/sbin/grub-mkconfig", "");
	full_path("slot_a/usr/sbin/grub-mkconfig", path);
	assert_int_equal(chmod(path, 0755), 0);
}

static int begin(void **state)
{
	grub_machine_init(&m);
	return 0;
}

static int end(void **state)
{
	if (ctl)
		ctl->ops->close(ctl);
	ctl = NULL;
	grub_machine_done(&m);
	return 0;
}

static const struct finding *look(const char *id)
{
	f = (struct finding){0};
	for (const struct boot_check *c = ctl->ops->checks; c->id; c++)
		if (strcmp(c->id, id) == 0)
			c->run(ctl, &f);
	return &f;
}

static void assert_found(const char *id, enum verdict v, const char *part)
{
	look(id);
	if (f.verdict != v || !strstr(f.what, part))
		fail_msg("%s: %d \"%s\" (%s), not %d \"%s\"", id, f.verdict, f.what, f.advice, v,
			part);
}

static void set_line(const char *line)
{
	char path[PATH_MAX];

	full_path("slot_a/proc", path);
	mkdir(path, 0755);
	grub_machine_write(&m, "slot_a/proc/cmdline", line);
}

/* An update that was carried through to the flip, so that the other slot has an entry. */
static void fill_other_slot(void)
{
	struct ota_err err = {0};
	const char *image;

	set_up();
	image = grub_machine_put_image(&m, 'b', "5.10.0-20-fake");
	if (ctl->ops->prepare(ctl, &err) < 0 || ctl->ops->stage(ctl, image, &err) < 0 ||
		ctl->ops->flip(ctl, &err) < 0)
		fail_msg("%s", err.msg);
	open_it();
}

static void a_machine_that_was_taken_over_is_well(void **state)
{
	set_up();
	put_mkconfig();
	set_line("root=UUID=x panic=10\n");
	for (const struct boot_check *c = ctl->ops->checks; c->id; c++) {
		look(c->id);
		if (f.verdict != VERDICT_OK || !f.what[0])
			fail_msg("%s: %d \"%s\"", c->id, f.verdict, f.what);
	}
	assert_found("boot.layout", VERDICT_OK, "grub.cfg is ours and whole");
	assert_found("boot.running_entry", VERDICT_OK, "The menu entry of ota-slot_a is sound");
	assert_found("boot.other_entry", VERDICT_OK, "ota-slot_b has no menu entry");
	assert_found("boot.committed", VERDICT_OK, "Without grubenv, ota-slot_a boots");
	assert_found("boot.other_kernel_line", VERDICT_OK, "ota-slot_b holds no whole system yet");
}

static void a_fresh_machine_is_to_be_taken_over(void **state)
{
	open_it();
	assert_found("boot.mkconfig", VERDICT_WARNING, "There is no /usr/sbin/grub-mkconfig");
	assert_found("boot.layout", VERDICT_WARNING, "grub.cfg does not know two slots: ");
	assert_string_equal(f.advice, "Start otaclient: it takes the machine over");
	assert_found("boot.running_entry", VERDICT_NOT_LOOKED, "has not been taken over yet");
	assert_found("boot.committed", VERDICT_NOT_LOOKED, "has not been taken over yet");
	assert_found("boot.hook", VERDICT_NOT_LOOKED, "has not been taken over yet");
	assert_found("boot.kernel", VERDICT_OK, "The running kernel " GRUB_MACHINE_KERNEL);
	assert_found("boot.defaults", VERDICT_OK, "/etc/default/grub is readable");
	grub_machine_remove(&m, "boot/grub/grub.cfg");
	assert_found("boot.layout", VERDICT_WARNING,
		"grub.cfg does not know two slots: It cannot be read: No such file or directory");
}

static void the_older_layout_is_recognised(void **state)
{
	char path[PATH_MAX];

	open_it();
	grub_machine_remove(&m, "boot/grub/grub.cfg");
	full_path("boot/grub/grub.cfg", path);
	assert_int_equal(symlink("../ota-partition/grub.cfg", path), 0);
	assert_found("boot.layout", VERDICT_WARNING, "/boot has the older layout");
}

static void without_its_kernel_a_machine_cannot_be_taken_over(void **state)
{
	grub_machine_remove(&m, "boot/initrd.img-" GRUB_MACHINE_KERNEL);
	open_it();
	assert_found("boot.kernel", VERDICT_FAILURE,
		"There is no vmlinuz-" GRUB_MACHINE_KERNEL
		" with its initrd.img-" GRUB_MACHINE_KERNEL);
	assert_found("boot.space", VERDICT_NOT_LOOKED, "How large a kernel is here is not known");
}

static void entries_must_be_sound(void **state)
{
	fill_other_slot();
	assert_found("boot.other_entry", VERDICT_OK, "The menu entry of ota-slot_b is sound");
	grub_machine_remove(&m, "boot/ota-slot_b/vmlinuz-5.10.0-20-fake");
	assert_found("boot.other_entry", VERDICT_WARNING,
		"The other slot's menu entry is not sound: ota-slot_b.cfg boots \"/ota-slot_b/"
		"vmlinuz-5.10.0-20-fake\", which is not there");
	assert_string_equal(f.advice, "Restart otaclient: it mends this at its start");
	grub_machine_write(&m, "boot/grub/ota-slot_a.cfg", "menuentry {");
	assert_found("boot.running_entry", VERDICT_FAILURE,
		"The running slot's menu entry is not sound: /boot/grub/ota-slot_a.cfg is no menu "
		"entry");
	grub_machine_remove(&m, "boot/grub/ota-slot_a.cfg");
	assert_found("boot.running_entry", VERDICT_FAILURE, "cannot be read: No such file");
}

static void grubenv_tells_what_the_next_start_does(void **state)
{
	fill_other_slot();
	assert_found("boot.environment", VERDICT_WARNING,
		"The next start of the machine tries ota-slot_b; tries that are left: 1");
	grub_machine_remove(&m, "boot/grub/ota-slot_b.cfg");
	assert_found("boot.environment", VERDICT_WARNING,
		"next_entry in grubenv is \"ota-slot_b\", which is no slot with a menu entry");
	grub_machine_remove(&m, "boot/grub/ota-slot_a.cfg");
	assert_found("boot.environment", VERDICT_FAILURE,
		"GRUB is told of no slot that starts by itself");
	grub_machine_break_env(&m);
	assert_found("boot.environment", VERDICT_WARNING, "grubenv is not readable: ");
	grub_machine_remove(&m, "boot/grub/grubenv");
	assert_found("boot.environment", VERDICT_WARNING,
		"grubenv is not readable: No such file or directory");
}

static void another_slot_that_starts_by_itself_is_told(void **state)
{
	fill_other_slot();
	assert_int_equal(grub_machine_restart(&m), 'b');
	open_it();
	assert_found("boot.environment", VERDICT_WARNING,
		"ota-slot_b runs, but ota-slot_a is what starts by itself");
	assert_found("boot.committed", VERDICT_WARNING,
		"ota-committed.cfg does not name the running slot");
}

static void the_hook_must_be_ours_and_run(void **state)
{
	char path[PATH_MAX];

	set_up();
	full_path("slot_a/etc/grub.d/30_ota", path);
	assert_int_equal(chmod(path, 0640), 0);
	assert_found("boot.hook", VERDICT_WARNING, "/etc/grub.d/30_ota cannot be executed");
	grub_machine_write(&m, "slot_a/etc/grub.d/30_ota", "#!/bin/sh\n");
	assert_found("boot.hook", VERDICT_WARNING, "/etc/grub.d/30_ota is not this version's");
	grub_machine_remove(&m, "slot_a/etc/grub.d/30_ota");
	assert_found(
		"boot.hook", VERDICT_WARNING, "/etc/grub.d/30_ota cannot be read: No such file");
}

static void defaults_must_suit_two_slots(void **state)
{
	AUTO_FREE char *large = calloc(1, 300 * 1024);

	set_up();
	grub_machine_write(&m, "slot_a/etc/default/grub", "GRUB_DEFAULT=0\n");
	assert_found(
		"boot.defaults", VERDICT_WARNING, "/etc/default/grub is not as two slots need");
	grub_machine_write(
		&m, "slot_a/etc/default/grub", "GRUB_DEFAULT=saved\nGRUB_SAVEDEFAULT='true'\n");
	assert_found(
		"boot.defaults", VERDICT_WARNING, "/etc/default/grub is not as two slots need");
	assert_non_null(large);
	memset(large, 'x', 300 * 1024 - 1);
	grub_machine_write(&m, "slot_a/etc/default/grub", large);
	assert_found("boot.defaults", VERDICT_FAILURE, "/etc/default/grub cannot be read");
	grub_machine_remove(&m, "slot_a/etc/default/grub");
	assert_found("boot.defaults", VERDICT_OK, "There is no /etc/default/grub");
}

static void fstab_must_be_readable(void **state)
{
	AUTO_BUF struct buf many = {0};

	set_up();
	assert_found("boot.fstab", VERDICT_OK, "/etc/fstab is readable, and mounts /boot");
	grub_machine_write(&m, "slot_a/etc/fstab", "UUID=1-2 /boot ext4 defaults 0 2\n");
	assert_found("boot.fstab", VERDICT_FAILURE,
		"/etc/fstab mounts /boot from UUID=1-2, but it is "
		"b0070000-0000-4000-8000-000000000001");
	grub_machine_write(&m, "slot_a/etc/fstab", "/dev/sda1 /boot ext4 defaults 0 2\n");
	assert_found(
		"boot.fstab", VERDICT_WARNING, "/etc/fstab mounts /boot from /dev/sda1, a name");
	grub_machine_write(&m, "slot_a/etc/fstab", "LABEL=boot /boot ext4 rw,noauto 0 2\n");
	assert_found(
		"boot.fstab", VERDICT_FAILURE, "does not mount /boot at the start (rw,noauto)");
	grub_machine_write(
		&m, "slot_a/etc/fstab", "LABEL=boot /boot ext4 noauto,x-systemd.automount 0 2\n");
	assert_found("boot.fstab", VERDICT_OK, "/etc/fstab is readable, and mounts /boot");
	grub_machine_write(&m, "slot_a/etc/fstab", "# x /boot ext4\nx /bootx ext4\n/boot");
	assert_found("boot.fstab", VERDICT_WARNING, "/etc/fstab has no line for /boot");
	grub_machine_remove(&m, "slot_a/etc/fstab");
	assert_found("boot.fstab", VERDICT_WARNING, "/etc/fstab cannot be read: No such file");
	for (int i = 0; i < 2000; i++)
		assert_int_equal(
			buf_printf(&many, "LABEL=x%d /mnt/%d ext4 defaults 0 0\n", i, i), 0);
	grub_machine_write(&m, "slot_a/etc/fstab", buf_str(&many));
	assert_found("boot.fstab", VERDICT_FAILURE, "fstab");
}

static void a_kernel_should_not_stay_in_a_panic(void **state)
{
	fill_other_slot();
	assert_found("boot.other_kernel_line", VERDICT_OK,
		"The other slot restarts 10 s after its kernel has panicked");
	assert_found("boot.kernel_line", VERDICT_NOT_LOOKED, "/proc/cmdline cannot be read");
	set_line("root=UUID=x quiet\n");
	assert_found("boot.kernel_line", VERDICT_WARNING,
		"The running system has no panic= on its kernel line");
	set_line("root=UUID=x panic=0");
	assert_found("boot.kernel_line", VERDICT_WARNING, "has no panic=");
	set_line("root=UUID=x panic=-1");
	assert_found("boot.kernel_line", VERDICT_OK, "restarts at once when its kernel panics");
	grub_machine_write(&m, "boot/grub/ota-slot_b.cfg",
		"menuentry 'x' {\nlinux /vmlinuz root=UUID=1 quiet\ninitrd /i panic=3\n}\n");
	assert_found("boot.other_kernel_line", VERDICT_WARNING,
		"The other slot has no panic= on its kernel line");
	grub_machine_write(&m, "boot/grub/ota-slot_b.cfg",
		"menuentry 'x' {\n\tlinux\t/vmlinuz root=UUID=1 'panic=7' quiet\n}\n");
	assert_found("boot.other_kernel_line", VERDICT_OK,
		"The other slot restarts 7 s after its kernel has panicked");
	grub_machine_write(&m, "boot/grub/ota-slot_b.cfg", "menuentry 'x' {\n}\n");
	assert_found("boot.other_kernel_line", VERDICT_NOT_LOOKED, "has no kernel line");
}

static void set_size(const char *path, off_t size)
{
	char full[PATH_MAX];

	full_path(path, full);
	assert_int_equal(truncate(full, size), 0);
}

/* Sparse files are as large as they say, without taking the room. */
static void a_kernel_that_does_not_fit_twice_is_told(void **state)
{
	const off_t huge = (off_t)1 << 42;
	char path[PATH_MAX];

	set_up();
	assert_found("boot.space", VERDICT_OK, "MB for new kernels");
	set_size("boot/ota-slot_a/vmlinuz-" GRUB_MACHINE_KERNEL, huge);
	assert_found("boot.space", VERDICT_FAILURE,
		"MB for a new kernel, but the running one takes 4398047 MB");
	/* What the other slot's kernels take comes back. */
	full_path("boot/ota-slot_b", path);
	assert_int_equal(mkdir(path, 0755), 0);
	grub_machine_write(&m, "boot/ota-slot_b/vmlinuz-old", "");
	set_size("boot/ota-slot_b/vmlinuz-old", huge + ((off_t)1 << 24));
	assert_found("boot.space", VERDICT_WARNING,
		"MB for a new kernel, and the running one takes 4398047 MB");
}

static void looking_changes_nothing(void **state)
{
	static const char *const states[] = {"fresh", "set up", "other"};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		struct grub_machine copy;
		char command[3 * PATH_MAX];

		if (i == 1)
			set_up();
		else if (i == 2)
			fill_other_slot();
		else
			open_it();
		grub_machine_copy(&m, &copy);
		for (const struct boot_check *c = ctl->ops->checks; c->id; c++)
			look(c->id);
		snprintf(command, sizeof(command), "diff -r --no-dereference %.*s %.*s",
			PATH_MAX - 8, m.dir, PATH_MAX - 8, copy.dir);
		assert_int_equal(system(command), 0);
		grub_machine_done(&copy);
	}
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_machine_that_was_taken_over_is_well),
		TEST(a_fresh_machine_is_to_be_taken_over),
		TEST(the_older_layout_is_recognised),
		TEST(without_its_kernel_a_machine_cannot_be_taken_over),
		TEST(entries_must_be_sound),
		TEST(grubenv_tells_what_the_next_start_does),
		TEST(another_slot_that_starts_by_itself_is_told),
		TEST(the_hook_must_be_ours_and_run),
		TEST(defaults_must_suit_two_slots),
		TEST(fstab_must_be_readable),
		TEST(a_kernel_should_not_stay_in_a_panic),
		TEST(a_kernel_that_does_not_fit_twice_is_told),
		TEST(looking_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
