/*
 * fetcher: starts the program, hands it jobs and files, and takes what it reports. Contract: fetcher.h.
 *
 * Jobs that the socket has no room for wait in their slot. Everything the program says is checked here: a job that it
 * was not given, a code that does not exist or a text with control characters is not passed on.
 *
 * A program that dies, perhaps because memory was short, is started once more, and gets its jobs anew. One that lies is
 * not.
 */
#include "otaclient/fetcher/fetcher.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/fetcher/needs.h"
#include "otaclient/fetcher/packet.h"

enum {
	FD_FREE = 10, /* above what the child needs */
	ALONE_WAIT_MS = 1000,
	ALONE_POLL_MS = 2,
	READY_WAIT_MS = 30 * 1000, /* it reads one file; a loaded machine takes some 100 ms */
	ROUNDS_MAX = 64,           /* packets in a row before other things get a look */
};

/* A job from fetcher_add() to its done(). */
struct slot {
	bool busy, sent;
	struct packet_head head;
	char *text[PACKET_TEXTS]; /* owned */
	int fds[PACKET_FDS_MAX];  /* the caller's: the file, and the older content of a patch */
	unsigned n_lost;          /* programs that it was lost with */
	void (*done)(void *ctx, const struct fetcher_result *result);
	void *ctx;
};

struct fetcher {
	const struct http_config *http; /* borrowed; NULL: it cannot be started again */
	bool restarted;
	pid_t pid;
	int jobs_fd, needs_fd, wake_fd;
	struct slot slots[FETCHER_JOBS_MAX];
	size_t n_busy;
	uint64_t wire_bytes; /* not yet taken */
	uint64_t last_byte_ms; /* or of the last HTTP_STALL_MIN_BYTES, or result */
	uint64_t fresh_bytes;  /* since then */
	struct ota_err trouble;
	struct packet packet;
};

/* ---- the program ---- */

_Noreturn static void child_exec(const char *path, pid_t parent, int jobs_fd, int needs_fd)
{
	char *const args[] = {(char *)(uintptr_t)FETCHER_PROGRAM, NULL};
	sigset_t none;
	int jobs, needs, null_fd;

	/* Only async-signal-safe calls: other threads may hold any lock at the fork. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	jobs = fcntl(jobs_fd, F_DUPFD_CLOEXEC, FD_FREE);
	needs = fcntl(needs_fd, F_DUPFD_CLOEXEC, FD_FREE);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd >= 0) {
		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
	}
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	if (dup2(jobs, FETCHER_JOBS_FD) >= 0 && dup2(needs, FETCHER_NEEDS_FD) >= 0 &&
		chdir("/") == 0)
		execv(path, args);
	_exit(127);
}

/*
 * It dies with the thread that started it (PR_SET_PDEATHSIG is the thread's), which is the one that it works for; and
 * anyhow once its sockets are closed.
 */
static int program_start(struct fetcher *f, const char *path)
{
	AUTO_CLOSE int child_jobs = -1;
	AUTO_CLOSE int child_needs = -1;
	int jobs[2], needs[2];
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, jobs) < 0)
		return -errno;
	f->jobs_fd = jobs[0];
	child_jobs = jobs[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, needs) < 0)
		return -errno;
	f->needs_fd = needs[0];
	child_needs = needs[1];
	f->pid = fork();
	if (f->pid == 0)
		child_exec(path, parent, child_jobs, child_needs);
	return f->pid < 0 ? -errno : 0;
}

/*
 * The folder of our own program. By the name that it was started with if that is a whole one: once there is a mount
 * namespace of our own, the kernel shows where the program lies in the one before.
 */
static int own_folder(char ret_path[PATH_MAX])
{
	const char *started = (const char *)(uintptr_t)getauxval(AT_EXECFN);
	ssize_t n;

	if (!started || started[0] != '/' || !realpath(started, ret_path)) {
		n = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);
		if (n < 0)
			return -errno;
		ret_path[n] = '\0';
	}
	*strrchr(ret_path, '/') = '\0';
	return 0;
}

/* Beside our own program, as where it was built, or where it is installed. */
static int program_find(char ret_path[PATH_MAX])
{
	char folder[PATH_MAX];
	int r = own_folder(folder);

	if (r < 0)
		return r;
	if (snprintf(ret_path, PATH_MAX, "%s/" FETCHER_PROGRAM, folder) < PATH_MAX &&
		access(ret_path, X_OK) == 0)
		return 0;
	if (snprintf(ret_path, PATH_MAX, "%s/../libexec/" FETCHER_PROGRAM, folder) >= PATH_MAX)
		return -ENAMETOOLONG;
	return access(ret_path, X_OK) < 0 ? -errno : 0;
}

/* Nothing more comes of it: how did it end? */
static int program_lost(struct fetcher *f, struct ota_err *err)
{
	int status = 0;

	closep(&f->jobs_fd);
	closep(&f->needs_fd);
	f->jobs_fd = f->needs_fd = -1;
	if (f->pid <= 0)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC,
			"The program that fetches, " FETCHER_PROGRAM ", is gone");
	kill(f->pid, SIGKILL); /* unless it is dead already, it does not do as agreed */
	while (waitpid(f->pid, &status, 0) < 0 && errno == EINTR)
		;
	f->pid = -1;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC,
			"The program that fetches, " FETCHER_PROGRAM ", was ended by signal %d",
			WTERMSIG(status));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return ota_err_set(err, -ENOEXEC, OTA_E_UNSPECIFIC,
			"The program that fetches, " FETCHER_PROGRAM ", cannot be run");
	return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC,
		"The program that fetches, " FETCHER_PROGRAM ", has ended");
}

static void slot_forget_texts(struct slot *s)
{
	for (size_t i = 0; i < PACKET_TEXTS; i++)
		free(TAKE_PTR(s->text[i]));
}

/* ---- what it says ---- */

static void show_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

/* @head's failure, with the sentence. Whatever it says, it is one. */
static void read_failure(const struct packet *p, struct ota_err *ret_err)
{
	const char *sentence = p->text[ANY_SENTENCE];
	int r = p->head.r < 0 && p->head.r >= -4095 ? p->head.r : -EPROTO;
	enum ota_code code = p->head.code < 1000 ? (enum ota_code)p->head.code : OTA_E_UNSPECIFIC;

	*ret_err = (struct ota_err){0};
	ota_err_set(ret_err, r, code, "%s", sentence ? sentence : strerror(-r));
	show_printable(ret_err->msg);
}

/* As http.h has it for servers: who says now and then that a byte came must not hold the update for ever. */
static void count_bytes(struct fetcher *f, uint64_t n)
{
	if (n == 0 || n > UINT64_MAX / 2 || f->wire_bytes > UINT64_MAX / 2)
		return;
	f->wire_bytes += n;
	f->fresh_bytes += n;
	if (f->fresh_bytes < HTTP_STALL_MIN_BYTES)
		return;
	f->fresh_bytes = 0;
	f->last_byte_ms = clock_monotonic_ms();
}

static int on_result(struct fetcher *f, const struct packet *p)
{
	struct slot *s = p->head.id < FETCHER_JOBS_MAX ? &f->slots[p->head.id] : NULL;
	struct fetcher_result result = {
		.status = p->head.status, .retries = MIN_OF(p->head.retries, 1000u)};

	if (!s || !s->busy || !s->sent)
		return -EBADMSG;
	result.retries += s->n_lost;
	count_bytes(f, p->head.wire_bytes);
	f->last_byte_ms = clock_monotonic_ms();
	if (p->head.r != 0) {
		read_failure(p, &result.err);
		result.r = result.err.errnum;
	}
	slot_forget_texts(s);
	s->busy = false;
	f->n_busy--;
	s->done(s->ctx, &result);
	return 0;
}

static int on_packet(struct fetcher *f)
{
	const struct packet *p = &f->packet;

	switch (p->head.type) {
	case PACKET_RESULT:
		return on_result(f, p);
	case PACKET_PROGRESS:
		count_bytes(f, p->head.wire_bytes);
		return 0;
	case PACKET_TROUBLE:
		read_failure(p, &f->trouble);
		return 0;
	default:
		return -EBADMSG;
	}
}

static int take_packets(struct fetcher *f)
{
	int r = 0;

	for (unsigned i = 0; i < ROUNDS_MAX && r == 0; i++) {
		AUTO_CLOSE int fd = -1; /* none is expected */

		r = packet_receive(f->jobs_fd, false, &f->packet, &fd);
		if (r == 0)
			r = on_packet(f);
	}
	return r == -EAGAIN ? 0 : r;
}

/* ---- what it is told ---- */

/* @ret_waiting: is one left that the socket has no room for? */
static int send_jobs(struct fetcher *f, bool *ret_waiting)
{
	*ret_waiting = false;
	for (size_t i = 0; i < FETCHER_JOBS_MAX; i++) {
		struct slot *s = &f->slots[i];
		size_t n_fds = s->fds[1] >= 0 ? 2 : s->fds[0] >= 0 ? 1 : 0;
		int r;

		if (!s->busy || s->sent)
			continue;
		r = packet_send_fds(
			f->jobs_fd, &s->head, (const char *const *)s->text, s->fds, n_fds, false);
		if (r == -EAGAIN) {
			*ret_waiting = true;
			return 0;
		}
		if (r < 0)
			return r;
		s->sent = true;
	}
	return 0;
}

static int send_config(struct fetcher *f, const struct http_config *http)
{
	const struct packet_head head = {
		.type = PACKET_CONFIG,
		.max_connections =
			http->max_connections ? http->max_connections : FETCHER_CONNECTIONS_DEFAULT,
		.stall_timeout_ms = http->stall_timeout_ms,
		.retry_base_ms = http->retry_base_ms,
	};
	const char *const text[PACKET_TEXTS] = {
		[CONFIG_PROXY] = http->proxy,
		[CONFIG_TLS_CA] = http->tls_ca,
		[CONFIG_COOKIES] = http->cookies,
		[CONFIG_USER_AGENT] = http->user_agent,
	};

	return packet_send(f->jobs_fd, &head, text, -1, false);
}

static int wait_until_readable(int fd, uint64_t end_ms)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	int n;

	do {
		uint64_t now = clock_monotonic_ms();

		n = poll(&one, 1, now < end_ms ? (int)(end_ms - now) : 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int await_ready(struct fetcher *f, struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	int r = wait_until_readable(f->jobs_fd, clock_monotonic_ms() + READY_WAIT_MS);

	if (r == -ETIMEDOUT)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"The program that fetches, " FETCHER_PROGRAM
			", does not get ready within %d s",
			READY_WAIT_MS / 1000);
	if (r == 0)
		r = packet_receive(f->jobs_fd, false, &f->packet, &fd);
	if (r < 0 || f->packet.head.type != PACKET_READY)
		return program_lost(f, err);
	if (f->packet.head.r == 0)
		return 0;
	read_failure(&f->packet, err);
	return err->errnum;
}

/* ---- the contract ---- */

static int fetcher_start(struct fetcher *f, struct ota_err *err)
{
	char path[PATH_MAX];
	int r = program_find(path);

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"The program that fetches, " FETCHER_PROGRAM ", is not installed: %s",
			strerror(-r));
	r = program_start(f, path);
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "Cannot start %s: %s", path, strerror(-r));
	r = send_config(f, f->http);
	if (r == -EPIPE)
		return program_lost(f, err);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot tell %s what to do: %s", path,
			strerror(-r));
	return await_ready(f, err);
}

static struct fetcher *fetcher_make(void)
{
	struct fetcher *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->pid = f->jobs_fd = f->needs_fd = -1;
	f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->last_byte_ms = clock_monotonic_ms();
	if (f->wake_fd >= 0)
		return f;
	free(f);
	return NULL;
}

struct fetcher *fetcher_new_for_test(int jobs_fd, int needs_fd)
{
	struct fetcher *f = fetcher_make();

	if (!f)
		return NULL;
	f->jobs_fd = jobs_fd;
	f->needs_fd = needs_fd;
	return f;
}

pid_t fetcher_pid(const struct fetcher *f)
{
	return f->pid;
}

int fetcher_new(const struct http_config *http, struct fetcher **ret_fetcher, struct ota_err *err)
{
	AUTO_FETCHER struct fetcher *f = fetcher_make();
	struct ota_err why = {0};
	int r;

	if (!f)
		return ota_err_no_memory(err, "a fetcher");
	f->http = http;
	r = fetcher_start(f, &why);
	if (r < 0) {
		if (err)
			*err = why;
		return r;
	}
	*ret_fetcher = TAKE_PTR(f);
	return 0;
}

void fetcher_free(struct fetcher *f)
{
	if (!f)
		return;
	closep(&f->jobs_fd);
	closep(&f->needs_fd);
	closep(&f->wake_fd);
	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		while (waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	for (size_t i = 0; i < FETCHER_JOBS_MAX; i++)
		slot_forget_texts(&f->slots[i]);
	free(f);
}

void fetcher_freep(struct fetcher **f)
{
	fetcher_free(*f);
}

static struct slot *free_slot(struct fetcher *f)
{
	for (size_t i = 0; i < FETCHER_JOBS_MAX; i++)
		if (!f->slots[i].busy)
			return &f->slots[i];
	return NULL;
}

static uint32_t flags_of(const struct fetcher_job *job)
{
	return (job->size_known ? JOB_SIZE_KNOWN : 0u) | (job->digest ? JOB_DIGEST_KNOWN : 0u) |
	       (job->is_zst ? JOB_IS_ZST : 0u) | (job->undo_encoding ? JOB_UNDO_ENCODING : 0u) |
	       (job->outlast_outages ? JOB_OUTLAST_OUTAGES : 0u) | (job->base ? JOB_IS_PATCH : 0u);
}

static bool copy_text(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return !text || *ret_copy;
}

int fetcher_add(struct fetcher *f, const struct fetcher_job *job, struct ota_err *err)
{
	struct slot *s = free_slot(f);

	assert(s);
	*s = (struct slot){
		.fds = {job->fd, job->base ? job->base->fd : -1},
		.done = job->done,
		.ctx = job->ctx,
	};
	s->head = (struct packet_head){
		.type = PACKET_JOB,
		.id = (uint32_t)(s - f->slots),
		.flags = flags_of(job),
		.tries_max = job->tries_max,
		.total_timeout_ms = job->total_timeout_ms,
		.max_wire_bytes = job->max_wire_bytes,
		.plain_bytes = job->plain_bytes,
		.base_bytes = job->base ? job->base->size_bytes : 0,
	};
	if (job->digest)
		s->head.digest = *job->digest;
	if (!copy_text(job->url, &s->text[JOB_URL]) || !copy_text(job->name, &s->text[JOB_NAME]) ||
		!copy_text(job->cache_control, &s->text[JOB_CACHE_CONTROL])) {
		slot_forget_texts(s);
		return ota_err_no_memory(err, "the fetching of a file");
	}
	s->busy = true;
	f->n_busy++;
	return 0;
}

size_t fetcher_pending(const struct fetcher *f)
{
	return f->n_busy;
}

static int wait_for(struct fetcher *f, uint32_t wait_ms, bool jobs_wait)
{
	struct pollfd fds[] = {
		{f->jobs_fd,  (short)(POLLIN | (jobs_wait ? POLLOUT : 0)), 0},
		{f->needs_fd, POLLIN,				      0},
		{f->wake_fd,  POLLIN,				      0},
	};
	uint64_t n;

	if (poll(fds, ARRAY_SIZE(fds), (int)wait_ms) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[2].revents && read(f->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

/* @r: it said what it may not say, or cannot be spoken to. Such a one gets no second chance. */
static int program_refused(struct fetcher *f, int r, struct ota_err *err)
{
	f->restarted = true;
	program_lost(f, NULL);
	if (r == -EBADMSG)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC,
			"The program that fetches, " FETCHER_PROGRAM
			", does not keep to what was agreed");
	return ota_err_set(err, r, OTA_E_UNSPECIFIC,
		"Cannot speak to the program that fetches, " FETCHER_PROGRAM ": %s", strerror(-r));
}

/* Whatever the dead program has written for a job that is not done: it begins anew. */
static int slot_rewind(struct slot *s)
{
	s->sent = false;
	s->n_lost++;
	return ftruncate(s->fds[0], 0) < 0 || lseek(s->fds[0], 0, SEEK_SET) < 0 ? -errno : 0;
}

/* Once. @err says how the program ended, if another one is of no use. */
static int fetcher_restart(struct fetcher *f, struct ota_err *err)
{
	int r = program_lost(f, err);

	if (!f->http || f->restarted)
		return r;
	f->restarted = true;
	f->trouble = *err;
	for (size_t i = 0; i < FETCHER_JOBS_MAX; i++)
		if (f->slots[i].busy && slot_rewind(&f->slots[i]) < 0)
			return r;
	*err = (struct ota_err){0};
	r = fetcher_start(f, err);
	if (r < 0)
		program_lost(f, NULL);
	return r;
}

static int serve_program(struct fetcher *f, uint32_t wait_ms)
{
	bool jobs_wait = false;
	int r = send_jobs(f, &jobs_wait);

	if (r == 0)
		r = wait_for(f, wait_ms, jobs_wait);
	if (r == 0)
		r = take_packets(f);
	if (r == 0) {
		r = needs_answer(f->needs_fd, &f->packet);
		r = r == -EAGAIN ? 0 : r;
	}
	return r;
}

int fetcher_run(struct fetcher *f, uint32_t wait_ms, struct ota_err *err)
{
	struct ota_err why = {0};
	int r = f->jobs_fd < 0 ? -EPIPE : serve_program(f, wait_ms);

	if (r == -EPIPE)
		r = fetcher_restart(f, &why);
	else if (r < 0)
		r = program_refused(f, r, &why);
	if (r < 0 && err)
		*err = why;
	return r;
}

void fetcher_wakeup(struct fetcher *f)
{
	const uint64_t one = 1;

	/* A counter that is full wakes up as well. */
	if (write(f->wake_fd, &one, sizeof(one)) < 0)
		return;
}

uint64_t fetcher_take_wire_bytes(struct fetcher *f)
{
	uint64_t n = f->wire_bytes;

	f->wire_bytes = 0;
	return n;
}

uint64_t fetcher_idle_ms(const struct fetcher *f)
{
	return clock_monotonic_ms() - f->last_byte_ms;
}

struct ota_err fetcher_trouble(const struct fetcher *f)
{
	return f->trouble;
}

/* ---- whose is the file? ---- */

/* A lease for reading is granted only if the file is open for writing nowhere. */
static int ask_lease(int fd)
{
	int r = fcntl(fd, F_SETLEASE, F_RDLCK) < 0 ? -errno : 0;

	if (r == 0)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	return r;
}

/* Another thread's child has our descriptors too, from its fork until it runs its program. */
static int await_alone(int fd)
{
	uint64_t end_ms = clock_monotonic_ms() + ALONE_WAIT_MS;
	int r;

	while ((r = ask_lease(fd)) == -EAGAIN && clock_monotonic_ms() < end_ms)
		clock_sleep_ms(ALONE_POLL_MS);
	return r;
}

bool fetcher_can_take(int fd)
{
	return ask_lease(fd) == -EAGAIN; /* we hold it ourselves */
}

int fetcher_take(int *fd, uint64_t max_bytes, struct digest_ctx *ctx, struct digest *ret_digest,
	uint64_t *ret_size_bytes)
{
	struct stat st;
	char path[32];
	int reading, r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
	reading = open(path, O_RDONLY | O_CLOEXEC);
	if (reading < 0)
		return -errno;
	close(*fd);
	*fd = reading;
	r = await_alone(reading);
	if (r == -EAGAIN)
		return -EBUSY;
	if (r < 0)
		return -EOPNOTSUPP;
	if (fstat(reading, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > max_bytes) /* holes cost the fetcher nothing, but us years */
		return -EFBIG;
	return digest_of_fd(ctx, reading, ret_digest, ret_size_bytes);
}
