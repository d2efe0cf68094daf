/*
 * path: names from outside never lead out of their root.
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
#include "common/base/path.h"
#include "tests/unit/tmp_dir.h"

static bool canonical(const char *path)
{
	return path_is_canonical(path, strlen(path));
}

static void a_component_is_a_plain_name(void **state)
{
	char name[NAME_MAX + 2];

	memset(name, 'x', sizeof(name));
	assert_true(path_is_component("a", 1));
	assert_true(path_is_component("...", 3));
	assert_true(path_is_component(".a", 2));
	assert_true(path_is_component(name, NAME_MAX));
	assert_false(path_is_component(name, NAME_MAX + 1));
	assert_false(path_is_component("", 0));
	assert_false(path_is_component(".", 1));
	assert_false(path_is_component("..", 2));
	assert_false(path_is_component("a/b", 3));
	assert_false(path_is_component("a\0b", 3));
}

static void a_canonical_path_has_one_spelling(void **state)
{
	char path[PATH_MAX + 1];

	assert_true(canonical("/a"));
	assert_true(canonical("/a/b.c/..d/e..."));
	assert_false(canonical(""));
	assert_false(canonical("/"));
	assert_false(canonical("a"));
	assert_false(canonical("a/b"));
	assert_false(canonical("//a"));
	assert_false(canonical("/a/"));
	assert_false(canonical("/a//b"));
	assert_false(canonical("/a/./b"));
	assert_false(canonical("/a/../b"));
	assert_false(canonical("/.."));
	assert_false(path_is_canonical("/a\0b", 4));
	for (size_t i = 0; i < sizeof(path); i += 2) {
		path[i] = '/';
		path[MIN_OF(i + 1, sizeof(path) - 1)] = 'x';
	}
	assert_true(path_is_canonical(path, PATH_MAX - 2));
	assert_false(path_is_canonical(path, PATH_MAX));
}

static void below_means_itself_or_under_a_slash(void **state)
{
	assert_true(path_is_below("/boot", "/boot"));
	assert_true(path_is_below("/boot/ota", "/boot"));
	assert_false(path_is_below("/bootx", "/boot"));
	assert_false(path_is_below("/boo", "/boot"));
}

/* d/f, and links out of and inside the folder. */
static void make_tree(const struct tmp_dir *d)
{
	AUTO_CLOSE int fd = -1;

	assert_int_equal(mkdirat(d->fd, "d", 0755), 0);
	fd = openat(d->fd, "d/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(symlinkat("/etc", d->fd, "out"), 0);
	assert_int_equal(symlinkat("../..", d->fd, "d/up"), 0);
	assert_int_equal(symlinkat("d", d->fd, "in"), 0);
	assert_int_equal(symlinkat("/d", d->fd, "abs"), 0);
}

static void a_path_is_opened_below_the_root(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CLOSE int rel = -1, abs = -1, root = -1, empty = -1;
	struct stat a, b;

	make_tree(d);
	rel = path_open(d->fd, "d/f", O_RDONLY, 0);
	abs = path_open(d->fd, "/d/f", O_RDONLY, 0);
	assert_true(rel >= 0 && abs >= 0);
	assert_int_equal(fcntl(rel, F_GETFD), FD_CLOEXEC);
	root = path_open(d->fd, "/", O_PATH, 0);
	empty = path_open(d->fd, "", O_PATH, 0);
	assert_true(root >= 0 && empty >= 0);
	assert_int_equal(fstat(root, &a), 0);
	assert_int_equal(fstat(d->fd, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(path_open(d->fd, "d/g", O_RDONLY, 0), -ENOENT);
}

static void nothing_leads_out_of_the_root(void **state)
{
	struct tmp_dir *d = *state;

	make_tree(d);
	assert_int_equal(path_open(d->fd, "out/passwd", O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open(d->fd, "out", O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open(d->fd, "in/f", O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open(d->fd, "d/up/x", O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open(d->fd, "../x", O_RDONLY, 0), -EXDEV);
	assert_int_equal(path_open(d->fd, "d/f/x", O_RDONLY, 0), -ENOTDIR);
}

static void no_mount_point_is_crossed(void **state)
{
	AUTO_CLOSE int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(path_open(root, "/proc/self", O_PATH, 0), -EXDEV);
	assert_int_equal(path_open_in_root(root, "/proc/self", O_PATH, 0), -EXDEV);
}

static void in_root_follows_links_as_the_slot_itself_would(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CLOSE int in = -1, abs = -1, up = -1;

	make_tree(d);
	in = path_open_in_root(d->fd, "in/f", O_RDONLY, 0);
	abs = path_open_in_root(d->fd, "/abs/f", O_RDONLY, 0);
	up = path_open_in_root(d->fd, "d/up/d/f", O_RDONLY, 0);
	assert_true(in >= 0 && abs >= 0 && up >= 0);
	assert_int_equal(path_open_in_root(d->fd, "out/passwd", O_RDONLY, 0), -ENOENT);
}

static void the_parent_is_opened_and_the_name_told(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_CLOSE int parent = -1, top = -1;
	const char *name = "untouched";
	struct stat st;

	make_tree(d);
	parent = path_open_parent(d->fd, "/d/f", &name);
	assert_true(parent >= 0);
	assert_string_equal(name, "f");
	assert_int_equal(fstatat(parent, name, &st, 0), 0);
	top = path_open_parent(d->fd, "new", &name);
	assert_true(top >= 0);
	assert_string_equal(name, "new");
	name = "untouched";
	assert_int_equal(path_open_parent(d->fd, "/", &name), -EINVAL);
	assert_int_equal(path_open_parent(d->fd, "d/", &name), -EINVAL);
	assert_int_equal(path_open_parent(d->fd, "d/..", &name), -EINVAL);
	assert_int_equal(path_open_parent(d->fd, "in/f", &name), -ELOOP);
	assert_int_equal(path_open_parent(d->fd, "no/f", &name), -ENOENT);
	assert_string_equal(name, "untouched");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_component_is_a_plain_name),
		cmocka_unit_test(a_canonical_path_has_one_spelling),
		cmocka_unit_test(below_means_itself_or_under_a_slash),
		tmp_dir_test(a_path_is_opened_below_the_root),
		tmp_dir_test(nothing_leads_out_of_the_root),
		cmocka_unit_test(no_mount_point_is_crossed),
		tmp_dir_test(in_root_follows_links_as_the_slot_itself_would),
		tmp_dir_test(the_parent_is_opened_and_the_name_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
