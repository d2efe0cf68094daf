/*
 * io: a durable change is there whole or not at all, and every step of it can be stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "tests/unit/tmp_dir.h"

/* Counts the steps; the one with the number fail_at fails with -ECANCELED (0: none). */
struct stopper {
	unsigned n_steps;
	unsigned fail_at;
	const char *last;
};

static int stop(void *ctx, const char *what)
{
	struct stopper *s = ctx;

	s->last = what;
	return ++s->n_steps == s->fail_at ? -ECANCELED : 0;
}

static void content_is(const struct tmp_dir *d, const char *name, const char *want)
{
	AUTO_BUF struct buf b = {0};

	assert_int_equal(file_read(d->fd, name, 1 << 20, &b), 0);
	assert_string_equal(buf_str(&b), want);
}

static bool exists(const struct tmp_dir *d, const char *name)
{
	struct stat st;

	return fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static unsigned n_entries(const struct tmp_dir *d)
{
	AUTO_CLOSEDIR DIR *dir = opendir(d->path);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	return n - 2;
}

static mode_t mode_of(const struct tmp_dir *d, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void a_file_is_made_and_replaced(void **state)
{
	struct tmp_dir *d = *state;
	mode_t mask = umask(077);

	assert_int_equal(io_replace_file("t", d->fd, "f", "one", 3, 0644), 0);
	content_is(d, "f", "one");
	assert_int_equal(mode_of(d, "f"), 0644);
	assert_int_equal(io_replace_file("t", d->fd, "f", "", 0, 0600), 0);
	content_is(d, "f", "");
	assert_int_equal(mode_of(d, "f"), 0600);
	assert_int_equal(n_entries(d), 1);
	umask(mask);
}

static void the_folder_may_be_opened_as_a_path_only(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CLOSE int fd = open(d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(io_replace_file("t", fd, "f", "x", 1, 0644), 0);
	content_is(d, "f", "x");
}

static void a_stop_at_any_step_leaves_the_old_or_the_new_file(void **state)
{
	struct tmp_dir *d = *state;
	struct stopper s = {0};
	unsigned n_steps;

	io_set_hook(stop, &s);
	assert_int_equal(io_replace_file("save", d->fd, "f", "old", 3, 0644), 0);
	assert_string_equal(s.last, "save");
	n_steps = s.n_steps;
	assert_true(n_steps >= 3);
	for (unsigned i = 1; i <= n_steps; i++) {
		s = (struct stopper){.fail_at = i};
		assert_int_equal(io_replace_file("save", d->fd, "f", "new", 3, 0644), -ECANCELED);
		/* Only the last step comes behind the rename. */
		content_is(d, "f", i < n_steps ? "old" : "new");
		assert_int_equal(n_entries(d), 1);
	}
	io_set_hook(NULL, NULL);
}

static void a_file_for_the_boot_loader_is_made_and_replaced(void **state)
{
	struct tmp_dir *d = *state;

	assert_int_equal(io_replace_boot_file("t", d->fd, "f", "one", 3, 0600), 0);
	content_is(d, "f", "one");
	assert_int_equal(mode_of(d, "f"), 0600);
	assert_int_equal(io_replace_boot_file("t", d->fd, "f", "two", 3, 0640), 0);
	content_is(d, "f", "two");
	assert_int_equal(mode_of(d, "f"), 0640);
	assert_int_equal(n_entries(d), 1);
	/* A link is replaced, not what it points at. */
	assert_int_equal(io_replace_symlink("t", d->fd, "l", "f"), 0);
	assert_int_equal(io_replace_boot_file("t", d->fd, "l", "three", 5, 0600), 0);
	content_is(d, "l", "three");
	content_is(d, "f", "two");
	assert_int_equal(io_mkdir("t", d->fd, "sub", 0755), 0);
	assert_int_equal(io_replace_boot_file("t", d->fd, "sub", "x", 1, 0600), -EISDIR);
	assert_int_equal(n_entries(d), 3);
	assert_int_equal(io_unlink("t", d->fd, "sub", AT_REMOVEDIR), 0);
}

static void a_stop_at_any_step_leaves_the_boot_loader_the_old_or_the_new_file(void **state)
{
	struct tmp_dir *d = *state;
	struct stopper s = {0};
	unsigned n_steps;

	io_set_hook(stop, &s);
	assert_int_equal(io_replace_boot_file("save", d->fd, "f", "old", 3, 0644), 0);
	n_steps = s.n_steps;
	/* Before the file, before its sync, published, before it gets its name, published again. */
	assert_int_equal(n_steps, 5);
	for (unsigned i = 1; i <= n_steps; i++) {
		s = (struct stopper){.fail_at = i};
		assert_int_equal(
			io_replace_boot_file("save", d->fd, "f", "new", 3, 0644), -ECANCELED);
		content_is(d, "f", i < n_steps ? "old" : "new");
		/* The old one goes when the new one is published. */
		assert_int_equal(n_entries(d), i < n_steps ? 1 : 2);
	}
	io_set_hook(NULL, NULL);
}

static void a_file_is_installed_from_its_start_wherever_it_stands(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CLOSE int src = -1;
	AUTO_FREE char *big = malloc(300001);

	memset(big, 'k', 300000);
	big[300000] = '\0';
	assert_int_equal(io_replace_file("t", d->fd, "src", big, 300000, 0600), 0);
	src = openat(d->fd, "src", O_RDONLY | O_CLOEXEC);
	assert_int_equal(lseek(src, 100, SEEK_SET), 100);
	assert_int_equal(io_install_file("t", d->fd, "dst", src, 0755), 0);
	content_is(d, "dst", big);
	assert_int_equal(mode_of(d, "dst"), 0755);
	assert_int_equal(lseek(src, 0, SEEK_CUR), 100);
}

static void a_link_is_replaced_at_once(void **state)
{
	struct tmp_dir *d = *state;
	char target[16] = "";

	assert_int_equal(io_replace_symlink("t", d->fd, "l", "a"), 0);
	assert_int_equal(io_replace_symlink("t", d->fd, "l", "b"), 0);
	assert_int_equal(readlinkat(d->fd, "l", target, sizeof(target)), 1);
	assert_string_equal(target, "b");
	assert_int_equal(n_entries(d), 1);
}

static void a_second_name_replaces_what_was_there(void **state)
{
	struct tmp_dir *d = *state;

	assert_int_equal(io_replace_file("t", d->fd, "a", "A", 1, 0644), 0);
	assert_int_equal(io_replace_file("t", d->fd, "b", "B", 1, 0644), 0);
	assert_int_equal(io_replace_link("t", d->fd, "a", d->fd, "b"), 0);
	content_is(d, "b", "A");
	/* Once more: both are one file already. */
	assert_int_equal(io_replace_link("t", d->fd, "a", d->fd, "b"), 0);
	content_is(d, "b", "A");
	assert_int_equal(n_entries(d), 2);
	assert_int_equal(io_replace_link("t", d->fd, "none", d->fd, "b"), -ENOENT);
	content_is(d, "b", "A");
}

static void rename_and_unlink_pass_errors_on(void **state)
{
	struct tmp_dir *d = *state;

	assert_int_equal(io_replace_file("t", d->fd, "a", "A", 1, 0644), 0);
	assert_int_equal(io_rename("t", d->fd, "a", d->fd, "b"), 0);
	assert_false(exists(d, "a"));
	content_is(d, "b", "A");
	assert_int_equal(io_rename("t", d->fd, "a", d->fd, "b"), -ENOENT);
	assert_int_equal(io_unlink("t", d->fd, "b", 0), 0);
	assert_int_equal(io_unlink("t", d->fd, "b", 0), -ENOENT);
	assert_int_equal(n_entries(d), 0);
}

static void a_folder_that_is_there_is_made_durable_too(void **state)
{
	struct tmp_dir *d = *state;
	struct stopper s = {0};

	assert_int_equal(io_mkdir("t", d->fd, "sub", 0755), 0);
	assert_true(exists(d, "sub"));
	io_set_hook(stop, &s);
	assert_int_equal(io_mkdir("t", d->fd, "sub", 0755), 0);
	assert_int_equal(s.n_steps, 2);
	io_set_hook(NULL, NULL);
	assert_int_equal(io_replace_file("t", d->fd, "f", "", 0, 0644), 0);
	assert_int_equal(io_mkdir("t", d->fd, "f", 0755), -ENOTDIR);
	assert_int_equal(io_replace_symlink("t", d->fd, "l", "sub"), 0);
	assert_int_equal(io_mkdir("t", d->fd, "l", 0755), -ENOTDIR);
	assert_int_equal(io_mkdir("t", d->fd, "no/sub", 0755), -ENOENT);
	assert_int_equal(io_unlink("t", d->fd, "sub", AT_REMOVEDIR), 0);
}

static void a_stop_before_a_step_means_that_it_did_not_happen(void **state)
{
	struct tmp_dir *d = *state;
	struct stopper s = {.fail_at = 1};

	assert_int_equal(io_replace_file("t", d->fd, "a", "A", 1, 0644), 0);
	io_set_hook(stop, &s);
	assert_int_equal(io_rename("t", d->fd, "a", d->fd, "b"), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_unlink("t", d->fd, "a", 0), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_mkdir("t", d->fd, "c", 0755), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_replace_symlink("t", d->fd, "l", "x"), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_replace_link("t", d->fd, "a", d->fd, "m"), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_sync_file("t", d->fd), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_sync_fs("t", d->fd), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_publish_boot("t", d->fd), -ECANCELED);
	s.n_steps = 0;
	assert_int_equal(io_point("here"), -ECANCELED);
	assert_string_equal(s.last, "here");
	io_set_hook(NULL, NULL);
	assert_int_equal(n_entries(d), 1);
	content_is(d, "a", "A");
}

static void syncs_pass_errors_on(void **state)
{
	struct tmp_dir *d = *state;

	assert_int_equal(io_sync_file("t", d->fd), 0);
	assert_int_equal(io_sync_file("t", -1), -EBADF);
	assert_int_equal(io_sync_fs("t", d->fd), 0);
	assert_int_equal(io_sync_fs("t", -1), -EBADF);
	assert_int_equal(io_publish_boot("t", -1), -EBADF);
}

static void a_part_of_a_file_is_overwritten_in_place(void **state)
{
	struct tmp_dir *d = *state;
	struct stopper s = {0};
	AUTO_CLOSE int fd = -1;

	assert_int_equal(io_replace_file("t", d->fd, "f", "0123456789", 10, 0644), 0);
	fd = openat(d->fd, "f", O_RDWR | O_CLOEXEC);
	io_set_hook(stop, &s);
	assert_int_equal(io_overwrite("part", fd, "abc", 3, 4), 0);
	assert_string_equal(s.last, "part");
	assert_int_equal(s.n_steps, 2); /* write, sync */
	content_is(d, "f", "0123abc789");
	s = (struct stopper){.fail_at = 1};
	assert_int_equal(io_overwrite("part", fd, "xyz", 3, 4), -ECANCELED);
	content_is(d, "f", "0123abc789");
	s = (struct stopper){.fail_at = 2};
	assert_int_equal(io_overwrite("part", fd, "xyz", 3, 4), -ECANCELED);
	io_set_hook(NULL, NULL);
	assert_int_equal(n_entries(d), 1);
}

static void what_cannot_be_overwritten_is_told(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CLOSE int fd = -1;

	assert_int_equal(io_replace_file("t", d->fd, "f", "0123", 4, 0644), 0);
	fd = openat(d->fd, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(io_overwrite("part", fd, "abc", 3, 0), -EBADF);
	content_is(d, "f", "0123");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_file_is_made_and_replaced),
		tmp_dir_test(the_folder_may_be_opened_as_a_path_only),
		tmp_dir_test(a_stop_at_any_step_leaves_the_old_or_the_new_file),
		tmp_dir_test(a_file_for_the_boot_loader_is_made_and_replaced),
		tmp_dir_test(a_stop_at_any_step_leaves_the_boot_loader_the_old_or_the_new_file),
		tmp_dir_test(a_file_is_installed_from_its_start_wherever_it_stands),
		tmp_dir_test(a_link_is_replaced_at_once),
		tmp_dir_test(a_second_name_replaces_what_was_there),
		tmp_dir_test(rename_and_unlink_pass_errors_on),
		tmp_dir_test(a_folder_that_is_there_is_made_durable_too),
		tmp_dir_test(a_stop_before_a_step_means_that_it_did_not_happen),
		tmp_dir_test(syncs_pass_errors_on),
		tmp_dir_test(a_part_of_a_file_is_overwritten_in_place),
		tmp_dir_test(what_cannot_be_overwritten_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
