/*
 * standby_inodes: of a slot that an update has left, what the tables say is what the kernel says; of anything that has
 * changed since, nothing. Needs root, for a file system on a loop device.
 */
#include "otaclient/inventory/standby_inodes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/image/list_text.h"
#include "tests/support/ext4_disk.h"

#define CONTENT "1111111111111111111111111111111111111111111111111111111111111111"

/* A slot with three files, of which the index knows the first two. */
struct bench {
	struct ext4_disk disk;
	struct file_table *table;
	struct inode_index *known;
	struct standby_inodes *inodes;
};

static const char *const names[] = {"a", "b", "c"};

static struct stat stat_of(struct bench *b, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(b->disk.root_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

/* The first and the last time that ext4 has, and any. */
static const struct timespec mtimes[] = {
	{.tv_sec = -(INT64_C(1) << 31)},
	{ .tv_sec = (INT64_C(1) << 34) - (INT64_C(1) << 31) - 1,         .tv_nsec = 999999999},
	{ .tv_sec = 1700000000,                 .tv_nsec = 1},
};

static void make_files(struct bench *b)
{
	for (size_t i = 0; i < 3; i++) {
		const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, mtimes[i]};
		AUTO_CLOSE int fd =
			openat(b->disk.root_fd, names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		assert_int_equal(write(fd, "bytes", 5), 5);
		assert_int_equal(fchmod(fd, (mode_t)(0640 + i)), 0);
		assert_int_equal(fchown(fd, (uid_t)(70000 + i), (gid_t)(80000 + i)), 0);
		assert_int_equal(futimens(fd, times), 0);
	}
	assert_int_equal(linkat(b->disk.root_fd, "a", b->disk.root_fd, "a-too", 0), 0);
}

static void save_index(struct bench *b)
{
	struct inode_note notes[2];
	struct timespec now;
	AUTO_CLOSE int meta_fd = -1;

	for (size_t i = 0; i < 2; i++) {
		struct stat st = stat_of(b, names[i]);

		notes[i] = (struct inode_note){
			.ino = (uint32_t)st.st_ino,
			.ctime_s = (uint32_t)st.st_ctim.tv_sec,
			.ctime_ns = (uint32_t)st.st_ctim.tv_nsec & INT32_MAX,
		};
	}
	clock_await_file_time(&now);
	assert_int_equal(mkdirat(b->disk.root_fd, ".ota-meta", 0700), 0);
	meta_fd = openat(b->disk.root_fd, ".ota-meta", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(inode_index_save(meta_fd, b->table, notes, &now), 0);
}

static int setup(void **state)
{
	static const char regulars[] =
		"0644,0,0,1," CONTENT ",'/a',5,,\n0644,0,0,1," CONTENT ",'/b',5,,\n";
	struct bench *b = calloc(1, sizeof(*b));

	ext4_disk_setup(&b->disk);
	ext4_disk_make(&b->disk, "-I", "256");
	b->table = file_table_new();
	assert_int_equal(
		list_text_read_regulars(regulars, strlen(regulars), "regulars.txt", b->table, NULL),
		0);
	assert_int_equal(file_table_seal(b->table, NULL), 0);
	make_files(b);
	save_index(b);
	*state = b;
	return 0;
}

static void forget(struct bench *b)
{
	standby_inodes_free(b->inodes);
	inode_index_free(b->known);
	b->inodes = NULL;
	b->known = NULL;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	forget(b);
	file_table_free(b->table);
	ext4_disk_teardown(&b->disk);
	free(b);
	return 0;
}

static void read_again(struct bench *b, unsigned long flags)
{
	forget(b);
	ext4_disk_unmount(&b->disk);
	ext4_disk_mount(&b->disk, flags);
	assert_int_equal(inode_index_load(b->disk.root_fd, b->table, &b->known), 0);
	assert_non_null(b->known);
	assert_int_equal(standby_inodes_read(
				 b->disk.device, b->disk.root_fd, b->known, NULL, NULL, &b->inodes),
		0);
}

static bool is_found(struct bench *b, const char *name)
{
	struct stat st = stat_of(b, name), found;

	if (!standby_inodes_find(b->inodes, st.st_ino, &found))
		return false;
	assert_int_equal(found.st_ino, st.st_ino);
	assert_int_equal(found.st_mode, st.st_mode);
	assert_int_equal(found.st_nlink, st.st_nlink);
	assert_int_equal(found.st_uid, st.st_uid);
	assert_int_equal(found.st_gid, st.st_gid);
	assert_int_equal(found.st_size, st.st_size);
	assert_int_equal(found.st_blocks, st.st_blocks);
	assert_memory_equal(&found.st_mtim, &st.st_mtim, sizeof(st.st_mtim));
	assert_memory_equal(&found.st_ctim, &st.st_ctim, sizeof(st.st_ctim));
	return true;
}

static void what_the_update_left_is_found(void **state)
{
	struct bench *b = *state;

	read_again(b, MS_RDONLY);
	assert_non_null(b->inodes);
	assert_true(is_found(b, "a"));
	assert_int_equal(stat_of(b, "a").st_nlink, 2);
	assert_int_equal(stat_of(b, "a").st_mtim.tv_sec, mtimes[0].tv_sec);
	assert_true(is_found(b, "b"));
	assert_int_equal(stat_of(b, "b").st_mtim.tv_sec, mtimes[1].tv_sec);
	assert_false(is_found(b, "c"));
}

static void what_somebody_has_changed_is_not_found(void **state)
{
	struct bench *b = *state;

	assert_int_equal(fchmodat(b->disk.root_fd, "b", 0600, 0), 0);
	read_again(b, MS_RDONLY);
	assert_true(is_found(b, "a"));
	assert_false(is_found(b, "b"));
}

/* What was changed may be in memory only. */
static void a_slot_that_can_be_written_to_is_not_read(void **state)
{
	struct bench *b = *state;

	read_again(b, 0);
	assert_null(b->inodes);
}

static void tables_that_cannot_be_read_are_no_error(void **state)
{
	struct bench *b = *state;
	struct standby_inodes *none = NULL;

	read_again(b, MS_RDONLY);
	assert_int_equal(
		standby_inodes_read("/dev/null", b->disk.root_fd, b->known, NULL, NULL, &none), 0);
	assert_null(none);
	assert_int_equal(
		standby_inodes_read(b->disk.device, b->disk.root_fd, NULL, NULL, NULL, &none), 0);
	assert_null(none);
}

static bool at_once(void *ctx)
{
	return true;
}

static void reading_ends_when_nobody_wants_it_any_more(void **state)
{
	struct bench *b = *state;
	struct standby_inodes *none = NULL;

	read_again(b, MS_RDONLY);
	assert_int_equal(standby_inodes_read(
				 b->disk.device, b->disk.root_fd, b->known, at_once, NULL, &none),
		-ECANCELED);
	assert_null(none);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_the_update_left_is_found),
		T(what_somebody_has_changed_is_not_found),
		T(a_slot_that_can_be_written_to_is_not_read),
		T(tables_that_cannot_be_read_are_no_error),
		T(reading_ends_when_nobody_wants_it_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
