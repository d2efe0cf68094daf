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
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

enum {
	STDERR_KEEP_BYTES = 4096,
	WAIT_MS = 1000,
	STOP_POLL_MS = 200,
};

static const char *const default_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LC_ALL=C",
	NULL,
};

struct child {
	pid_t pid;
	int pid_fd;  /* -1 once it has ended */
	int out_fd;  /* -1 once at its end */
	int err_fd;  /* 〃 */
	int fail_fd; /* exec's errno comes through this, or nothing */
};

static void close_now(int *fd)
{
	closep(fd);
	*fd = -1;
}

static void child_done(struct child *c)
{
	closep(&c->pid_fd);
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
	if (args->dir && chdir(args->dir) < 0)
		goto fail;
	if (null_fd >= 0)
		dup2(null_fd, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(errfd, STDERR_FILENO);
	/* The tool is looked up in the PATH that it gets, not in ours. */
	environ = (char **)(uintptr_t)env;
	/* execvp would give a file of no format to a shell, for which an empty one is a success. */
	if (strchr(args->argv[0], '/'))
		execv(args->argv[0], (char *const *)(uintptr_t)args->argv);
	else
		execvp(args->argv[0], (char *const *)(uintptr_t)args->argv);
fail:
	e = errno;
	if (write(fail, &e, sizeof(e)) < 0)
		_exit(126);
	_exit(127);
}

static int child_start(const struct run_args *args, struct child *ret_child)
{
	int out[2] = {-1, -1}, errp[2] = {-1, -1}, fail[2] = {-1, -1};
	int pid_fd, r = 0;
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
		child_exec(args, out[1], args->output ? out[1] : errp[1], fail[1]);
	/* The child does the same; whoever is first, the group is there when it must be killed. */
	setpgid(pid, pid);
	pid_fd = pidfd_open(pid, 0);
	if (pid_fd < 0) {
		r = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		goto done;
	}
	*ret_child = (struct child){
		.pid = pid,
		.pid_fd = pid_fd,
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

/* Take one piece of output; beyond the limit it is only read, so that the tool can go on. */
static void out_append(const struct run_args *args, const char *data, size_t len, bool *overflow)
{
	struct buf *b = args->out;

	if (args->output) {
		args->output(args->output_ctx, data, len);
		return;
	}
	if (!b || *overflow)
		return;
	if (b->len_bytes + len > RUN_OUTPUT_MAX_BYTES || buf_append(b, data, len) < 0)
		*overflow = true;
}

/* Read one of the pipes into @chunk; closes it at its end. Returns the bytes read. */
static size_t drain(int *fd, char *chunk, size_t size)
{
	ssize_t n = read(*fd, chunk, size);

	if (n > 0)
		return (size_t)n;
	if (n == 0 || (errno != EINTR && errno != EAGAIN))
		close_now(fd);
	return 0;
}

/* Its number, and so that of its group, is its own until it is reaped. */
static void child_has_ended(struct child *c, const struct run_args *args)
{
	close_now(&c->pid_fd);
	if (args->end_group)
		kill(-c->pid, SIGKILL);
}

/* What came first. */
enum collected {
	COLLECTED_ALL,
	COLLECTED_LATE,
	COLLECTED_STOP,
};

/*
 * Until the tool has ended and said all, @deadline_ms has come, or @args->stop() wants no more. Its end
 * alone counts: it may close its output and go on, or leave behind a process that keeps the output open, and
 * writes to it for ever.
 */
static enum collected child_collect(struct child *c, const struct run_args *args,
	bool *ret_overflow, struct buf *errtext, uint64_t deadline_ms)
{
	uint64_t slice_ms = args->stop ? STOP_POLL_MS : WAIT_MS;
	size_t n_read, n_after_end = 0;
	char chunk[8192];

	for (;;) {
		struct pollfd p[] = {
			{.fd = c->pid_fd, .events = POLLIN},
			{.fd = c->out_fd, .events = POLLIN},
			{.fd = c->err_fd, .events = POLLIN},
		};
		uint64_t now = clock_monotonic_ms();
		int n, wait_ms;

		if (now >= deadline_ms)
			return COLLECTED_LATE;
		if (args->stop && args->stop(args->stop_ctx))
			return COLLECTED_STOP;
		wait_ms = (int)MIN_OF(deadline_ms - now, slice_ms);
		n = poll(p, ARRAY_SIZE(p), c->pid_fd < 0 ? 0 : wait_ms);
		if (c->pid_fd < 0 && (n <= 0 || n_after_end > RUN_AFTER_END_MAX_BYTES))
			return COLLECTED_ALL;
		if (n <= 0)
			continue;
		if (p[0].revents)
			child_has_ended(c, args);
		if (p[1].revents) {
			n_read = drain(&c->out_fd, chunk, sizeof(chunk));
			n_after_end += c->pid_fd < 0 ? n_read : 0;
			out_append(args, chunk, n_read, ret_overflow);
		}
		if (p[2].revents) {
			n_read = drain(&c->err_fd, chunk, sizeof(chunk));
			n_after_end += c->pid_fd < 0 ? n_read : 0;
			tail_append(errtext, chunk, n_read);
		}
	}
}

/* A file system check that is asked leaves the disk in order; one that is killed may not. */
static void child_ask_to_end(struct child *c, const struct run_args *args, uint32_t grace_ms)
{
	const struct run_args last_words = {
		.argv = args->argv, .output = args->output, .output_ctx = args->output_ctx};
	AUTO_BUF struct buf errtext = {0};
	bool overflow = false;

	kill(-c->pid, SIGTERM);
	child_collect(c, &last_words, &overflow, &errtext, clock_monotonic_ms() + grace_ms);
}

/* The group, and the tool itself, which may have left it. */
static void child_kill(struct child *c)
{
	kill(-c->pid, SIGKILL);
	kill(c->pid, SIGKILL);
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
	CLEANUP(child_done)
	struct child c = {.pid_fd = -1, .out_fd = -1, .err_fd = -1, .fail_fd = -1};
	AUTO_BUF struct buf errtext = {0};
	const char *name = args->argv[0];
	int status = 0, exec_errno = 0;
	enum collected how;
	bool overflow = false;
	int r;

	r = child_start(args, &c);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot start %s: %s", name, strerror(-r));
	how = child_collect(&c, args, &overflow, &errtext, clock_monotonic_ms() + limit);
	if (how == COLLECTED_STOP)
		child_ask_to_end(&c, args, RUN_STOP_GRACE_MS);
	else if (how == COLLECTED_LATE && args->grace_ms > 0)
		child_ask_to_end(&c, args, args->grace_ms);
	if (how != COLLECTED_ALL)
		child_kill(&c);
	while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (how == COLLECTED_STOP)
		return ota_err_set(
			err, -ECANCELED, OTA_E_UNSPECIFIC, "%s was stopped by request", name);
	if (how == COLLECTED_LATE)
		return ota_err_set(err, -ETIMEDOUT, OTA_E_UNSPECIFIC,
			"%s did not end within %u s and was stopped", name, limit / 1000);
	if (read(c.fail_fd, &exec_errno, sizeof(exec_errno)) == sizeof(exec_errno))
		return ota_err_set(err, -exec_errno, OTA_E_UNSPECIFIC, "Cannot run %s: %s", name,
			strerror(exec_errno));
	if (WIFSIGNALED(status) && args->ret_signal)
		*args->ret_signal = WTERMSIG(status);
	if (WIFSIGNALED(status))
		return ota_err_set(err, -EINTR, OTA_E_UNSPECIFIC, "%s was ended by signal %d", name,
			WTERMSIG(status));
	if (overflow)
		return ota_err_set(err, -EFBIG, OTA_E_UNSPECIFIC, "%s printed more than %d bytes",
			name, RUN_OUTPUT_MAX_BYTES);
	if (args->ret_status)
		*args->ret_status = WEXITSTATUS(status);
	else if (WEXITSTATUS(status) != 0)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "%s failed with status %d: %s",
			name, WEXITSTATUS(status), last_line(&errtext));
	return 0;
}
