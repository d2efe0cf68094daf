/* fstab: the machine says where its partitions are, the image says the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot-controllers/grub/fstab.h"
#include "common/base/cleanup.h"
#include "tests/unit/sentence.h"

static const struct fstab_ids bios = {.root_uuid = "R", .boot_uuid = "B"};
static const struct fstab_ids uefi = {.root_uuid = "R", .boot_uuid = "B", .esp_uuid = "E"};

static void assert_merge(
	const struct fstab_ids *ids, const char *active, const char *image, const char *want)
{
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	assert_int_equal(
		fstab_merge(ids, active, strlen(active), image, strlen(image), &out, &err), 0);
	assert_string_equal(buf_str(&out), want);
}

static void root_keeps_its_options_and_gets_the_slots_uuid(void **state)
{
	assert_merge(&bios,
		"UUID=old / ext4 rw,noatime 0 1\nUUID=x /boot ext4 ro 0 2\n/dev/sdb1 /data ext4 rw "
		"0 0\n",
		"/dev/sda9 / xfs defaults 0 0\nUUID=img /boot ext2 defaults 0 0\n/dev/sdc1 /home "
		"ext4 rw 0 2\n",
		"UUID=R\t/\text4\trw,noatime\t0\t1\n"
		"UUID=x\t/boot\text4\tro\t0\t2\n"
		"/dev/sdc1\t/home\text4\trw\t0\t2\n");
}

static void missing_lines_are_made(void **state)
{
	assert_merge(&bios, "", "",
		"UUID=R\t/\text4\terrors=remount-ro\t0\t1\nUUID=B\t/boot\text4\tdefaults\t0\t1\n");
	assert_merge(&uefi, "", "",
		"UUID=R\t/\text4\terrors=remount-ro\t0\t1\nUUID=B\t/boot\text4\tdefaults\t0\t1\n"
		"UUID=E\t/boot/efi\tvfat\tdefaults\t0\t1\n");
}

static void the_esp_is_the_machines_own(void **state)
{
	assert_merge(&uefi, "UUID=A /boot/efi vfat umask=0077 0 1",
		"UUID=I /boot/efi vfat defaults 0 1\n",
		"UUID=R\t/\text4\terrors=remount-ro\t0\t1\nUUID=B\t/boot\text4\tdefaults\t0\t1\n"
		"UUID=A\t/boot/efi\tvfat\tumask=0077\t0\t1\n");
}

static void short_lines_comments_and_several_swaps_survive(void **state)
{
	assert_merge(&bios, "",
		"# a comment\n"
		"/dev/sdc1 /data ext4 rw # the data disk\n"
		"/swap1 none swap sw\n"
		"/swap2 none swap sw 0\n"
		"  /swap3\tswap  swap sw 0 0   # third\r\n"
		"too few fields\n"
		"/a /b ext4 rw 0 0 seventh\n",
		"UUID=R\t/\text4\terrors=remount-ro\t0\t1\nUUID=B\t/boot\text4\tdefaults\t0\t1\n"
		"/dev/sdc1\t/data\text4\trw\t0\t0\n"
		"/swap1\tnone\tswap\tsw\t0\t0\n"
		"/swap2\tnone\tswap\tsw\t0\t0\n"
		"/swap3\tswap\tswap\tsw\t0\t0\n");
}

static void the_last_line_of_a_mount_point_counts(void **state)
{
	assert_merge(&bios, "",
		"/dev/a /data ext4 rw 0 0\n/dev/c /x ext4 rw 0 0\n/dev/b /data xfs ro 0 0\n",
		"UUID=R\t/\text4\terrors=remount-ro\t0\t1\nUUID=B\t/boot\text4\tdefaults\t0\t1\n"
		"/dev/b\t/data\txfs\tro\t0\t0\n/dev/c\t/x\text4\trw\t0\t0\n");
}

static void too_many_lines_are_refused(void **state)
{
	AUTO_BUF struct buf in = {0}, out = {0};
	struct ota_err err = {0};

	for (int i = 0; i <= FSTAB_ENTRIES_MAX; i++)
		assert_int_equal(buf_printf(&in, "/dev/x /m%d ext4 rw 0 0\n", i), 0);
	assert_int_equal(fstab_merge(&bios, "", 0, in.data, in.len_bytes, &out, &err), -E2BIG);
	assert_string_equal(err.msg, "An fstab has more than 1024 entries");
	assert_int_equal(out.len_bytes, 0);
}

static void what_is_no_fstab_is_refused(void **state)
{
	static char large[FSTAB_MAX_BYTES + 1];
	char uuid[256] = "";
	const struct fstab_ids odd = {.root_uuid = uuid, .boot_uuid = "B"};
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	memset(large, '#', sizeof(large));
	assert_int_equal(fstab_merge(&bios, large, sizeof(large), "", 0, &out, &err), -E2BIG);
	assert_sentence(&err, "An fstab has more than %d bytes", FSTAB_MAX_BYTES);
	assert_int_equal(fstab_merge(&bios, large, sizeof(large) - 1, "", 0, &out, NULL), 0);
	/* A file system's id, which comes from its superblock. */
	memset(uuid, 'u', sizeof(uuid) - 1);
	err = (struct ota_err){0};
	assert_int_equal(fstab_merge(&odd, "", 0, "", 0, &out, &err), -EINVAL);
	assert_sentence(&err, "Cannot write an fstab: Invalid argument");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_keeps_its_options_and_gets_the_slots_uuid),
		cmocka_unit_test(missing_lines_are_made),
		cmocka_unit_test(the_esp_is_the_machines_own),
		cmocka_unit_test(short_lines_comments_and_several_swaps_survive),
		cmocka_unit_test(the_last_line_of_a_mount_point_counts),
		cmocka_unit_test(too_many_lines_are_refused),
		cmocka_unit_test(what_is_no_fstab_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
