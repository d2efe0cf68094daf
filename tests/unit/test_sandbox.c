/*
 * sandbox: what is out of reach afterwards, and what still works. Each in a child, since there is no way back. The
 * change of the user needs root: tests/integration/test_sandbox_root.c.
 */
#include "common/base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "tests/unit/in_child.h"
#include "tests/unit/tmp_dir.h"

static bool status_says(const char *line)
{
	AUTO_BUF struct buf text = {0};

	return file_read(AT_FDCWD, "/proc/self/status", 64 * 1024, &text) == 0 &&
	       strstr(buf_str(&text), line);
}

/* ---- drop_user ---- */

static int drop_all_but_the_user(void *ctx)
{
	CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
	CHECK(sandbox_drop_user(NULL) == 0);
	CHECK(status_says("\nCapInh:\t0000000000000000\n"));
	CHECK(status_says("\nCapPrm:\t0000000000000000\n"));
	CHECK(status_says("\nCapEff:\t0000000000000000\n"));
	CHECK(status_says("\nCapAmb:\t0000000000000000\n"));
	CHECK(status_says("\nNoNewPrivs:\t1\n"));
	CHECK(umask(0) == 077);
	CHECK(chroot("/") < 0 && errno == EPERM);
	return 0;
}

static void without_a_user_capabilities_go_all_the_same(void **state)
{
	assert_int_equal(in_child(drop_all_but_the_user, NULL), 0);
}

static int change_without_root(void *ctx)
{
	CHECK(geteuid() != 0 || setuid(65534) == 0);
	CHECK(sandbox_drop_user("nobody") == -EPERM);
	CHECK(sandbox_drop_user("1000:1000") == -EPERM);
	CHECK(!status_says("\nNoNewPrivs:\t1\n"));
	return 0;
}

static void user_is_found_without_becoming_it(void **state)
{
	uid_t uid = 7;
	gid_t gid = 7;

	assert_int_equal(sandbox_find_user("no-such-user", &uid, &gid), -ENOENT);
	assert_int_equal(sandbox_find_user("root", &uid, &gid), -EINVAL);
	assert_true(uid == 7 && gid == 7);
	assert_int_equal(sandbox_find_user("12:34", &uid, &gid), 0);
	assert_true(uid == 12 && gid == 34);
	assert_int_equal(sandbox_find_user("4294967000", &uid, &gid), -ENOENT);
	assert_int_equal(sandbox_find_user("65534", &uid, &gid), 0); /* nobody's, on every Debian */
	assert_true(uid == 65534 && gid == 65534);
	assert_int_equal(sandbox_find_user("0", &uid, &gid), -ENOENT);
}

static void only_root_can_become_another_user(void **state)
{
	assert_int_equal(in_child(change_without_root, NULL), 0);
}

/* ---- restrict_paths ---- */

static void put(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(file_write_all(fd, "text", 4), 0);
}

static int can_open(const struct tmp_dir *d, const char *name, int flags)
{
	AUTO_CLOSE int fd = openat(d->fd, name, flags | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : 0;
}

static int restrict_to_folders(void *ctx)
{
	struct tmp_dir *d = ctx;
	char rw[128], ro[128], file[128], missing[128];
	const struct sandbox_path paths[] = {
		{rw,      .writable = true },
		{ro,      .writable = false},
		{file,    .writable = true },
		{missing, .optional = true },
	};
	AUTO_CLOSE int open_before = openat(d->fd, "out/a", O_RDWR | O_CLOEXEC);
	char text[8];

	snprintf(rw, sizeof(rw), "%s/rw", d->path);
	snprintf(ro, sizeof(ro), "%s/ro", d->path);
	snprintf(file, sizeof(file), "%s/file", d->path);
	snprintf(missing, sizeof(missing), "%s/missing", d->path);
	CHECK(sandbox_restrict_paths(paths, ARRAY_SIZE(paths)) == 0);
	CHECK(can_open(d, "rw/a", O_RDWR) == 0);
	CHECK(can_open(d, "rw/new", O_RDWR | O_CREAT | O_TRUNC) == 0);
	CHECK(mkdirat(d->fd, "rw/sub", 0755) == 0);
	CHECK(renameat(d->fd, "rw/new", d->fd, "rw/sub/new") == 0);
	CHECK(linkat(d->fd, "rw/sub/new", d->fd, "rw/linked", 0) == 0);
	CHECK(unlinkat(d->fd, "rw/a", 0) == 0);
	CHECK(symlinkat("a", d->fd, "rw/symlink") < 0 && errno == EACCES);
	CHECK(can_open(d, "ro/a", O_RDONLY) == 0);
	CHECK(can_open(d, "ro", O_RDONLY | O_DIRECTORY) == 0);
	CHECK(can_open(d, "ro/a", O_WRONLY) == -EACCES);
	CHECK(can_open(d, "ro/new", O_WRONLY | O_CREAT) == -EACCES);
	CHECK(unlinkat(d->fd, "ro/a", 0) < 0 && errno == EACCES);
	CHECK(can_open(d, "file", O_RDWR) == 0);
	CHECK(can_open(d, "out/a", O_RDONLY) == -EACCES);
	CHECK(can_open(d, "/etc/passwd", O_RDONLY) == -EACCES);
	CHECK(pread(open_before, text, sizeof(text), 0) == 4);
	CHECK(execl("/bin/true", "true", NULL) < 0 && errno == EACCES);
	return 0;
}

static void what_is_outside_cannot_be_opened(void **state)
{
	struct tmp_dir *d = *state;

	assert_int_equal(mkdirat(d->fd, "rw", 0755), 0);
	assert_int_equal(mkdirat(d->fd, "ro", 0755), 0);
	assert_int_equal(mkdirat(d->fd, "out", 0755), 0);
	put(d->fd, "rw/a");
	put(d->fd, "ro/a");
	put(d->fd, "out/a");
	put(d->fd, "file");
	assert_int_equal(in_child(restrict_to_folders, d), 0);
}

static int restrict_to_what_is_missing(void *ctx)
{
	const struct sandbox_path paths[] = {{"/nonexistent/folder"}};

	CHECK(sandbox_restrict_paths(paths, 1) == -ENOENT);
	CHECK(access("/etc/passwd", R_OK) == 0);
	return 0;
}

static void a_missing_path_is_an_error_unless_it_is_optional(void **state)
{
	assert_int_equal(in_child(restrict_to_what_is_missing, NULL), 0);
}

/* ---- restrict_calls ---- */

static int denied_calls(void *ctx)
{
	struct timespec now;

	CHECK(sandbox_restrict_calls() == 0);
	CHECK(execl("/bin/true", "true", NULL) < 0 && errno == EPERM);
	CHECK(execl("/nonexistent", "true", NULL) < 0 && errno == EPERM);
	CHECK(unshare(CLONE_NEWUSER) < 0 && errno == EPERM);
	CHECK(setns(-1, 0) < 0 && errno == EPERM);
	CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 && errno == EPERM);
	CHECK(mount("/nonexistent", "/nonexistent", NULL, MS_BIND, NULL) < 0 && errno == EPERM);
	CHECK(umount2("/nonexistent", 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_bpf, 0, NULL, 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_keyctl, 0, 0, 0, 0, 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_userfaultfd, -1) < 0 && errno == EPERM);
	CHECK(syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno == EPERM);
	CHECK(syscall(SYS_finit_module, -1, "", 0) < 0 && errno == EPERM);
	CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
	CHECK(clock_settime(CLOCK_REALTIME, &now) < 0 && errno == EPERM);
	CHECK(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
	CHECK(status_says("\nNoNewPrivs:\t1\n"));
	return 0;
}

static void calls_that_no_service_needs_are_not_permitted(void **state)
{
	assert_int_equal(in_child(denied_calls, NULL), 0);
}

static void *thread_tries_a_call(void *ret)
{
	*(int *)ret = unshare(CLONE_NEWUSER) < 0 ? errno : 0;
	return NULL;
}

static int allowed_calls(void *ctx)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	AUTO_CLOSE int fd = -1;
	pthread_t thread;
	int in_thread = -1, status = -1;
	pid_t pid;

	CHECK(sandbox_restrict_calls() == 0);
	CHECK(pthread_create(&thread, NULL, thread_tries_a_call, &in_thread) == 0);
	CHECK(pthread_join(thread, NULL) == 0 && in_thread == EPERM);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(fd, 1) == 0);
	pid = fork();
	if (pid == 0)
		_exit(7);
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	return 0;
}

static void threads_sockets_and_children_go_on_working(void **state)
{
	assert_int_equal(in_child(allowed_calls, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_user_capabilities_go_all_the_same),
		cmocka_unit_test(user_is_found_without_becoming_it),
		cmocka_unit_test(only_root_can_become_another_user),
		tmp_dir_test(what_is_outside_cannot_be_opened),
		cmocka_unit_test(a_missing_path_is_an_error_unless_it_is_optional),
		cmocka_unit_test(calls_that_no_service_needs_are_not_permitted),
		cmocka_unit_test(threads_sockets_and_children_go_on_working),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
