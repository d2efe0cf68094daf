/*
 * test_inode_index: what is noted comes back, what may have changed unseen does not, and what is damaged is not believed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/image/list_text.h"
#include "otaclient/inventory/inode_index.h"
#include "tests/unit/tmp_dir.h"

#define REST "111111111111111111111111111111111111111111111111111111111111111"

enum {
	HEAD = 12,
	ROW = 44,
	SUM = 32,
};

static struct file_table *make_table(const char *regulars)
{
	struct file_table *t = file_table_new();

	assert_int_equal(
		list_text_read_regulars(regulars, strlen(regulars), "regulars.txt", t, NULL), 0);
	assert_int_equal(file_table_seal(t, NULL), 0);
	return t;
}

/* Four contents; the table sorts by nothing, so file n is the nth line. */
static struct file_table *make_old(void)
{
	return make_table(
		"0644,0,0,1,a" REST ",'/a',5,,\n0644,0,0,1,b" REST ",'/b',5,,\n0644,0,0,1,c" REST
		",'/c',5,,\n0644,0,0,1,d" REST ",'/d',5,,\n");
}

static const struct timespec now = {.tv_sec = 1000, .tv_nsec = 500};

static struct stat looks(uint32_t ino, uint32_t s, uint32_t ns)
{
	return (struct stat){
		.st_mode = S_IFREG | 0644, .st_ino = ino, .st_ctim = {.tv_sec = s, .tv_nsec = ns}
        };
}

static uint32_t find(const struct inode_index *x, uint32_t ino, uint32_t s, uint32_t ns)
{
	struct stat st = looks(ino, s, ns);

	return inode_index_find(x, &st);
}

/* The folder of a slot's lists, with what the notes came to. */
static int save(int slot_fd, const struct inode_note *notes)
{
	AUTO_FILE_TABLE struct file_table *t = make_old();
	int meta_fd;

	assert_int_equal(mkdirat(slot_fd, ".ota-meta", 0700), 0);
	meta_fd = openat(slot_fd, ".ota-meta", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(inode_index_save(meta_fd, t, notes, &now), 0);
	return meta_fd;
}

static const struct inode_note settled[] = {
	{.ino = 30, .ctime_s = 900,  .ctime_ns = 1  },
	{.ino = 10, .ctime_s = 1000, .ctime_ns = 499},
	{.ino = 20, .ctime_s = 900,  .ctime_ns = 3,   .is_plain = true},
	{.ino = 40,         .ctime_s = 900,                .ctime_ns = 4        },
};

static void what_is_noted_comes_back(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = save(d->fd, settled);
	AUTO_FILE_TABLE struct file_table *t =
		make_table("0644,0,0,1,b" REST ",'/else',5,,\n0644,0,0,1,c" REST ",'/c',5,,\n");
	AUTO_INODE_INDEX struct inode_index *x = NULL;

	assert_true(meta_fd >= 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_non_null(x);
	assert_int_equal(find(x, 10, 1000, 499), 0);
	assert_int_equal(find(x, 20, 900, 3), 1);
	assert_int_equal(find(x, 30, 900, 1), INODE_INDEX_OTHER);
	assert_int_equal(find(x, 40, 900, 4), INODE_INDEX_OTHER);
	assert_int_equal(find(x, 11, 1000, 499), FILE_TABLE_NONE);
	assert_true(inode_index_note(x, 20)->is_plain);
	assert_int_equal(inode_index_note(x, 20)->ctime_ns, 3);
	assert_false(inode_index_note(x, 10)->is_plain);
	assert_null(inode_index_note(x, 11));
}

static void inode_that_has_changed_is_not_known(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = save(d->fd, settled);
	AUTO_FILE_TABLE struct file_table *t = make_old();
	AUTO_INODE_INDEX struct inode_index *x = NULL;
	struct stat link = looks(30, 900, 1);

	assert_true(meta_fd >= 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_int_equal(find(x, 30, 900, 1), 0);
	assert_int_equal(find(x, 30, 900, 2), FILE_TABLE_NONE);
	assert_int_equal(find(x, 30, 901, 1), FILE_TABLE_NONE);
	assert_int_equal(find(x, 30, 900, 0), FILE_TABLE_NONE);
	link.st_mode = S_IFLNK | 0777;
	assert_int_equal(inode_index_find(x, &link), FILE_TABLE_NONE);
}

/* A change in the tick of the note would not show, and without nanoseconds none within a second. */
static void what_could_change_unseen_is_left_out(void **state)
{
	static const struct inode_note notes[] = {
		{.ino = 10,      .ctime_s = 1000, .ctime_ns = 500},
		{.ino = 20,      .ctime_s = 900,  .ctime_ns = 0  },
		{.ino = 0      },
		{.ino = 40, .ctime_s = 1001,                .ctime_ns = 1                      },
	};
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = save(d->fd, notes);
	AUTO_BUF struct buf b = {0};

	assert_int_equal(file_read(meta_fd, "inodes", 1 << 20, &b), 0);
	assert_int_equal(b.len_bytes, HEAD + SUM);
}

static void nothing_is_believed_on_trial(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = save(d->fd, settled);
	AUTO_CLOSE int trial_fd = openat(meta_fd, "on-trial", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	AUTO_FILE_TABLE struct file_table *t = make_old();
	AUTO_INODE_INDEX struct inode_index *x = NULL;

	assert_true(trial_fd >= 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_null(x);
	assert_int_equal(unlinkat(meta_fd, "on-trial", 0), 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_non_null(x);
}

static int read_again(const void *data, size_t len)
{
	AUTO_CLOSE int fd = memfd_create("index", MFD_CLOEXEC);
	AUTO_FILE_TABLE struct file_table *t = make_old();
	AUTO_INODE_INDEX struct inode_index *x = NULL;

	assert_int_equal(file_write_all(fd, data, len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return inode_index_read(fd, t, &x);
}

static void whatever_is_damaged_is_not_believed(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = save(d->fd, settled);
	AUTO_BUF struct buf b = {0};

	assert_int_equal(file_read(meta_fd, "inodes", 1 << 20, &b), 0);
	assert_int_equal(b.len_bytes, HEAD + 4 * ROW + SUM);
	assert_int_equal(read_again(b.data, b.len_bytes), 0);
	for (size_t i = 0; i < b.len_bytes; i++) {
		assert_int_equal(read_again(b.data, i), -EBADMSG);
		b.data[i] ^= 0x10;
		assert_int_equal(read_again(b.data, b.len_bytes), -EBADMSG);
		b.data[i] ^= 0x10;
	}
	assert_int_equal(buf_puts(&b, "more"), 0);
	assert_int_equal(read_again(b.data, b.len_bytes), -EBADMSG);
}

static void what_is_no_file_is_not_believed(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int meta_fd = save(d->fd, settled);
	AUTO_FILE_TABLE struct file_table *t = make_old();
	AUTO_INODE_INDEX struct inode_index *x = NULL;

	assert_int_equal(renameat(meta_fd, "inodes", d->fd, "elsewhere"), 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_null(x);
	assert_int_equal(symlinkat("../elsewhere", meta_fd, "inodes"), 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_null(x);
	assert_int_equal(unlinkat(meta_fd, "inodes", 0), 0);
	assert_int_equal(mkfifoat(meta_fd, "inodes", 0600), 0);
	assert_int_equal(inode_index_load(d->fd, t, &x), 0);
	assert_null(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(what_is_noted_comes_back),
		tmp_dir_test(inode_that_has_changed_is_not_known),
		tmp_dir_test(what_could_change_unseen_is_left_out),
		tmp_dir_test(nothing_is_believed_on_trial),
		tmp_dir_test(whatever_is_damaged_is_not_believed),
		tmp_dir_test(what_is_no_file_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
