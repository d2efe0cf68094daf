/* ext4_super: superblocks that mkfs makes, and ones that cannot be true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaclient/doctor/ext4_super.h"
#include "tests/unit/superblock.h"

static void its_figures_are_read(void **state)
{
	uint8_t sb[EXT4_SUPER_BYTES];
	struct ext4_super s;

	superblock_make(sb, 5000000000 / 4096, 1000);
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), 0);
	assert_int_equal(s.size_bytes, 5000000000 / 4096 * 4096);
	assert_int_equal(s.n_inodes, 1000);
	assert_int_equal(s.inode_bytes, 256);
	assert_true(s.is_ext4 && s.clean);
	assert_false(s.has_errors || s.needs_recover);
	assert_int_equal(s.uuid[0], 0xaa);

	superblock_make(sb, (uint64_t)1 << 40, 1);
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), 0);
	assert_true(s.size_bytes == (uint64_t)1 << 52);
}

static void its_state_is_read(void **state)
{
	uint8_t sb[EXT4_SUPER_BYTES];
	struct ext4_super s;

	superblock_make(sb, 1000, 1000);
	sb[SUPERBLOCK_STATE] = 2;
	sb[SUPERBLOCK_INCOMPAT] = 0x4;
	sb[SUPERBLOCK_REVISION] = 0;
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), 0);
	assert_true(s.has_errors && s.needs_recover);
	assert_false(s.clean || s.is_ext4);
	assert_int_equal(s.inode_bytes, 128);
}

static void what_cannot_be_true_is_refused(void **state)
{
	uint8_t sb[EXT4_SUPER_BYTES];
	struct ext4_super s;

	superblock_make(sb, 1000, 1000);
	assert_int_equal(ext4_super_parse(sb, sizeof(sb) - 1, &s), -ENODATA);
	sb[SUPERBLOCK_LOG_BLOCK_SIZE] = 7;
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), -EBADMSG);
	superblock_make(sb, 0, 1000);
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), -EBADMSG);
	superblock_make(sb, (uint64_t)1 << 48, 1000);
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), -EBADMSG);
	memset(sb, 0, sizeof(sb));
	assert_int_equal(ext4_super_parse(sb, sizeof(sb), &s), -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_figures_are_read),
		cmocka_unit_test(its_state_is_read),
		cmocka_unit_test(what_cannot_be_true_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
