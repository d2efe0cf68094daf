/*
 * ext4_inodes: what the tables of inodes say, beside what the kernel says of the same files. Needs root, for a file
 * system on a loop device.
 */
#include "otaclient/slot/ext4_inodes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "otaclient/slot/disk_order.h"
#include "otaclient/slot/entry_attrs.h"
#include "tests/support/ext4_disk.h"
#include "tests/support/failing_alloc.h"

enum {
	BLOCK = EXT4_DISK_BLOCK,
	N_INODES_MAX = 256,
};

struct bench {
	struct ext4_disk disk;
	struct ext4_inode_seen seen[N_INODES_MAX];
	size_t n_seen;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	ext4_disk_setup(&b->disk);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	ext4_disk_teardown(&b->disk);
	free(b);
	return 0;
}

/* ---- what is on it ---- */

static int make(struct bench *b, const char *name, size_t len)
{
	static const char bytes[3 * BLOCK] = "content";
	int fd = openat(b->disk.root_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, bytes, len), 0);
	return fd;
}

static void set_flags(int fd, int flags)
{
	int now = 0;

	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &now), 0);
	flags |= now & FS_EXTENT_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

static void set_time(int fd, time_t s)
{
	assert_int_equal(futimens(fd,
				 (struct timespec[]){
					 {.tv_sec = s          },
                                         { .tv_sec = s, .tv_nsec = 123456789}
        }),
		0);
}

/* Blocks of two files in turn, each on the disk before the next is asked for. */
static void make_scattered(struct bench *b)
{
	AUTO_CLOSE int one = make(b, "scattered", 0), other = make(b, "between", 0);
	static const char block[BLOCK] = "block";

	for (int i = 0; i < 4; i++) {
		assert_int_equal(file_write_all(one, block, BLOCK), 0);
		assert_int_equal(fsync(one), 0);
		assert_int_equal(file_write_all(other, block, BLOCK), 0);
		assert_int_equal(fsync(other), 0);
	}
}

static void fill(struct bench *b)
{
	static char large[2000];
	AUTO_CLOSE int longer = make(b, "longer", 2 * BLOCK + 1);
	AUTO_CLOSE int owned = make(b, "owned", 10);
	AUTO_CLOSE int old = make(b, "old", 10);
	AUTO_CLOSE int late = make(b, "late", 10);
	AUTO_CLOSE int sparse = make(b, "sparse", 10);
	AUTO_CLOSE int huge = make(b, "huge", 10);
	AUTO_CLOSE int room = make(b, "room", 10);
	AUTO_CLOSE int marked = make(b, "marked", 10);
	AUTO_CLOSE int heavy = make(b, "heavy", 10);
	AUTO_CLOSE int fixed = make(b, "fixed", 10);

	close(make(b, "plain", 10));
	close(make(b, "empty", 0));
	close(make(b, "linked", 10));
	assert_int_equal(fchown(owned, 70000, 80000), 0);
	assert_int_equal(fchmod(owned, 06751), 0);
	set_time(old, -1000000000);
	set_time(late, INT64_C(5000000000));
	assert_int_equal(ftruncate(sparse, 3 * BLOCK), 0);
	assert_int_equal(pwrite(huge, "end", 3, INT64_C(5) << 30), 3);
	assert_int_equal(fallocate(room, 0, 0, 2 * BLOCK), 0);
	assert_int_equal(fsetxattr(marked, "user.mark", "m", 1, 0), 0);
	assert_int_equal(fsetxattr(heavy, "user.heavy", large, sizeof(large), 0), 0);
	assert_int_equal(linkat(b->disk.root_fd, "linked", b->disk.root_fd, "linked-too", 0), 0);
	assert_int_equal(mkdirat(b->disk.root_fd, "folder", 0755), 0);
	assert_int_equal(symlinkat("plain", b->disk.root_fd, "link"), 0);
	make_scattered(b);
	set_flags(fixed, FS_NOATIME_FL);
	set_flags(longer, FS_IMMUTABLE_FL);
}

/* So that the disk can be taken apart again. */
static void unlock(struct bench *b)
{
	AUTO_CLOSE int fd = openat(b->disk.root_fd, "longer", O_RDONLY | O_CLOEXEC);

	set_flags(fd, 0);
}

static bool add(void *ctx, const struct ext4_inode_seen *inode)
{
	struct bench *b = ctx;

	assert_true(b->n_seen < N_INODES_MAX);
	b->seen[b->n_seen++] = *inode;
	return true;
}

static void read_all(struct bench *b)
{
	b->n_seen = 0;
	assert_int_equal(ext4_inodes_read(b->disk.device, add, NULL, NULL, b), 0);
	for (size_t i = 1; i < b->n_seen; i++)
		assert_true(b->seen[i - 1].st.st_ino < b->seen[i].st.st_ino);
}

/* What was read of it, which is what the kernel says. */
static const struct ext4_inode_seen *seen_of(struct bench *b, const char *name)
{
	const struct ext4_inode_seen *found = NULL;
	AUTO_CLOSE int fd = openat(b->disk.root_fd, name, O_RDONLY | O_CLOEXEC);
	uint64_t at = 0;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	for (size_t i = 0; i < b->n_seen && !found; i++)
		if (b->seen[i].st.st_ino == st.st_ino)
			found = &b->seen[i];
	assert_non_null(found);
	assert_int_equal(found->st.st_mode, st.st_mode);
	assert_int_equal(found->st.st_nlink, st.st_nlink);
	assert_int_equal(found->st.st_uid, st.st_uid);
	assert_int_equal(found->st.st_gid, st.st_gid);
	assert_int_equal(found->st.st_size, st.st_size);
	assert_int_equal(found->st.st_blocks, st.st_blocks);
	assert_int_equal(found->st.st_mtim.tv_sec, st.st_mtim.tv_sec);
	assert_int_equal(found->st.st_mtim.tv_nsec, st.st_mtim.tv_nsec);
	assert_int_equal(found->st.st_ctim.tv_sec, st.st_ctim.tv_sec);
	assert_int_equal(found->st.st_ctim.tv_nsec, st.st_ctim.tv_nsec);
	/* Not the other way round: what is not certain is for the caller to look at. */
	if (found->is_one_piece) {
		assert_true(disk_order_find(fd, (uint64_t)st.st_size, &at));
		assert_int_equal(found->at_bytes, at);
	}
	if (found->is_plain)
		assert_int_equal(attrs_fd_is_plain(fd), 1);
	return found;
}

#define assert_seen(b, name, one_piece, plain)                      \
	do {                                                        \
		const struct ext4_inode_seen *s = seen_of(b, name); \
		assert_int_equal(s->is_one_piece, one_piece);       \
		assert_int_equal(s->is_plain, plain);               \
	} while (0)

static void what_is_read_is_what_the_kernel_says(void **state)
{
	struct bench *b = *state;

	ext4_disk_make(&b->disk, "-I", "256");
	fill(b);
	ext4_disk_unmount(&b->disk);
	ext4_disk_mount(&b->disk, MS_RDONLY);
	read_all(b);
	assert_seen(b, "plain", true, true);
	assert_seen(b, "longer", true, false); /* immutable */
	assert_seen(b, "empty", false, true);
	assert_seen(b, "owned", true, true);
	assert_seen(b, "old", true, true);
	assert_seen(b, "late", true, true);
	assert_seen(b, "sparse", false, true);
	assert_seen(b, "huge", false, true);
	assert_seen(b, "room", false, true); /* its second block was never written */
	assert_seen(b, "marked", true, false);
	assert_seen(b, "heavy", true, false);
	assert_seen(b, "fixed", true, false);
	assert_seen(b, "linked", true, true);
	assert_seen(b, "scattered", false, true);
	ext4_disk_unmount(&b->disk);
	ext4_disk_mount(&b->disk, 0);
	unlock(b);
}

static void small_inodes_are_read_too(void **state)
{
	struct bench *b = *state;

	ext4_disk_make(&b->disk, "-I", "128");
	close(make(b, "plain", 10));
	ext4_disk_unmount(&b->disk);
	ext4_disk_mount(&b->disk, MS_RDONLY);
	read_all(b);
	assert_seen(b, "plain", true, true);
	assert_int_equal(seen_of(b, "plain")->st.st_mtim.tv_nsec, 0);
}

static void bytes_within_the_inode_are_no_piece(void **state)
{
	struct bench *b = *state;

	ext4_disk_make(&b->disk, "-O", "inline_data");
	close(make(b, "inline", 10));
	close(make(b, "plain", BLOCK));
	ext4_disk_unmount(&b->disk);
	ext4_disk_mount(&b->disk, MS_RDONLY);
	read_all(b);
	assert_seen(b, "inline", false, false);
	assert_true(seen_of(b, "plain")->is_one_piece);
}

static void blocks_without_extents_are_no_piece(void **state)
{
	struct bench *b = *state;

	ext4_disk_make(&b->disk, "-O", "^extent,^64bit");
	close(make(b, "mapped", 10));
	ext4_disk_unmount(&b->disk);
	ext4_disk_mount(&b->disk, MS_RDONLY);
	read_all(b);
	assert_seen(b, "mapped", false, true);
}

static void make_small_files(struct bench *b)
{
	ext4_disk_make(&b->disk, "-I", "256");
	for (char name[] = "a"; name[0] < 'f'; name[0]++)
		close(make(b, name, 10));
	ext4_disk_unmount(&b->disk);
}

static bool end_at_the_second(void *ctx, const struct ext4_inode_seen *inode)
{
	return ++*(size_t *)ctx < 2;
}

static void the_caller_may_end_it(void **state)
{
	struct bench *b = *state;
	size_t n = 0;

	make_small_files(b);
	assert_int_equal(ext4_inodes_read(b->disk.device, end_at_the_second, NULL, NULL, &n), 0);
	assert_int_equal(n, 2);
}

/* A byte of an inode is another: its sum tells, and what comes before it has been read. */
static void a_wrong_sum_ends_the_reading(void **state)
{
	struct bench *b = *state;
	const char *const damage[] = {"debugfs", "-w", "-n", "-R",
		"set_inode_field c links_count 3", b->disk.device, NULL};
	const char *const spoil[] = {"debugfs", "-w", "-n", "-R",
		"set_inode_field c checksum 0x12345678", b->disk.device, NULL};
	AUTO_BUF struct buf out = {0};
	size_t n_all;

	ext4_disk_make(&b->disk, "-O", "metadata_csum");
	for (char name[] = "a"; name[0] < 'f'; name[0]++)
		close(make(b, name, 10));
	ext4_disk_unmount(&b->disk);
	read_all(b);
	n_all = b->n_seen;
	ext4_disk_tool(damage, &out);
	ext4_disk_tool(spoil, &out);
	b->n_seen = 0;
	assert_int_equal(ext4_inodes_read(b->disk.device, add, NULL, NULL, b), -EIO);
	assert_int_equal(b->n_seen, n_all - 3); /* without c, d and e */
}

/* At each allocation, the library's as well; alone, and with all behind it. */
static void memory_that_ends_is_said(void **state)
{
	struct bench *b = *state;
	size_t n_all;

	make_small_files(b);
	read_all(b);
	n_all = b->n_seen; /* with the file system's own */
	for (int onwards = 0; onwards < 2; onwards++) {
		unsigned long nth = 1;

		for (bool reached = true; reached; nth++) {
			int r;

			b->n_seen = 0;
			failing_alloc_start(nth, onwards);
			r = ext4_inodes_read(b->disk.device, add, NULL, NULL, b);
			reached = failing_alloc_stop();
			/* The library does without some of it. */
			assert_true(r == 0 || (reached && r == -ENOMEM));
			assert_int_equal(b->n_seen, r == 0 ? n_all : 0);
		}
		assert_true(nth > 10);
	}
}

static void what_is_no_ext4_is_said(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int fd = open(b->disk.image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ext4_inodes_read("/dev/none-of-that-name", add, NULL, NULL, b), -EIO);
	assert_int_equal(ext4_inodes_read(b->disk.image, add, NULL, NULL, b), -EIO);
	assert_int_equal(ftruncate(fd, EXT4_DISK_BYTES), 0);
	assert_int_equal(ext4_inodes_read(b->disk.image, add, NULL, NULL, b), -EIO);
	assert_int_equal(b->n_seen, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_read_is_what_the_kernel_says),
		T(small_inodes_are_read_too),
		T(bytes_within_the_inode_are_no_piece),
		T(blocks_without_extents_are_no_piece),
		T(the_caller_may_end_it),
		T(a_wrong_sum_ends_the_reading),
		T(memory_that_ends_is_said),
		T(what_is_no_ext4_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
