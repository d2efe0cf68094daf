/*
 * boot_tree, and the choice of a kernel: on a disk that dies a folder that is not read to its end is not taken for one
 * with fewer files. readdir(3) is scripted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "boot-controllers/boot_tree.h"
#include "boot-controllers/grub/grub_ctl.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "tests/unit/tmp_dir.h"

static unsigned n_names, fail_at; /* calls so far, and the one that fails; 0 = none */

struct dirent64 *__real_readdir64(DIR *dir);
struct dirent64 *__wrap_readdir64(DIR *dir);

struct dirent64 *__wrap_readdir64(DIR *dir)
{
	if (++n_names != fail_at)
		return __real_readdir64(dir);
	errno = EIO;
	return NULL;
}

static void put(int dir_fd, const char *name, const char *text)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

static void assert_has(int dir_fd, const char *name, bool want)
{
	struct stat st;

	assert_int_equal(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0, want);
}

static int open_new(const struct tmp_dir *d, const char *name)
{
	assert_int_equal(mkdirat(d->fd, name, 0755), 0);
	return openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void a_folder_becomes_like_another(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int from = open_new(d, "from");
	AUTO_CLOSE int to = open_new(d, "to");

	n_names = fail_at = 0;
	put(from, "Image", "new");
	assert_int_equal(mkdirat(from, "dtb", 0755), 0);
	put(from, "dtb/a", "a");
	assert_int_equal(symlinkat("Image", from, "kernel"), 0);
	put(to, "Image", "old");
	put(to, "left", "x");
	put(to, "dtb", "a file");
	assert_int_equal(boot_tree_mirror("t", from, to), 0);
	assert_has(to, "dtb/a", true);
	assert_has(to, "kernel", true);
	assert_has(to, "left", false);
}

static void a_folder_that_cannot_be_read_to_its_end_is_no_success(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_CLOSE int from = open_new(d, "from");
	AUTO_CLOSE int to = open_new(d, "to");
	unsigned n_failed = 0;
	int r = -EIO;

	put(from, "Image", "kernel");
	put(from, "initrd", "initrd");
	put(to, "left", "x");
	for (fail_at = 1; r < 0; fail_at++) {
		n_names = 0;
		r = boot_tree_mirror("t", from, to);
		if (r < 0)
			n_failed++;
		assert_true(r == 0 || r == -EIO);
	}
	/* Each call in two folders: two names, the two dots, and the end. */
	assert_true(n_failed >= 9);
	assert_has(to, "Image", true);
	assert_has(to, "initrd", true);
	assert_has(to, "left", false);
	r = -EIO;
	for (fail_at = 1; r < 0; fail_at++) {
		n_names = 0;
		r = boot_tree_remove("t", d->fd, "to");
		assert_true(r == 0 || r == -EIO);
	}
	assert_has(d->fd, "to", false);
}

static void the_newest_kernel_is_not_chosen_from_a_part(void **state)
{
	const struct tmp_dir *d = *state;
	char release[GRUB_RELEASE_MAX] = "";
	int r = -EIO;

	put(d->fd, "vmlinuz-5.10.0-1", "k");
	put(d->fd, "initrd.img-5.10.0-1", "i");
	put(d->fd, "vmlinuz-5.10.0-2", "k");
	put(d->fd, "initrd.img-5.10.0-2", "i");
	for (fail_at = 1; r < 0; fail_at++) {
		n_names = 0;
		r = grub_find_kernel(d->fd, NULL, release);
		assert_true(r == 0 || r == -EIO);
	}
	assert_true(fail_at > 7);
	assert_string_equal(release, "5.10.0-2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_folder_becomes_like_another),
		tmp_dir_test(a_folder_that_cannot_be_read_to_its_end_is_no_success),
		tmp_dir_test(the_newest_kernel_is_not_chosen_from_a_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
