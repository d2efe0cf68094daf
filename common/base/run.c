/*
 * run: fork, exec, read both pipes, reap; kill the whole process group at the time limit. Contract:
 * run.h.
 */
#include "common/base/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

enum {
	STDERR_KEEP_BYTES = 4096,
};

static const char *const default_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LC_ALL=C",
	NULL,
};

struct child {
	pid_t pid;
	int out_fd;  /* -1 once at its end */
	int err_fd;  /* 〃 */
	int fail_fd; /* exec's errno comes through this, or nothing */
};

static void child_done(struct child *c)
{
	closep(&c->out_fd);
	closep(&c->err_fd);
	closep(&c->fail_fd);
}

_Noreturn static void child_exec(const struct run_args *args, int out, int errfd, int fail)
{
	const char *const *env = args->env ? args->env : default_env;
	sigset_t none;
	int null_fd, e;

	/* Only async-signal-safe calls: other threads may hold any lock at the fork. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (args->root && (chroot(args->root) < 0 || chdir("/") < 0))
		goto fail;
	if (null_fd >= 0)
		dup2(null_fd, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(errfd, STDERR_FILENO);
	execvpe(args->argv[0], (char *const *)(uintptr_t)args->argv, (char *const *)(uintptr_t)env);
fail:
	e = errno;
	if (write(fail, &e, sizeof(e)) < 0)
		_exit(126);
	_exit(127);
}

static int child_start(const struct run_args *args, struct child *ret_child)
{
	int out[2] = {-1, -1}, errp[2] = {-1, -1}, fail[2] = {-1, -1};
	int r = 0;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errp, O_CLOEXEC) < 0 || pipe2(fail, O_CLOEXEC) < 0) {
		r = -errno;
		goto done;
	}
	pid = fork();
	if (pid < 0) {
		r = -errno;
		goto done;
	}
	if (pid == 0)
		child_exec(args, out[1], errp[1], fail[1]);
	*ret_child = (struct child){
		.pid = pid,
		.out_fd = TAKE_FD(out[0]),
		.err_fd = TAKE_FD(errp[0]),
		.fail_fd = TAKE_FD(fail[0]),
	};
done:
	for (int i = 0; i < 2; i++) {
		closep(&out[i]);
		closep(&errp[i]);
		closep(&fail[i]);
	}
	return r;
}

/* Keep the end of what came: that is where a tool says why it gives up. */
static void tail_append(struct buf *b, const char *data, size_t len)
{
	if (buf_append(b, data, len) < 0)
		return;
	if (b->len_bytes > 2 * STDERR_KEEP_BYTES) {
		memmove(b->data, b->data + b->len_bytes - STDERR_KEEP_BYTES, STDERR_KEEP_BYTES + 1);
		b->len_bytes = STDERR_KEEP_BYTES;
	}
}

/* Read one of the pipes; closes it at its end. */
static void drain(int *fd, struct buf *b, bool tail)
{
	char chunk[8192];
	ssize_t n = read(*fd, chunk, sizeof(chunk));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close(*fd);
		*fd = -1;
	} else if (tail) {
		tail_append(b, chunk, (size_t)n);
	} else if (b && b->len_bytes + (size_t)n <= RUN_OUTPUT_MAX_BYTES) {
		if (buf_append(b, chunk, (size_t)n) < 0)
			b->len_bytes = RUN_OUTPUT_MAX_BYTES;
	}
}

/* Until both pipes are closed or @deadline_ms has come. Returns false at the deadline. */
static bool child_collect(
	struct child *c, struct buf *out, struct buf *errtext, uint64_t deadline_ms)
{
	while (c->out_fd >= 0 || c->err_fd >= 0) {
		struct pollfd p[2] = {
			{.fd = c->out_fd, .events = POLLIN},
			{.fd = c->err_fd, .events = POLLIN},
		};
		uint64_t now = clock_monotonic_ms();

		if (now >= deadline_ms)
			return false;
		if (poll(p, 2, (int)MIN_OF(deadline_ms - now, (uint64_t)1000)) <= 0)
			continue;
		if (p[0].revents)
			drain(&c->out_fd, out, false);
		if (p[1].revents)
			drain(&c->err_fd, errtext, true);
	}
	return true;
}

/* The last non-empty line of what the tool said, cut out in place. */
static const char *last_line(struct buf *b)
{
	char *line;

	while (b->len_bytes > 0 &&
		(b->data[b->len_bytes - 1] == '\n' || b->data[b->len_bytes - 1] == ' '))
		b->data[--b->len_bytes] = '\0';
	if (b->len_bytes == 0)
		return "it said nothing";
	line = strrchr(b->data, '\n');
	return line ? line + 1 : b->data;
}

int run_tool(const struct run_args *args, struct ota_err *err)
{
	uint32_t limit = args->timeout_ms ? args->timeout_ms : RUN_TIMEOUT_DEFAULT_MS;
	CLEANUP(child_done) struct child c = {.out_fd = -1, .err_fd = -1, .fail_fd = -1};
	AUTO_BUF struct buf errtext = {0};
	const char *name = args->argv[0];
	int status = 0, exec_errno = 0;
	bool in_time;
	int r;

	r = child_start(args, &c);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot start %s: %s", name, strerror(-r));
	in_time = child_collect(&c, args->out, &errtext, clock_monotonic_ms() + limit);
	if (!in_time)
		kill(-c.pid, SIGKILL);
	while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!in_time)
		return ota_err_set(err, -ETIMEDOUT, OTA_E_UNSPECIFIC,
			"%s did not end within %u s and was stopped", name, limit / 1000);
	if (read(c.fail_fd, &exec_errno, sizeof(exec_errno)) == sizeof(exec_errno))
		return ota_err_set(err, -exec_errno, OTA_E_UNSPECIFIC, "Cannot run %s: %s", name,
			strerror(exec_errno));
	if (WIFSIGNALED(status))
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "%s was ended by signal %d", name,
			WTERMSIG(status));
	if (args->out && args->out->len_bytes >= RUN_OUTPUT_MAX_BYTES)
		return ota_err_set(err, -EFBIG, OTA_E_UNSPECIFIC, "%s printed more than %d bytes",
			name, RUN_OUTPUT_MAX_BYTES);
	if (args->ret_status)
		*args->ret_status = WEXITSTATUS(status);
	else if (WEXITSTATUS(status) != 0)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "%s failed with status %d: %s",
			name, WEXITSTATUS(status), last_line(&errtext));
	return 0;
}
