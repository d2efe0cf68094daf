/*
 * test_folder: whatever a name stands for goes, and nothing that it points to.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/folder.h"
#include "tests/unit/tmp_dir.h"

static void put_file(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
}

static bool is_there(int dir_fd, const char *name)
{
	struct stat st;

	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void a_tree_goes_and_what_its_links_point_to_stays(void **state)
{
	struct tmp_dir *d = *state;

	assert_int_equal(mkdirat(d->fd, "kept", 0700), 0);
	put_file(d->fd, "kept/file");
	assert_int_equal(mkdirat(d->fd, "tree", 0700), 0);
	assert_int_equal(mkdirat(d->fd, "tree/sub", 0700), 0);
	put_file(d->fd, "tree/sub/file");
	assert_int_equal(symlinkat("../kept", d->fd, "tree/link"), 0);
	assert_int_equal(mkfifoat(d->fd, "tree/fifo", 0600), 0);
	assert_int_equal(symlinkat("kept", d->fd, "link"), 0);
	assert_int_equal(folder_remove(d->fd, "tree"), 0);
	assert_int_equal(folder_remove(d->fd, "link"), 0);
	assert_int_equal(folder_remove(d->fd, "never was"), 0);
	assert_false(is_there(d->fd, "tree"));
	assert_false(is_there(d->fd, "link"));
	assert_true(is_there(d->fd, "kept/file"));
	assert_int_equal(folder_empty(d->fd), 0);
	assert_false(is_there(d->fd, "kept"));
}

static void of_a_tree_only_what_is_somebody_elses_goes(void **state)
{
	struct tmp_dir *d = *state;
	unsigned n = 1;

	assert_int_equal(mkdirat(d->fd, "tree", 0700), 0);
	assert_int_equal(mkdirat(d->fd, "tree/sub", 0700), 0);
	put_file(d->fd, "tree/sub/file");
	put_file(d->fd, "beside");
	assert_int_equal(symlinkat("../beside", d->fd, "tree/link"), 0);
	assert_int_equal(folder_remove_strange(d->fd, "tree", getuid(), &n), 0);
	assert_int_equal(folder_remove_strange(d->fd, "never was", getuid(), &n), 0);
	assert_int_equal(n, 1);
	assert_true(is_there(d->fd, "tree/sub/file"));
	assert_true(is_there(d->fd, "tree/link"));
	assert_int_equal(folder_remove_strange(d->fd, "tree", getuid() + 1, &n), 0);
	assert_int_equal(n, 2);
	assert_false(is_there(d->fd, "tree"));
	assert_true(is_there(d->fd, "beside"));
}

/* Make a chain of @depth folders called "d" below @dir_fd, with a file in the last. */
static void make_chain(int dir_fd, unsigned depth)
{
	int fd = dup(dir_fd);

	for (unsigned i = 0; i < depth; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	put_file(fd, "file");
	close(fd);
}

static void what_is_too_deep_is_left_and_does_not_stop_the_rest(void **state)
{
	struct tmp_dir *d = *state;

	make_chain(d->fd, FOLDER_DEPTH_MAX);
	assert_int_equal(folder_remove(d->fd, "d"), 0);
	assert_int_equal(mkdirat(d->fd, "top", 0700), 0);
	put_file(d->fd, "top/file");
	{
		AUTO_CLOSE int fd = openat(d->fd, "top", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		make_chain(fd, FOLDER_DEPTH_MAX);
	}
	assert_int_equal(folder_remove(d->fd, "top"), -ELOOP);
	assert_false(is_there(d->fd, "top/file"));
	assert_true(is_there(d->fd, "top/d/d"));
}

static int count_two(void *ctx, int dir_fd, const char *name)
{
	unsigned *n = ctx;

	assert_true(name[0] != '.');
	return ++*n == 2 ? 7 : 0;
}

static void a_visitor_may_end_the_walk(void **state)
{
	struct tmp_dir *d = *state;
	unsigned n = 0;

	put_file(d->fd, "a");
	assert_int_equal(folder_each(d->fd, count_two, &n), 0);
	assert_int_equal(n, 1);
	put_file(d->fd, "b");
	put_file(d->fd, "c");
	n = 0;
	assert_int_equal(folder_each(d->fd, count_two, &n), 7);
	assert_int_equal(folder_each(-1, count_two, &n), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_tree_goes_and_what_its_links_point_to_stays),
		tmp_dir_test(of_a_tree_only_what_is_somebody_elses_goes),
		tmp_dir_test(what_is_too_deep_is_left_and_does_not_stop_the_rest),
		tmp_dir_test(a_visitor_may_end_the_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
