/*
 * device_user: whoever has a device is found, whatever other processes wait for. Needs root, loop devices and /dev/fuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/run.h"
#include "otaclient/slot/device_user.h"
#include "tests/support/dead_fs.h"
#include "tests/unit/tmp_dir.h"

enum {
	USERS_MAX = 32,
};

static struct {
	struct tmp_dir *dir;
	char point[80], dead_point[80];
	dev_t dev;
	pid_t users[USERS_MAX];
	unsigned n_users;
} b;

static void must_run(const char *const *argv)
{
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv}, &err) < 0)
		fail_msg("%s", err.msg);
}

static int setup(void **state)
{
	char image[80];
	AUTO_CLOSE int fd = -1;
	struct stat st;
	void *dir = NULL;

	memset(&b, 0, sizeof(b));
	assert_int_equal(tmp_dir_setup(&dir), 0);
	b.dir = dir;
	snprintf(image, sizeof(image), "%s/image", b.dir->path);
	snprintf(b.point, sizeof(b.point), "%s/slot", b.dir->path);
	snprintf(b.dead_point, sizeof(b.dead_point), "%s/dead", b.dir->path);
	assert_int_equal(mkdir(b.point, 0755), 0);
	assert_int_equal(mkdir(b.dead_point, 0755), 0);
	fd = openat(b.dir->fd, "image", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 8 << 20), 0);
	must_run((const char *const[]){"mkfs.ext4", "-q", "-F", image, NULL});
	must_run((const char *const[]){"mount", "-o", "loop", image, b.point, NULL});
	assert_int_equal(stat(b.point, &st), 0);
	b.dev = st.st_dev;
	return 0;
}

static int teardown(void **state)
{
	void *dir = b.dir;

	for (unsigned i = 0; i < b.n_users; i++) {
		kill(b.users[i], SIGKILL);
		waitpid(b.users[i], NULL, 0);
	}
	umount2(b.point, MNT_DETACH);
	return tmp_dir_teardown(&dir);
}

/* How a process comes to use a folder. */
enum use {
	USE_CWD,
	USE_FILE,
	USE_NAMESPACE, /* mounted there alone */
};

/* A process that does so when this returns, and until the end of the test. */
static pid_t add_user(const char *point, enum use how)
{
	int ready[2];
	char c;
	pid_t pid;

	assert_true(b.n_users < USERS_MAX);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "user\nof it");
		if ((how == USE_CWD && chdir(point) < 0) ||
			(how == USE_FILE && open(point, O_RDONLY | O_CLOEXEC) < 0) ||
			(how == USE_NAMESPACE && unshare(CLONE_NEWNS) < 0) ||
			write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	b.users[b.n_users++] = pid;
	return pid;
}

static void found_is(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void found_is(const char *fmt, ...)
{
	AUTO_BUF struct buf found = {0};
	char want[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	assert_int_equal(device_user_find(b.dev, &found), 0);
	assert_string_equal(buf_str(&found), want);
}

static void whoever_works_on_it_is_named(void **state)
{
	pid_t pid;

	found_is("it is mounted on %s", b.point);
	pid = add_user(b.point, USE_FILE);
	found_is("it is mounted on %s, used by user (process %d)", b.point, (int)pid);
}

static void a_mount_elsewhere_is_named(void **state)
{
	pid_t pid = add_user(b.point, USE_NAMESPACE);

	assert_int_equal(umount(b.point), 0);
	found_is("user (process %d) has it mounted on %s", (int)pid, b.point);
}

/* Processes before the one that is looked for wait, or would, for a server that is gone. */
static void a_dead_server_does_not_hide_it(void **state)
{
	struct dead_fs dead;
	uint64_t began_ms;
	pid_t pid;

	dead_fs_init(&dead, b.dead_point);
	add_user(b.dead_point, USE_CWD);
	add_user(b.dead_point, USE_FILE);
	pid = add_user(b.point, USE_CWD);
	dead_fs_die(&dead);
	began_ms = clock_monotonic_ms();
	found_is("it is mounted on %s, used by user (process %d)", b.point, (int)pid);
	assert_true(clock_monotonic_ms() - began_ms < 20 * 1000);
	dead_fs_done(&dead);
}

static void however_many_wait_it_comes_to_an_end(void **state)
{
	struct dead_fs dead;
	uint64_t began_ms;

	dead_fs_init(&dead, b.dead_point);
	for (int i = 0; i < 20; i++)
		add_user(b.dead_point, USE_CWD);
	dead_fs_die(&dead);
	began_ms = clock_monotonic_ms();
	found_is("it is mounted on %s", b.point);
	assert_true(clock_monotonic_ms() - began_ms < 20 * 1000);
	dead_fs_done(&dead);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whoever_works_on_it_is_named),
		T(a_mount_elsewhere_is_named),
		T(a_dead_server_does_not_hide_it),
		T(however_many_wait_it_comes_to_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
