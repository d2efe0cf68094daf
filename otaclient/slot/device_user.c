/*
 * device_user: look for a device in the mounts and open files of every process. Contract: device_user.h.
 *
 * To ask of which file system an open file is may wait for a server that is gone, and then for ever. So a child asks,
 * and says which process it has come to. One that gets no further is ended, and another goes on behind that process.
 */
#include "otaclient/slot/device_user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/base/file.h"
#include "common/base/mount.h"

enum {
	LOOK_MS = 500, /* for one process: 65536 open files of a disk take a tenth of that */
	LOST_MAX = 8,  /* processes that are passed over like this, so that the whole has an end */
	CHILD_END_MS = 500, /* for a child that was killed */
};

/* ---- in the child ------------------------------------------------------------------------------- */

/* Has the process something open below @dev? Its folder, its root, its program, or a file. */
static bool process_uses(int proc_fd, const char *pid, dev_t dev)
{
	static const char *const links[] = {"cwd", "root", "exe"};
	char path[64];
	AUTO_CLOSEDIR DIR *fds = NULL;
	struct dirent *e;
	struct stat st;
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(path, sizeof(path), "%.16s/%s", pid, links[i]);
		if (fstatat(proc_fd, path, &st, 0) == 0 && st.st_dev == dev)
			return true;
	}
	snprintf(path, sizeof(path), "%.16s/fd", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds = fd < 0 ? NULL : fdopendir(fd);
	while (fds && (e = readdir(fds)))
		if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, 0) == 0 && st.st_dev == dev)
			return true;
	return false;
}

/* What the child says: first where it is, then, if that is so, that this is what was looked for. */
struct word {
	pid_t pid;
	bool found;
};

static void say(int out_fd, struct word word)
{
	if (write(out_fd, &word, sizeof(word)) != (ssize_t)sizeof(word))
		_exit(1);
}

/* The kernel lists processes by their number. */
_Noreturn static void look(dev_t dev, pid_t behind, int out_fd)
{
	const int fd = STDERR_FILENO + 1;
	struct dirent *e;
	DIR *proc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Whatever becomes of this process, it is not to hold a lock or device of the daemon. */
	if (out_fd != fd && dup2(out_fd, fd) < 0)
		_exit(1);
	close_range(fd + 1, UINT32_MAX, 0);
	proc = opendir("/proc");
	while (proc && (e = readdir(proc))) {
		uint64_t pid;

		if (decimal_parse(e->d_name, strlen(e->d_name), 1, INT32_MAX, &pid) < 0 ||
			(pid_t)pid <= behind || (pid_t)pid == getpid())
			continue;
		say(fd, (struct word){.pid = (pid_t)pid});
		if (process_uses(dirfd(proc), e->d_name, dev)) {
			say(fd, (struct word){.pid = (pid_t)pid, .found = true});
			break;
		}
	}
	_exit(0);
}

/* ---- in the parent ------------------------------------------------------------------------------ */

/* Killed, but not waited for if it sleeps where no signal wakes it. */
static void child_end(pid_t pid)
{
	AUTO_CLOSE int pid_fd = pidfd_open(pid, 0);
	struct pollfd p = {.fd = pid_fd, .events = POLLIN};

	kill(pid, SIGKILL);
	if (poll(&p, 1, CHILD_END_MS) > 0)
		waitpid(pid, NULL, WNOHANG);
}

/* One child's work. @ret_word: the last that it said. 1: it came no further; 0: it came to its end; -errno. */
static int look_behind(dev_t dev, pid_t behind, struct word *ret_word)
{
	AUTO_CLOSE int fd = -1;
	struct pollfd p;
	int pipe_fd[2], n;
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return -errno;
	fd = pipe_fd[0];
	pid = fork();
	if (pid == 0)
		look(dev, behind, pipe_fd[1]);
	close(pipe_fd[1]);
	if (pid < 0)
		return -EAGAIN;
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	do {
		n = poll(&p, 1, LOOK_MS);
	} while ((n < 0 && errno == EINTR) ||
		 (n > 0 && read(fd, ret_word, sizeof(*ret_word)) == (ssize_t)sizeof(*ret_word)));
	child_end(pid);
	return n == 0;
}

int device_user_find_process(dev_t dev, struct buf *ret_text)
{
	AUTO_BUF struct buf comm = {0};
	struct word word = {0};
	char path[64];
	int r = 1;

	for (unsigned lost = 0; r == 1 && lost < LOST_MAX; lost++)
		r = look_behind(dev, word.pid, &word);
	if (r < 0)
		return r;
	if (!word.found)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)word.pid);
	(void)file_read(AT_FDCWD, path, 256, &comm);
	return buf_printf(ret_text, ", used by %.*s (process %d)",
		(int)strcspn(buf_str(&comm), "\n"), buf_str(&comm), (int)word.pid);
}

int device_user_find(dev_t dev, struct buf *ret_text)
{
	AUTO_BUF struct buf point = {0};
	int r;

	if (mount_point_of(dev, &point, NULL) < 0)
		return mount_find_holder(dev, ret_text);
	r = buf_printf(ret_text, "it is mounted on %s", buf_str(&point));
	return r < 0 ? r : device_user_find_process(dev, ret_text);
}
