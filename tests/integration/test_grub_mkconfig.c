/*
 * grub_mkconfig: a root in which it cannot be run as on a system of its own. With the real one: test_boot_contract.c has
 * a stand-in, ecu/test_ecu.py and the virtual machines have GRUB's. Needs root; mounts in a namespace of its own.
 */
#include "boot-controllers/grub/grub_mkconfig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/base/cleanup.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

static const struct grub_ctl ctl = {.boot_fd = -1, .grub_fd = -1}; /* without stand-ins */

/* In a root with the folders that are mounted on. */
static int run(const char *rootfs, struct ota_err *err)
{
	AUTO_BUF struct buf out = {0};

	return grub_mkconfig_run(&ctl, rootfs, rootfs, &out, err);
}

static void make_root(const struct tmp_dir *d)
{
	static const char *const folders[] = {"proc", "sys", "dev", "boot", "tmp", "run"};

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		assert_int_equal(mkdirat(d->fd, folders[i], 0755), 0);
}

static void a_root_without_the_program_has_a_code_of_its_own(void **state)
{
	const struct tmp_dir *d = *state;
	struct ota_err err = {0};

	make_root(d);
	assert_int_equal(run(d->path, &err), -ENOENT);
}

static void a_root_that_nothing_can_be_mounted_in_is_told_from_it(void **state)
{
	const struct tmp_dir *d = *state;
	struct ota_err err = {0};

	assert_int_equal(run(d->path, &err), -ENXIO);
	assert_sentence(&err,
		"Cannot show /proc as %s/proc to grub-mkconfig: No such file or directory",
		d->path);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
	static char root[PATH_MAX];
	const struct tmp_dir *d = *state;
	struct ota_err err = {0};

	/* A path that can be opened, and is as long as one can be. */
	memset(root, '/', sizeof(root) - 1);
	memcpy(root, d->path, strlen(d->path));
	assert_int_equal(run(root, &err), -ENAMETOOLONG);
	assert_sentence(&err, "The path %s%s is too long", root, "");
}

/* A call that is refused, and what is said then. */
struct refused {
	int call;
	unsigned at;
	uint32_t value; /* of the argument at @at */
	const char *sentence;
};

struct
try {
	const struct tmp_dir *dir;
	const struct refused *refused;
};

static int run_without(void *ctx)
{
	const struct try *try = ctx;
	const struct refused *refused = try->refused;
	struct ota_err err = {0};

	CHECK(refusal_call_with(refused->call, refused->at, refused->value, EPERM) == 0);
	CHECK(run(try->dir->path, &err) == -EPERM);
	CHECK(sentence_is(&err, "%s", refused->sentence));
	return 0;
}

static void what_the_kernel_refuses_is_said(void **state)
{
	const struct tmp_dir *d = *state;
	char read_only[160];
	/* clang-format off */
	const struct refused rows[] = {
		{SYS_openat, 2, O_RDONLY | O_CLOEXEC, "Cannot open the mount namespace: Operation not permitted"},
		{SYS_unshare, 0, CLONE_NEWNS,
			"Cannot make a mount namespace for grub-mkconfig: Operation not permitted"},
		{SYS_mount, 3, MS_REMOUNT | MS_BIND | MS_RDONLY, read_only},
	};
	/* clang-format on */

	make_root(d);
	snprintf(read_only, sizeof(read_only),
		"Cannot make %s read-only for grub-mkconfig: Operation not permitted", d->path);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct try try = {d, &rows[i]};

		assert_int_equal(in_child(run_without, &try), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_root_without_the_program_has_a_code_of_its_own),
		tmp_dir_test(a_root_that_nothing_can_be_mounted_in_is_told_from_it),
		tmp_dir_test(a_path_that_is_too_long_is_refused),
		tmp_dir_test(what_the_kernel_refuses_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
