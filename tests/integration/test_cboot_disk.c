/*
 * The partitions of a Jetson, and the one that CBoot reads where the root file systems are on another disk: real
 * partition tables and file systems on loop devices, good ones and others. Needs root and loop devices; mounts in a
 * namespace of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "tests/support/cboot_machine.h"

static char dir[PATH_MAX], device[64];

/* A script with the test's folder as $0 and the loop device as $1. */
static void shell(const char *script, struct buf *out)
{
	AUTO_BUF struct buf text = {0};

	assert_int_equal(buf_printf(&text, "set -e; set -- %s; cd \"$0\"; %s", device, script), 0);
	machine_tool("sh", "-c", buf_str(&text), dir, out);
}

static void attach(void)
{
	AUTO_BUF struct buf out = {0};

	shell("losetup --show -f disk", &out);
	snprintf(device, sizeof(device), "%.*s", (int)strcspn(buf_str(&out), "\n"), buf_str(&out));
}

/* ---- partitions --------------------------------------------------------------------------------- */

/* A disk with that table, and a file system on its partition @root, which is mounted. */
static void begin_disk(const char *table, unsigned root)
{
	AUTO_BUF struct buf script = {0};

	machine_dir_new("cboot_disk", dir);
	assert_int_equal(
		buf_printf(&script, "truncate -s 64M disk; printf '%s' | sfdisk -q disk", table),
		0);
	shell(buf_str(&script), NULL);
	attach();
	buf_done(&script);
	assert_int_equal(
		buf_printf(&script,
			"partx -a $1; mkfs.ext4 -q ${1}p%u; mkdir root; mount ${1}p%u root", root,
			root),
		0);
	shell(buf_str(&script), NULL);
}

static void end_disk(void)
{
	shell("umount root; partx -d $1; losetup -d $1", NULL);
	device[0] = '\0';
	machine_dir_done(dir);
}

#define SLOTS                                                                   \
	"label: gpt\\nsize=16MiB, uuid=0A000000-0000-4000-8000-000000000001\\n" \
	"size=16MiB, uuid=0B000000-0000-4000-8000-000000000002\\nsize=16MiB\\n"

static void slots_are_the_first_two_partitions(void **state)
{
	for (unsigned slot = 0; slot < 2; slot++) {
		struct cboot_disk d;
		struct ota_err err = {0};
		char root[PATH_MAX], want[80];

		begin_disk(SLOTS, slot + 1);
		machine_dir_path(dir, "root", root);
		if (cboot_disk_probe(root, &d, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(d.active, slot);
		assert_string_equal(d.slot[0].part_uuid, "0a000000-0000-4000-8000-000000000001");
		assert_string_equal(d.slot[1].part_uuid, "0b000000-0000-4000-8000-000000000002");
		for (unsigned s = 0; s < 2; s++) {
			snprintf(want, sizeof(want), "%sp%u", device, s + 1);
			assert_string_equal(d.slot[s].device, want);
			assert_int_equal(d.slot[s].fs_uuid[0] != '\0', s == slot);
		}
		assert_true(d.external);
		assert_string_equal(d.boot[0], "/dev/mmcblk0p1");
		assert_string_equal(d.boot[1], "/dev/mmcblk0p2");
		end_disk();
	}
}

static void other_layouts_are_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *table;
		unsigned root;
		const char *before, *after; /* the sentence, around the disk's name */
	} odd[] = {
		{SLOTS, 3, "The root file system is on partition 3 of ",
			", but the slots of a Jetson are partitions 1 and 2"},
		{"label: gpt\\nsize=16MiB\\n", 1, "The disk ", " has no partition 2, which two slots need"},
		{"label: gpt\\nstart=1MiB, size=16MiB\\n3: size=16MiB\\n", 1, "The disk ",
			" has no partition 2, which two slots need"},
		{"label: dos\\nlabel-id: 0x00000000\\nsize=16MiB\\nsize=16MiB\\n", 1, "Partition 1 of ",
			" has no PARTUUID, by which the kernel finds its root"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct cboot_disk d;
		struct ota_err err = {0};
		char root[PATH_MAX], want[256];

		begin_disk(odd[i].table, odd[i].root);
		machine_dir_path(dir, "root", root);
		snprintf(want, sizeof(want), "%s%s%s", odd[i].before, device, odd[i].after);
		assert_int_equal(cboot_disk_probe(root, &d, &err), -EINVAL);
		assert_string_equal(err.msg, want);
		assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
		end_disk();
	}
}

static void a_root_that_is_no_partition_is_refused(void **state)
{
	struct cboot_disk d;
	struct ota_err err = {0};
	char root[PATH_MAX];

	machine_dir_new("cboot_disk", dir);
	shell("mkdir root; mount -t tmpfs none root", NULL);
	machine_dir_path(dir, "root", root);
	assert_int_equal(cboot_disk_probe(root, &d, &err), -EINVAL);
	assert_string_equal(
		err.msg, "The root file system is on none, which is no partition of a disk");
	shell("umount root", NULL);
	machine_dir_done(dir);
}

/* ---- what CBoot reads --------------------------------------------------------------------------- */

static struct cboot_machine m;

/* A Jetson with its root elsewhere, whose internal partition of slot 1 is what @script has made of "disk". */
static void begin_external(const char *script)
{
	machine_dir_new("cboot_disk", dir);
	shell("mkdir mnt", NULL);
	shell(script, NULL);
	attach();
	cboot_machine_init(&m, false, true);
	m.disk.described = false;
	snprintf(m.disk.boot[1], sizeof(m.disk.boot[1]), "%s", device);
}

static void end_external(void)
{
	cboot_machine_done(&m);
	shell("losetup -d $1", NULL);
	device[0] = '\0';
	machine_dir_done(dir);
}

static int stage(struct ota_err *err)
{
	struct boot_ctl *ctl = NULL;
	bool reset;
	int r = cboot_machine_open(&m, &ctl, err);

	if (r == 0)
		r = ctl->ops->setup(ctl, &reset, err);
	if (r == 0)
		r = ctl->ops->prepare(ctl, err);
	if (r == 0)
		r = ctl->ops->stage(ctl, cboot_machine_put_image(&m, 1, "4.9.2-tegra"), err);
	if (r < 0 && ctl)
		assert_int_equal(ctl->ops->flip(ctl, &(struct ota_err){0}), -ENOENT);
	if (ctl)
		ctl->ops->close(ctl);
	return r;
}

static void assert_has_kernel(void)
{
	AUTO_BUF struct buf kernel = {0};

	shell("mount -o ro $1 mnt; cat mnt/boot/Image; umount mnt", &kernel);
	assert_string_equal(buf_str(&kernel), "kernel 4.9.2-tegra\n");
}

#define EXT4 "truncate -s 8M disk; mkfs.ext4 -q -F disk; "

static void the_internal_partition_gets_the_boot_folder(void **state)
{
	struct ota_err err = {0};
	AUTO_BUF struct buf names = {0};

	begin_external("mkdir -p old/boot; touch old/boot/gone old/kept; truncate -s 8M disk; "
		       "mkfs.ext4 -q -F -d old disk");
	if (stage(&err) < 0)
		fail_msg("%s", err.msg);
	assert_has_kernel();
	/* It is not mounted any more, so that nothing is left in a journal. */
	shell("mount -o ro $1 mnt; (cd mnt && ls -d boot/gone boot/extlinux kept 2>/dev/null || "
	      ":); umount mnt",
		&names);
	assert_string_equal(buf_str(&names), "boot/extlinux\nkept\n");
	assert_false(machine_dir_exists(m.root, "run/otaclient/mnt/standby_boot/boot"));
	end_external();
}

/* Somebody looks at it, or has written there: it is one file system, and what is published is on the disk. */
static void a_partition_that_is_mounted_elsewhere_is_filled_all_the_same(void **state)
{
	struct ota_err err = {0};

	begin_external(EXT4);
	shell("mount $1 mnt", NULL);
	if (stage(&err) < 0)
		fail_msg("%s", err.msg);
	shell("umount mnt", NULL);
	assert_has_kernel();
	end_external();
}

/* how the partition is made, and what the sentence says of it, around its name */
static const struct bad {
	const char *script, *while_used;
	int errnum;
	enum ota_code code;
	const char *why;
} bads[] = {
  /* clang-format off */
	{"truncate -s 8M disk", ":", -EINVAL, OTA_E_BOOTCONTROL_POSTUPDATE, "Invalid argument"},
	{"truncate -s 8M disk; mkswap -q disk", ":", -EINVAL, OTA_E_BOOTCONTROL_POSTUPDATE, "Invalid argument"},
	{EXT4 "head -c 200 /dev/zero | dd of=disk bs=1 seek=1024 conv=notrunc status=none", ":", -EINVAL,
		OTA_E_BOOTCONTROL_POSTUPDATE, "Invalid argument"},
	{EXT4 "head -c 65536 /dev/zero | tr '\\0' '\\377' | dd of=disk bs=1 seek=2048 conv=notrunc status=none", ":",
		-EUCLEAN, OTA_E_BOOTCONTROL_POSTUPDATE, "Structure needs cleaning"},
	{EXT4, "mount -o ro $1 mnt", -EBUSY, OTA_E_BOOTCONTROL_POSTUPDATE, "busy"},
	{"truncate -s 1M disk; mkfs.ext4 -q -F -O ^has_journal disk; mkdir full; mount -o loop disk full; "
		"head -c 4M /dev/zero > full/x 2>/dev/null || :; umount full", ":", -ENOSPC,
		OTA_E_STANDBY_SLOT_SPACE, "No space left on device"},
  /* clang-format on */
};

static void a_partition_that_cannot_be_filled_is_told(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
		struct ota_err err = {0};
		char want[256];
		int r;

		begin_external(bads[i].script);
		shell(bads[i].while_used, NULL);
		r = stage(&err);
		snprintf(want, sizeof(want),
			"Cannot make slot 1 bootable: Cannot copy the slot's /boot to %s, which "
			"CBoot "
			"reads: ",
			device);
		if (strncmp(err.msg, want, strlen(want)) != 0 || !strstr(err.msg, bads[i].why))
			fail_msg("%zu: \"%s\"", i, err.msg);
		assert_int_equal(r, bads[i].errnum);
		assert_int_equal(err.code, bads[i].code);
		for (int n = 0; n < CBOOT_MACHINE_LOADER_TRIES + 1; n++)
			assert_int_equal(cboot_machine_try(&m), 'a');
		shell("umount mnt 2>/dev/null || :", NULL);
		end_external();
	}
}

static void a_partition_that_is_not_there_is_told(void **state)
{
	struct ota_err err = {0};

	begin_external("truncate -s 1M disk");
	snprintf(m.disk.boot[1], sizeof(m.disk.boot[1]), "/dev/mmcblk9p2");
	assert_int_equal(stage(&err), -ENOENT);
	assert_non_null(strstr(
		err.msg, "Cannot copy the slot's /boot to /dev/mmcblk9p2, which CBoot reads: "));
	end_external();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_the_first_two_partitions),
		cmocka_unit_test(other_layouts_are_refused),
		cmocka_unit_test(a_root_that_is_no_partition_is_refused),
		cmocka_unit_test(the_internal_partition_gets_the_boot_folder),
		cmocka_unit_test(a_partition_that_is_mounted_elsewhere_is_filled_all_the_same),
		cmocka_unit_test(a_partition_that_cannot_be_filled_is_told),
		cmocka_unit_test(a_partition_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
