/*
 * io: what a boot loader that reads no journal needs of a file system other than ext4. The kernel's answers are scripted.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include <cmocka.h>

#include "common/base/io.h"
#include "tests/unit/tmp_dir.h"

enum {
	EXT4 = 0xef53,
	XFS = 0x58465342,
	VFAT = 0x4d44,
};

static struct {
	int type; /* of the file system */
	bool frozen;
	int freeze_errno, thaw_errno; /* 0 = it can */
	unsigned n_freezes, n_thaws;
} fs;

int __wrap_fstatfs64(int fd, struct statfs64 *ret);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_fstatfs64(int fd, struct statfs64 *ret)
{
	*ret = (struct statfs64){.f_type = fs.type};
	return 0;
}

static int answer(int e)
{
	errno = e;
	return e ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	assert_true(request == FIFREEZE || request == FITHAW);
	if (request == FIFREEZE) {
		fs.n_freezes++;
		if (!fs.freeze_errno)
			fs.frozen = true;
		return answer(fs.freeze_errno);
	}
	fs.n_thaws++;
	if (fs.thaw_errno || !fs.frozen)
		return answer(fs.thaw_errno ? fs.thaw_errno : EINVAL);
	fs.frozen = false;
	return 0;
}

static void assert_calls(unsigned n_freezes, unsigned n_thaws)
{
	assert_int_equal(fs.n_freezes, n_freezes);
	assert_int_equal(fs.n_thaws, n_thaws);
	fs.n_freezes = fs.n_thaws = 0;
}

static void a_journal_is_written_back_by_a_freeze(void **state)
{
	const struct tmp_dir *d = *state;

	memset(&fs, 0, sizeof(fs));
	fs.type = XFS;
	assert_int_equal(io_publish_boot("t", d->fd), 0);
	assert_false(fs.frozen);
	assert_calls(1, 1);
	fs.type = EXT4;
	assert_int_equal(io_publish_boot("t", d->fd), 0);
	assert_calls(0, 0);
	fs.type = VFAT;
	fs.freeze_errno = EOPNOTSUPP;
	assert_int_equal(io_publish_boot("t", d->fd), 0);
	assert_calls(1, 0);
	fs.freeze_errno = EIO;
	assert_int_equal(io_publish_boot("t", d->fd), -EIO);
}

/* As it is left by a process that was killed between the two. */
static void a_freeze_that_nobody_has_ended_is_ended(void **state)
{
	const struct tmp_dir *d = *state;

	memset(&fs, 0, sizeof(fs));
	fs.type = XFS;
	fs.frozen = true;
	assert_int_equal(io_thaw_boot(d->fd), 0);
	assert_false(fs.frozen);
	assert_int_equal(io_thaw_boot(d->fd), 0);
	fs.type = VFAT;
	fs.thaw_errno = EOPNOTSUPP;
	assert_int_equal(io_thaw_boot(d->fd), 0);
	fs.thaw_errno = EIO;
	assert_int_equal(io_thaw_boot(d->fd), -EIO);
	assert_calls(0, 4);
}

/* Somebody else's, such as that of a snapshot. */
static void a_freeze_that_is_not_ours_is_left_alone(void **state)
{
	const struct tmp_dir *d = *state;

	memset(&fs, 0, sizeof(fs));
	fs.type = EXT4;
	fs.frozen = true;
	assert_int_equal(io_thaw_boot(d->fd), 0);
	assert_true(fs.frozen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_journal_is_written_back_by_a_freeze),
		tmp_dir_test(a_freeze_that_nobody_has_ended_is_ended),
		tmp_dir_test(a_freeze_that_is_not_ours_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
