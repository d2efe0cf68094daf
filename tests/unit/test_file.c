/*
 * file: small files are read whole, or not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "tests/unit/tmp_dir.h"

static void put(const struct tmp_dir *d, const char *name, size_t size)
{
	AUTO_CLOSE int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	AUTO_FREE char *data = malloc(size + 1);

	assert_non_null(data);
	memset(data, 'x', size);
	assert_int_equal(file_write_all(fd, data, size), 0);
}

static void a_file_is_appended_whole(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_BUF struct buf b = {0};

	put(d, "f", 100000);
	put(d, "empty", 0);
	assert_int_equal(buf_puts(&b, "before"), 0);
	assert_int_equal(file_read(d->fd, "f", 100000, &b), 0);
	assert_int_equal(b.len_bytes, 100006);
	assert_memory_equal(b.data, "beforex", 7);
	assert_int_equal(file_read(d->fd, "empty", 0, &b), 0);
	assert_int_equal(b.len_bytes, 100006);
}

static void a_file_beyond_the_limit_leaves_the_buffer_as_it_was(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_BUF struct buf b = {0};

	put(d, "f", 100000);
	assert_int_equal(buf_puts(&b, "before"), 0);
	assert_int_equal(file_read(d->fd, "f", 99999, &b), -EFBIG);
	assert_string_equal(buf_str(&b), "before");
	assert_int_equal(file_read(d->fd, "f", 0, &b), -EFBIG);
	assert_int_equal(b.len_bytes, 6);
}

static void files_of_the_kernel_without_a_size_are_read(void **state)
{
	AUTO_BUF struct buf b = {0};

	assert_int_equal(file_read(AT_FDCWD, "/proc/sys/kernel/osrelease", 256, &b), 0);
	assert_true(b.len_bytes > 1);
}

static void a_word_is_read_into_the_callers_memory(void **state)
{
	struct tmp_dir *d = *state;
	char text[8];

	put(d, "seven", 7);
	put(d, "eight", 8);
	put(d, "empty", 0);
	assert_int_equal(file_read_word(d->fd, "seven", text, sizeof(text)), 7);
	assert_string_equal(text, "xxxxxxx");
	assert_int_equal(file_read_word(d->fd, "eight", text, sizeof(text)), -EFBIG);
	assert_string_equal(text, "");
	assert_int_equal(file_read_word(d->fd, "empty", text, sizeof(text)), 0);
	assert_string_equal(text, "");
	assert_int_equal(file_read_word(d->fd, "none", text, sizeof(text)), -ENOENT);
	assert_int_equal(symlinkat("seven", d->fd, "link"), 0);
	assert_int_equal(file_read_word(d->fd, "link", text, sizeof(text)), -ELOOP);
	assert_int_equal(mkfifoat(d->fd, "fifo", 0644), 0);
	assert_int_equal(file_read_word(d->fd, "fifo", text, sizeof(text)), -EINVAL);
}

static void nothing_but_a_regular_file_is_read(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_BUF struct buf b = {0};

	assert_int_equal(mkfifoat(d->fd, "fifo", 0644), 0);
	assert_int_equal(mkdirat(d->fd, "dir", 0755), 0);
	assert_int_equal(file_read(d->fd, "fifo", 10, &b), -EINVAL);
	assert_int_equal(file_read(d->fd, "dir", 10, &b), -EINVAL);
	assert_string_equal(file_read_why(-EINVAL), "it is not a regular file");
	assert_string_equal(file_read_why(-ENOENT), "No such file or directory");
	assert_int_equal(file_read(AT_FDCWD, "/dev/zero", 10, &b), -EINVAL);
	assert_int_equal(file_read(d->fd, "nowhere", 10, &b), -ENOENT);
	assert_int_equal(b.len_bytes, 0);
}

static void in_another_systems_tree_no_link_is_followed(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_BUF struct buf b = {0};

	put(d, "f", 3);
	assert_int_equal(mkdirat(d->fd, "dir", 0755), 0);
	assert_int_equal(mkfifoat(d->fd, "fifo", 0644), 0);
	assert_int_equal(symlinkat("f", d->fd, "link"), 0);
	assert_int_equal(symlinkat(".", d->fd, "dir/up"), 0);
	assert_int_equal(symlinkat("/dev/zero", d->fd, "device"), 0);
	assert_int_equal(file_read_beneath(d->fd, "/f", 10, &b), 0);
	assert_int_equal(file_read_beneath(d->fd, "link", 10, &b), -ELOOP);
	assert_int_equal(file_read_beneath(d->fd, "device", 10, &b), -ELOOP);
	assert_int_equal(file_read_beneath(d->fd, "dir/up/f", 10, &b), -ELOOP);
	assert_int_equal(file_read_beneath(d->fd, "dir/../../f", 10, &b), -EXDEV);
	assert_int_equal(file_read_beneath(d->fd, "fifo", 10, &b), -EINVAL);
	assert_int_equal(file_read_beneath(d->fd, "f", 2, &b), -EFBIG);
	assert_string_equal(buf_str(&b), "xxx");
}

static void a_write_that_fails_says_so(void **state)
{
	AUTO_CLOSE int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_int_equal(file_write_all(full, "x", 1), -ENOSPC);
	assert_int_equal(file_write_all(-1, "x", 1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_file_is_appended_whole),
		tmp_dir_test(a_file_beyond_the_limit_leaves_the_buffer_as_it_was),
		tmp_dir_test(a_word_is_read_into_the_callers_memory),
		cmocka_unit_test(files_of_the_kernel_without_a_size_are_read),
		tmp_dir_test(nothing_but_a_regular_file_is_read),
		tmp_dir_test(in_another_systems_tree_no_link_is_followed),
		cmocka_unit_test(a_write_that_fails_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
