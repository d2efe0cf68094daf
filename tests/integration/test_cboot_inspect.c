/*
 * What CBoot's controller says of a Jetson that is well, and of one whose menu or tools are not; and that it only looks.
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

#include "boot-controllers/boot_inspect.h"
#include "common/base/cleanup.h"
#include "tests/support/cboot_machine.h"

#define MENU "slot_0/boot/extlinux/extlinux.conf"

static struct cboot_machine m;
static struct boot_ctl *ctl;
static struct finding f;

static int begin(void **state)
{
	struct ota_err err = {0};
	bool reset;

	cboot_machine_init(&m, false, false);
	if (cboot_machine_open(&m, &ctl, &err) < 0 || ctl->ops->setup(ctl, &reset, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
}

static int end(void **state)
{
	ctl->ops->close(ctl);
	cboot_machine_done(&m);
	return 0;
}

static void look(const char *id)
{
	f = (struct finding){0};
	for (const struct boot_check *c = ctl->ops->checks; c->id; c++)
		if (strcmp(c->id, id) == 0)
			c->run(ctl, &f);
}

static void assert_found(const char *id, enum verdict v, const char *part)
{
	look(id);
	if (f.verdict != v || !strstr(f.what, part))
		fail_msg("%s: %d \"%s\" (%s), not %d \"%s\"", id, f.verdict, f.what, f.advice, v,
			part);
}

static void a_jetson_is_well(void **state)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s/slot_0/proc", PATH_MAX - 64, m.dir);
	mkdir(path, 0755);
	cboot_machine_write(&m, "slot_0/proc/cmdline", "root=x panic=5\n");
	for (const struct boot_check *c = ctl->ops->checks; c->id; c++) {
		look(c->id);
		if (f.verdict != VERDICT_OK || !f.what[0])
			fail_msg("%s: %d \"%s\"", c->id, f.verdict, f.what);
	}
	assert_found("boot.kernel_line", VERDICT_OK, "restarts 5 s after its kernel has panicked");
	assert_found("boot.other_entry", VERDICT_OK, "Slot 1 holds no whole system yet");
	cboot_machine_write(&m, "slot_0/proc/cmdline", "root=x\n");
	assert_found("boot.kernel_line", VERDICT_WARNING, "has no panic= on its kernel line");
	assert_string_equal(
		f.advice, "Put panic=10 into the APPEND line of extlinux.conf, here and in images");
}

static void its_menu_should_boot_it(void **state)
{
	AUTO_BUF struct buf menu = {0};

	cboot_machine_read(&m, MENU, &menu);
	assert_found("boot.layout", VERDICT_OK, "of extlinux.conf is sound");
	cboot_machine_write(&m, MENU, "LABEL x\n LINUX /boot/none\n APPEND root=/dev/x\n");
	assert_found("boot.layout", VERDICT_WARNING,
		"The entry \"x\" boots \"/boot/none\", which is not");
	cboot_machine_write(&m, "slot_0/boot/kernel", "k");
	cboot_machine_write(
		&m, MENU, "LABEL x\n LINUX /boot/kernel\n INITRD /boot/i\n APPEND root=/dev/x\n");
	assert_found(
		"boot.layout", VERDICT_WARNING, "The entry \"x\" boots \"/boot/i\", which is not");
	cboot_machine_write(&m, MENU, "LABEL x\n LINUX /boot/kernel\n APPEND root=PARTUUID=1-2\n");
	assert_found("boot.layout", VERDICT_WARNING,
		"The entry \"x\" has the root PARTUUID=1-2, but the running slot is ");
	cboot_machine_write(&m, MENU, "nothing\n");
	assert_found("boot.layout", VERDICT_WARNING, "/boot/extlinux/extlinux.conf is unusable: ");
	cboot_machine_remove(&m, MENU);
	assert_found("boot.layout", VERDICT_WARNING,
		"/boot/extlinux/extlinux.conf cannot be read: No such file or directory");
}

static void what_commits_must_be_there(void **state)
{
	assert_found("boot.tools", VERDICT_OK, "nv_update_engine is there");
	cboot_machine_remove(&m, "tools/nv_update_engine");
	assert_found("boot.tools", VERDICT_FAILURE,
		"There is no nv_update_engine, without which no new system is committed");
}

static void looking_changes_nothing(void **state)
{
	struct cboot_machine copy;
	char command[3 * PATH_MAX];

	cboot_machine_copy(&m, &copy);
	for (const struct boot_check *c = ctl->ops->checks; c->id; c++)
		look(c->id);
	snprintf(command, sizeof(command), "diff -r --no-dereference %.*s %.*s", PATH_MAX - 8,
		m.dir, PATH_MAX - 8, copy.dir);
	assert_int_equal(system(command), 0);
	cboot_machine_done(&copy);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(a_jetson_is_well),
		TEST(its_menu_should_boot_it),
		TEST(what_commits_must_be_there),
		TEST(looking_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
