/*
 * The partitions of a machine that boots by GRUB: real partition tables and file systems on a loop device, as they
 * have to be, in a wrong order, too few, and with a third root. Needs root and loop devices; mounts in a namespace of
 * its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot-controllers/grub/grub_disk.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "tests/support/machine_dir.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"

static char dir[PATH_MAX], device[64];

/* A script with the test's folder as $0 and the loop device as $1. */
static void shell(const char *script, struct buf *out)
{
	AUTO_BUF struct buf text = {0};

	assert_int_equal(buf_printf(&text, "set -e; set -- %s; cd \"$0\"; %s", device, script), 0);
	machine_tool("sh", "-c", buf_str(&text), dir, out);
}

#define BIOS      "label: dos\\nsize=8MiB\\nsize=16MiB\\nsize=16MiB\\n"
#define BIOS_MORE BIOS "size=16MiB\\n"
#define UEFI      "label: gpt\\nsize=4MiB,type=U\\nsize=8MiB\\nsize=16MiB\\nsize=16MiB\\n"
#define UEFI_MORE UEFI "size=8MiB\\n"

/* A disk with that table; the root is on partition @root, /boot on partition @boot, 0 = a folder of the root. */
static void begin_disk(const char *table, unsigned root, unsigned boot)
{
	AUTO_BUF struct buf script = {0}, out = {0};

	device[0] = '\0';
	machine_dir_new("grub_disk", dir);
	assert_int_equal(buf_printf(&script,
				 "truncate -s 96M disk; printf '%s' | sfdisk -q disk >&2; "
				 "losetup --show -f disk",
				 table),
		0);
	shell(buf_str(&script), &out);
	snprintf(device, sizeof(device), "%.*s", (int)strcspn(buf_str(&out), "\n"), buf_str(&out));
	buf_done(&script);
	assert_int_equal(buf_printf(&script,
				 "partx -a $1; mkfs.ext4 -q -L the-root ${1}p%u; mkdir root; mount "
				 "${1}p%u root; "
				 "mkdir root/boot",
				 root, root),
		0);
	if (boot > 0)
		assert_int_equal(
			buf_printf(&script,
				"; mkfs.ext4 -q -L the-boot ${1}p%u; mount ${1}p%u root/boot", boot,
				boot),
			0);
	shell(buf_str(&script), NULL);
}

static void end_disk(void)
{
	shell("umount -R root; partx -d $1; losetup -d $1", NULL);
	device[0] = '\0';
	machine_dir_done(dir);
}

static int probe(struct grub_disk *ret, struct ota_err *err)
{
	char root[PATH_MAX];

	machine_dir_path(dir, "root", root);
	return grub_disk_probe(root, ret, err);
}

static void both_kinds_of_machine_are_recognised(void **state)
{
	/* table, root, boot, is it UEFI? */
	static const struct {
		const char *table;
		unsigned root, boot;
		bool uefi;
	} good[] = {
		{BIOS,      2, 1, false},
		{BIOS,      3, 1, false},
		{BIOS_MORE, 2, 1, false},
		{UEFI,      3, 2, true },
		{UEFI,      4, 2, true },
		{UEFI_MORE, 4, 2, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct grub_disk d;
		struct ota_err err = {0};
		unsigned first = good[i].uefi ? 3 : 2, active = good[i].root - first;
		char want[80];

		begin_disk(good[i].table, good[i].root, good[i].boot);
		if (probe(&d, &err) < 0)
			fail_msg("%zu: %s", i, err.msg);
		assert_int_equal(d.uefi, good[i].uefi);
		assert_int_equal(d.active, active);
		for (unsigned s = 0; s < GRUB_N_SLOTS; s++) {
			snprintf(want, sizeof(want), "%sp%u", device, first + s);
			assert_string_equal(d.slot[s].device, want);
			assert_string_equal(d.slot[s].fs_label, s == active ? "the-root" : "");
		}
		assert_int_equal(d.boot.number, good[i].boot);
		assert_string_equal(d.boot.fs_label, "the-boot");
		end_disk();
	}
}

/* @sentence with the names of this run: DIR of the folder, DISK of the loop device. */
static const char *named(const char *sentence)
{
	static char text[PATH_MAX + 256];
	size_t len = 0;

	while (*sentence) {
		const char *name = strncmp(sentence, "DISK", 4) == 0  ? device
				   : strncmp(sentence, "DIR", 3) == 0 ? dir
								      : NULL;

		if (name) {
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", name);
			sentence += name == device ? 4 : 3;
		} else {
			text[len++] = *sentence++;
		}
		assert_true(len < sizeof(text));
	}
	text[len] = '\0';
	return text;
}

static void assert_refused(int r, const char *sentence)
{
	struct grub_disk d;
	struct ota_err err = {0};

	if (probe(&d, &err) != r)
		fail_msg("%s", err.msg);
	assert_string_equal(err.msg, named(sentence));
	assert_int_equal(err.code, OTA_E_BOOTCONTROL_STARTUP);
}

static void other_layouts_are_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *table;
		unsigned root, boot;
		const char *sentence;
	} odd[] = {
		/* a third root */
		{BIOS_MORE, 4, 1, "The root file system is on partition 4 of DISK, but on a machine that "
			"boots by BIOS the slots are partitions 2 and 3"},
		{UEFI_MORE, 5, 2, "The root file system is on partition 5 of DISK, but on a machine that "
			"boots by UEFI the slots are partitions 3 and 4"},
		/* a wrong order */
		{BIOS, 1, 2, "The root file system is on partition 1 of DISK, but on a machine that "
			"boots by BIOS the slots are partitions 2 and 3"},
		{UEFI, 2, 3, "The root file system is on partition 2 of DISK, but on a machine that "
			"boots by UEFI the slots are partitions 3 and 4"},
		{BIOS, 2, 3, "DIR/root/boot is not the file system of DISKp1, as it has to be for two slots"},
		{BIOS_MORE, 3, 4,
			"DIR/root/boot is not the file system of DISKp1, as it has to be for two slots"},
		{UEFI, 3, 4, "DIR/root/boot is not the file system of DISKp2, as it has to be for two slots"},
		/* no /boot of its own */
		{BIOS, 2, 0, "DIR/root/boot is not the file system of DISKp1, as it has to be for two slots"},
		/* too few */
		{"label: dos\\nsize=8MiB\\nsize=16MiB\\n", 2, 1,
			"The disk DISK has no partition 3, which two slots need"},
		{"label: gpt\\nsize=4MiB,type=U\\nsize=8MiB\\n4: size=16MiB\\n", 4, 2,
			"The disk DISK has no partition 3, which two slots need"},
		/* an ESP that is not the first one makes no UEFI machine */
		{"label: gpt\\nsize=8MiB\\nsize=4MiB,type=U\\nsize=16MiB\\nsize=16MiB\\n", 4, 1,
			"The root file system is on partition 4 of DISK, but on a machine that boots by "
			"BIOS the slots are partitions 2 and 3"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		begin_disk(odd[i].table, odd[i].root, odd[i].boot);
		assert_refused(-EINVAL, odd[i].sentence);
		end_disk();
	}
}

static void a_partition_without_a_device_file_is_told(void **state)
{
	begin_disk(BIOS, 2, 1);
	/* The folder may itself lie in /dev. */
	shell("mkdir dev; mount -t tmpfs dev dev; cp -a $1 ${1}p1 ${1}p2 /dev/loop-control dev; "
	      "mkdir dev/shm; mount --bind /dev/shm dev/shm; mount --move dev /dev",
		NULL);
	assert_refused(-EINVAL, "Partition 3 of DISK has no device file");
	machine_tool("umount", "-l", "/dev", NULL, NULL);
	end_disk();
}

static void a_partition_table_that_is_gone_is_told(void **state)
{
	begin_disk(BIOS, 2, 1);
	shell("dd if=/dev/zero of=$1 bs=512 count=1 conv=notrunc status=none", NULL);
	assert_refused(-EINVAL, "Cannot read the partition table of DISK");
	end_disk();
}

static void a_root_that_is_no_mount_point_of_a_disk_is_told(void **state)
{
	struct grub_disk d;
	struct ota_err err = {0};
	char root[PATH_MAX];

	begin_disk(BIOS, 2, 1);
	shell("mkdir memory; mount -t tmpfs memory memory; mkdir memory/root", NULL);
	machine_dir_path(dir, "memory/root", root);
	assert_int_equal(grub_disk_probe(root, &d, &err), -ENOENT);
	assert_string_equal(
		err.msg, named("Cannot find the device of DIR/memory/root: Nothing is mounted on "
			       "DIR/memory/root"));
	shell("umount memory", NULL);
	end_disk();
}

static void a_missing_boot_folder_is_told(void **state)
{
	begin_disk(BIOS, 2, 0);
	shell("rmdir root/boot", NULL);
	assert_refused(-ENOENT, "Cannot look at DIR/root/boot: No such file or directory");
	end_disk();
}

static int probe_without_reading(void *ctx)
{
	struct disk_part part = {0};

	snprintf(part.device, sizeof(part.device), "%sp2", device);
	CHECK(disk_part_probe_fs(&part, NULL) == 0);
	CHECK(strcmp(part.fs_label, "the-root") == 0 && strlen(part.fs_uuid) == 36);
	CHECK(refusal_call(SYS_read, EIO) == 0 && refusal_call(SYS_pread64, EIO) == 0);
	CHECK(disk_part_probe_fs(&part, NULL) == 0);
	CHECK(!part.fs_label[0] && !part.fs_uuid[0]);
	return 0;
}

static void a_partition_that_cannot_be_read_has_no_file_system(void **state)
{
	begin_disk(BIOS, 2, 1);
	assert_int_equal(in_child(probe_without_reading, NULL), 0);
	end_disk();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_kinds_of_machine_are_recognised),
		cmocka_unit_test(other_layouts_are_refused),
		cmocka_unit_test(a_missing_boot_folder_is_told),
		cmocka_unit_test(a_partition_without_a_device_file_is_told),
		cmocka_unit_test(a_partition_table_that_is_gone_is_told),
		cmocka_unit_test(a_partition_that_cannot_be_read_has_no_file_system),
		cmocka_unit_test(a_root_that_is_no_mount_point_of_a_disk_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
