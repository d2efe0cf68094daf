/*
 * proxy_process: fork and exec, with nothing of ours but the output and the environment. Contract: proxy_process.h.
 *
 * Elsewhere: when it is started and ended (proxy_child).
 */
#include "otaclient/proxy/proxy_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"

_Noreturn static void process_exec(const char *const *args, pid_t parent, int fail_fd)
{
	sigset_t none;
	int null_fd, e;

	/* Only async-signal-safe calls: other threads may hold any lock at the fork. */
	setpgid(0, 0);
	/* Not SIGTERM: nobody would be there to insist. Its cache is made for a sudden end. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd >= 0)
		dup2(null_fd, STDIN_FILENO);
	/* Ours are all made so; this is for what a library has forgotten. */
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (chdir("/") == 0)
		execv(args[0], (char *const *)(uintptr_t)args);
	e = errno;
	_exit(write(fail_fd, &e, sizeof(e)) < 0 ? 126 : 127);
}

int proxy_process_start(const char *const *args, pid_t *ret_pid)
{
	AUTO_CLOSE int from = -1;
	pid_t parent = getpid(), pid;
	int fail[2], e = 0;
	ssize_t n;

	if (pipe2(fail, O_CLOEXEC) < 0)
		return -errno;
	from = fail[0];
	pid = fork();
	if (pid == 0)
		process_exec(args, parent, fail[1]);
	e = errno;
	close(fail[1]);
	if (pid < 0)
		return -e;
	do
		n = read(from, &e, sizeof(e));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(e)) {
		*ret_pid = pid;
		return 0;
	}
	waitpid(pid, NULL, 0);
	return -e;
}

void proxy_process_status_text(int status, char *ret_text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(ret_text, size, "was ended by signal %d", WTERMSIG(status));
	else
		snprintf(ret_text, size, "ended with status %d", WEXITSTATUS(status));
}
