/*
 * The daemon's watch over otaproxy, with tests/support/fake-proxy in its place and a clock that the test sets. Loopback
 * only.
 *
 * Needs the environment variable FAKE_PROXY, the path of that script (the build files set it).
 */
#include "otaclient/proxy/proxy_child.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "otaclient/proxy/proxy_counts.h"
#include "otaclient/proxy/proxy_origins.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

enum {
	PATIENCE_MS = 30 * 1000, /* for what must come */
};

/* ---- the clock: it stands, unless it flows; naps are short and make time pass only for the test ---- */

static pthread_t test_thread;
static atomic_uint_fast64_t offset_ms;
static atomic_bool flows;
static atomic_uint n_naps; /* of the supervising thread */

static uint64_t real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t test_monotonic_ms(void)
{
	return atomic_load(&offset_ms) + (atomic_load(&flows) ? real_ms() : 0);
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void test_sleep_ms(uint64_t ms)
{
	if (pthread_equal(pthread_self(), test_thread))
		atomic_fetch_add(&offset_ms, ms);
	else
		atomic_fetch_add(&n_naps, 1);
	nap();
}

static void test_random(void *ret_data, size_t len_bytes)
{
	memset(ret_data, 7, len_bytes);
}

static int64_t test_unix_s(void)
{
	return 1790000000;
}

static const struct clock_ops test_clock = {
	.monotonic_ms = test_monotonic_ms,
	.unix_s = test_unix_s,
	.sleep_ms = test_sleep_ms,
	.random = test_random,
};

/* ---- the bench ---- */

struct bench {
	struct tmp_dir *dir;
	char cache[128], run[128];
	uint16_t port;
	struct proxy_child_config config;
	struct proxy_child *child;
	struct ota_err err;

	pthread_mutex_t lock;
	struct buf notes; /* one on a line, "! " before trouble */
};

static void take_note(void *ctx, bool trouble, const char *sentence)
{
	struct bench *b = ctx;

	pthread_mutex_lock(&b->lock);
	assert_int_equal(buf_printf(&b->notes, "%s%s\n", trouble ? "! " : "", sentence), 0);
	pthread_mutex_unlock(&b->lock);
}

static uint16_t free_port(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin_port);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	pthread_mutex_init(&b->lock, NULL);
	snprintf(b->cache, sizeof(b->cache), "%s/cache", b->dir->path);
	snprintf(b->run, sizeof(b->run), "%s/run", b->dir->path);
	assert_int_equal(mkdir(b->cache, 0700), 0);
	b->port = free_port();
	b->config = (struct proxy_child_config){
		.program = getenv("FAKE_PROXY"),
		.listen_addr = "127.0.0.1",
		.port = b->port,
		.cache_dir = b->cache,
		.run_dir = b->run,
		.note = take_note,
		.note_ctx = b,
	};
	atomic_store(&offset_ms, 1000000);
	atomic_store(&flows, false);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir;

	atomic_store(&flows, true); /* should a program insist on SIGKILL */
	proxy_child_free(b->child);
	buf_done(&b->notes);
	pthread_mutex_destroy(&b->lock);
	tmp_dir_teardown(&dir);
	free(b);
	return 0;
}

#define bench_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- what the program and the thread have said ---- */

static unsigned count_in(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
		n++;
	return n;
}

static void read_log(const struct bench *b, struct buf *ret_log)
{
	int r = file_read(b->dir->fd, "log", 1 << 20, ret_log);

	assert_true(r == 0 || r == -ENOENT);
}

static unsigned count_log(const struct bench *b, const char *what)
{
	AUTO_BUF struct buf log = {0};

	read_log(b, &log);
	return count_in(buf_str(&log), what);
}

static unsigned count_notes(struct bench *b, const char *what)
{
	unsigned n;

	pthread_mutex_lock(&b->lock);
	n = count_in(buf_str(&b->notes), what);
	pthread_mutex_unlock(&b->lock);
	return n;
}

static void wait_log(const struct bench *b, const char *what, unsigned n)
{
	uint64_t until = real_ms() + PATIENCE_MS;

	while (count_log(b, what) < n) {
		if (real_ms() > until)
			fail_msg("the program has not said \"%s\" %u times", what, n);
		nap();
	}
}

static void wait_note(struct bench *b, const char *what, unsigned n)
{
	uint64_t until = real_ms() + PATIENCE_MS;

	while (count_notes(b, what) < n) {
		if (real_ms() > until)
			fail_msg("no note says \"%s\" %u times, but:\n%s", what, n,
				buf_str(&b->notes));
		nap();
	}
}

/* The thread has looked at everything at least once more. */
static void wait_looks(void)
{
	unsigned before = atomic_load(&n_naps);
	uint64_t until = real_ms() + PATIENCE_MS;

	while (atomic_load(&n_naps) - before < 3) {
		assert_true(real_ms() < until);
		nap();
	}
}

static void time_passes(uint64_t ms)
{
	atomic_fetch_add(&offset_ms, ms);
	wait_looks();
}

/* The same if the thread may then have nothing to look at. */
static void time_jumps(uint64_t ms)
{
	atomic_fetch_add(&offset_ms, ms);
}

/* The @n-th process, once it has started. */
static pid_t started_pid(struct bench *b, unsigned n)
{
	AUTO_BUF struct buf log = {0};
	const char *at;

	wait_log(b, "start ", n);
	wait_note(b, "has started as process", n);
	read_log(b, &log);
	at = buf_str(&log);
	for (unsigned i = 0; i < n; i++)
		at = strstr(at, "start ") + strlen("start ");
	return atoi(at);
}

static void switch_on(const struct bench *b, const char *name)
{
	AUTO_CLOSE int fd = openat(b->dir->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
}

static void start(struct bench *b)
{
	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	proxy_child_want(b->child, true);
}

/* Ended, even if nobody reaps it. */
static bool is_gone(pid_t pid)
{
	char path[64], word[64] = "";
	AUTO_FCLOSE FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	return !f || fscanf(f, "%*d %*s %8s", word) != 1 || word[0] == 'Z';
}

/* ---- the command line ---- */

static void without_a_thread_there_is_none(void **state)
{
	struct bench *b = *state;
	int r;

	no_threads = true;
	r = proxy_child_new(&b->config, &b->child, &b->err);
	no_threads = false;
	assert_int_equal(r, -EAGAIN);
	assert_sentence(&b->err,
		"Cannot start the thread that watches over otaproxy: Resource temporarily "
		"unavailable");
}

static void nothing_runs_until_it_is_wanted(void **state)
{
	struct bench *b = *state;

	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	proxy_child_want(b->child, false);
	proxy_child_free(TAKE_PTR(b->child));
	assert_int_equal(count_log(b, "start "), 0);
	assert_int_equal(count_notes(b, "\n"), 0);
	proxy_child_free(NULL);
}

static void it_is_told_everything_by_its_command_line(void **state)
{
	struct bench *b = *state;
	char line[1024];

	b->config.upper_proxy = "http://10.0.0.1:8082";
	b->config.tls_ca = "/etc/fleet.pem";
	b->config.https = b->config.no_cache = b->config.use_origins = true;
	b->config.user = "nobody";
	b->config.log_level = "debug";
	start(b);
	snprintf(line, sizeof(line),
		" 0 --listen 127.0.0.1 --port %u --cache-dir %s --upper-proxy http://10.0.0.1:8082 "
		"--tls-ca /etc/fleet.pem --https "
		"--no-cache --origins %s/otaproxy.origins --user nobody --log-level debug\n",
		b->port, b->cache, b->run);
	started_pid(b, 1);
	assert_int_equal(count_log(b, line), 1);
}

static void it_inherits_nothing_and_is_told_no_more_than_is_set(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int forgotten = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
	char line[512];

	assert_true(forgotten > 2);
	start(b);
	started_pid(b, 1);
	snprintf(line, sizeof(line), " 0 --listen 127.0.0.1 --port %u --cache-dir %s\n", b->port,
		b->cache);
	assert_int_equal(count_log(b, line), 1);
}

/* ---- external caches ---- */

static void a_folder_that_is_mounted_is_handed_over(void **state)
{
	struct bench *b = *state;

	b->config.external_folder = "/proc";
	start(b);
	started_pid(b, 1);
	assert_int_equal(count_log(b, " --external /proc\n"), 1);
	assert_int_equal(count_notes(b, "!"), 0);
}

static void one_that_is_not_is_done_without(void **state)
{
	struct bench *b = *state;
	char note[256];

	b->config.external_folder = b->cache;
	start(b);
	started_pid(b, 1);
	assert_int_equal(count_log(b, "--external"), 0);
	snprintf(note, sizeof(note),
		"! No files are taken from external_nfs_cache_mnt_point: Nothing is mounted on "
		"%s\n",
		b->cache);
	assert_int_equal(count_notes(b, note), 1);
	assert_int_equal(count_notes(b, "!"), 1);
}

/* ---- start and end ---- */

static void a_proxy_that_dies_is_started_again_ever_more_slowly(void **state)
{
	struct bench *b = *state;

	start(b);
	kill(started_pid(b, 1), SIGKILL);
	wait_note(b, "! otaproxy was ended by signal 9 after 0 s; it is started again in 1 s\n", 1);
	time_passes(999);
	assert_int_equal(count_notes(b, "has started"), 1);
	time_passes(1);
	kill(started_pid(b, 2), SIGKILL);
	wait_note(b, "! otaproxy was ended by signal 9 after 0 s; it is started again in 2 s\n", 1);
	time_passes(2000);
	/* One that was sound for a minute does not pay for those before it. */
	started_pid(b, 3);
	time_passes(60 * 1000);
	kill(started_pid(b, 3), SIGKILL);
	wait_note(
		b, "! otaproxy was ended by signal 9 after 60 s; it is started again in 1 s\n", 1);
}

/* As all processes are when the machine shuts down. */
static void one_that_somebody_else_has_told_to_end_is_no_trouble(void **state)
{
	struct bench *b = *state;

	switch_on(b, "polite");
	start(b);
	kill(started_pid(b, 1), SIGTERM);
	wait_note(b, "otaproxy has ended\n", 1);
	assert_int_equal(count_notes(b, "!"), 0);
	assert_int_equal(count_notes(b, "again"), 0);
	/* If the machine stays, the back-off is that of every other end. */
	time_passes(999);
	assert_int_equal(count_notes(b, "has started"), 1);
	time_passes(1);
	kill(started_pid(b, 2), SIGTERM);
	wait_note(b, "otaproxy has ended\n", 2);
	time_passes(1999);
	assert_int_equal(count_notes(b, "has started"), 2);
	time_passes(1);
	started_pid(b, 3);
}

static void a_program_that_is_not_there_is_tried_again_up_to_every_30_s(void **state)
{
	static const unsigned pauses_s[] = {1, 2, 4, 8, 16, 30, 30};
	struct bench *b = *state;
	char note[160];

	b->config.program = "/nonexistent/otaproxy";
	start(b);
	for (unsigned i = 0; i < ARRAY_SIZE(pauses_s); i++) {
		snprintf(note, sizeof(note),
			"! Cannot start /nonexistent/otaproxy: No such file or directory; the next "
			"try is "
			"in %u s\n",
			pauses_s[i]);
		wait_note(b, note, i == 6 ? 2 : 1);
		assert_int_equal(count_notes(b, "Cannot start"), i + 1);
		time_passes(pauses_s[i] * 1000);
	}
}

static void it_is_kept_for_120_s_although_nobody_wants_it(void **state)
{
	struct bench *b = *state;
	pid_t pid;

	start(b);
	pid = started_pid(b, 1);
	proxy_child_want(b->child, false);
	time_passes(119 * 1000);
	assert_false(is_gone(pid));
	/* Wanted again in time, it stays. */
	proxy_child_want(b->child, true);
	time_passes(600 * 1000);
	assert_false(is_gone(pid));
	proxy_child_want(b->child, false);
	wait_note(b, "otaproxy has ended, as it was told\n", 1);
	assert_true(is_gone(pid));
	assert_int_equal(count_notes(b, "!"), 0);
	/* And comes back at once. */
	proxy_child_want(b->child, true);
	assert_true(started_pid(b, 2) != pid);
}

static void one_that_dies_unwanted_is_not_started_again(void **state)
{
	struct bench *b = *state;
	pid_t pid;

	start(b);
	pid = started_pid(b, 1);
	proxy_child_want(b->child, false);
	kill(pid, SIGKILL);
	wait_note(b, "! otaproxy was ended by signal 9 after 0 s; nobody needs it any more\n", 1);
	time_jumps(60 * 1000);
	proxy_child_free(TAKE_PTR(b->child));
	assert_int_equal(count_log(b, "start "), 1);
}

static void one_that_ignores_sigterm_is_killed_10_s_later(void **state)
{
	struct bench *b = *state;
	pid_t pid;

	switch_on(b, "stubborn");
	start(b);
	pid = started_pid(b, 1);
	proxy_child_want(b->child, false);
	time_passes(120 * 1000);
	time_passes(9999);
	assert_false(is_gone(pid));
	assert_int_equal(count_notes(b, "!"), 0);
	time_jumps(1);
	wait_note(b, "! otaproxy did not end within 10 s of being told to and was killed\n", 1);
	wait_note(b, "otaproxy has ended, as it was told\n", 1);
	assert_true(is_gone(pid));
}

static void the_end_of_the_daemon_waits_for_nothing(void **state)
{
	struct bench *b = *state;
	pid_t pid;

	start(b);
	pid = started_pid(b, 1);
	proxy_child_free(TAKE_PTR(b->child));
	assert_true(is_gone(pid));
	wait_note(b, "otaproxy has ended, as it was told\n", 1);
}

static void it_does_not_outlive_a_daemon_that_was_killed(void **state)
{
	struct bench *b = *state;
	uint64_t until = real_ms() + PATIENCE_MS;
	pid_t daemon = fork(), pid;

	if (daemon == 0) {
		start(b);
		pause();
	}
	wait_log(b, "start ", 1);
	wait_log(b, "\n", 1);
	{
		AUTO_BUF struct buf log = {0};

		read_log(b, &log);
		pid = atoi(buf_str(&log) + strlen("start "));
	}
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
	while (!is_gone(pid)) {
		assert_true(real_ms() < until);
		nap();
	}
}

/* ---- the cache at the end ---- */

static void a_vehicle_that_is_done_needs_no_cache_any_more(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int cache_fd = open(b->cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int fd = openat(cache_fd, "content", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char line[512];

	assert_true(fd >= 0);
	b->config.user = "nobody";
	start(b);
	started_pid(b, 1);
	proxy_child_finish(b->child);
	wait_looks();
	assert_int_equal(count_log(b, "wipe --wipe "), 0);
	time_jumps(120 * 1000);
	snprintf(line, sizeof(line), "The cache in %s has been emptied: the vehicle is done\n",
		b->cache);
	wait_note(b, line, 1);
	snprintf(line, sizeof(line), "wipe --wipe --cache-dir %s --user nobody\n", b->cache);
	assert_int_equal(count_log(b, line), 1);
	assert_int_equal(faccessat(cache_fd, "content", F_OK, 0), -1);
	/* Once is enough, until it has been wanted again. */
	proxy_child_finish(b->child);
	proxy_child_want(b->child, true);
	started_pid(b, 2);
	assert_int_equal(count_log(b, "wipe --wipe "), 1);
}

static void a_cache_that_cannot_be_emptied_is_reported(void **state)
{
	struct bench *b = *state;
	char line[512];

	switch_on(b, "wipe-fails");
	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	proxy_child_finish(b->child);
	snprintf(line, sizeof(line),
		"! Cannot empty the cache in %s: %s failed with status 1: the disk is stuck\n",
		b->cache, b->config.program);
	wait_note(b, line, 1);
}

static void who_wants_it_again_in_time_keeps_the_cache(void **state)
{
	struct bench *b = *state;

	start(b);
	started_pid(b, 1);
	proxy_child_finish(b->child);
	proxy_child_want(b->child, true);
	time_passes(200 * 1000);
	proxy_child_want(b->child, false);
	wait_note(b, "otaproxy has ended, as it was told\n", 1);
	proxy_child_free(TAKE_PTR(b->child));
	assert_int_equal(count_log(b, "wipe --wipe "), 0);
}

/* ---- ready ---- */

static int wait_ready(struct bench *b, uint32_t timeout_ms)
{
	return proxy_child_wait_ready(b->child, timeout_ms, NULL, NULL, &b->err);
}

static void any_answer_means_that_it_is_ready(void **state)
{
	struct bench *b = *state;

	start(b);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), 0);
}

static void any_address_is_asked_at_the_loopback(void **state)
{
	struct bench *b = *state;

	b->config.listen_addr = "0.0.0.0";
	start(b);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), 0);
}

static void one_that_does_not_listen_is_not_ready(void **state)
{
	struct bench *b = *state;
	char begin[160];

	switch_on(b, "mute");
	start(b);
	started_pid(b, 1);
	assert_int_equal(wait_ready(b, 3000), -ETIMEDOUT);
	snprintf(begin, sizeof(begin),
		"otaproxy was not ready within 3 s: Cannot fetch http://127.0.0.1:%u/: Failed to "
		"connect to ",
		b->port);
	assert_memory_equal(b->err.msg, begin, strlen(begin));
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
}

static void one_that_listens_and_says_nothing_is_not_ready(void **state)
{
	struct bench *b = *state;
	char sentence[160];

	switch_on(b, "silent");
	atomic_store(&flows, true);
	start(b);
	started_pid(b, 1);
	assert_int_equal(wait_ready(b, 400), -ETIMEDOUT);
	snprintf(sentence, sizeof(sentence),
		"otaproxy was not ready within 400 ms: Cannot fetch http://127.0.0.1:%u/: ",
		b->port);
	assert_memory_equal(b->err.msg, sentence, strlen(sentence));
}

static void one_that_has_ended_is_not_ready_and_the_sentence_says_so(void **state)
{
	struct bench *b = *state;

	switch_on(b, "refuse");
	start(b);
	wait_note(b, "! otaproxy ended with status 3 after 0 s; it is started again in 1 s\n", 1);
	assert_int_equal(wait_ready(b, 500), -ETIMEDOUT);
	assert_string_equal(
		b->err.msg, "otaproxy was not ready within 500 ms: it ended with status 3");
	proxy_child_free(TAKE_PTR(b->child));
	b->config.program = "/nonexistent/otaproxy";
	start(b);
	wait_note(b, "Cannot start", 1);
	assert_int_equal(wait_ready(b, 500), -ETIMEDOUT);
	assert_string_equal(b->err.msg,
		"otaproxy was not ready within 500 ms: it cannot be started: "
		"No such file or directory");
}

/* ---- what it has counted ---- */

static void put_counts(const struct bench *b, const char *text, size_t len)
{
	AUTO_CLOSE int fd =
		openat(b->dir->fd, "counts", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, len), 0);
}

#define COUNTS                               \
	"otaproxy_cache_hits_total 5\n"      \
	"otaproxy_cache_misses_total 3\n"    \
	"otaproxy_joined_requests_total 1\n" \
	"otaproxy_revalidated_requests_total 2\n# EOF\n"

static void one_that_runs_says_what_it_has_counted(void **state)
{
	struct bench *b = *state;
	struct proxy_counts counts = {0};

	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	assert_null(proxy_child_url(b->child));
	proxy_child_want(b->child, true);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), 0);
	put_counts(b, COUNTS, strlen(COUNTS));
	assert_int_equal(proxy_counts_ask(proxy_child_url(b->child), &counts, &b->err), 0);
	assert_int_equal(counts.total_requests, 9);
	assert_int_equal(counts.local_hits, 7);
	proxy_child_want(b->child, false);
	assert_null(proxy_child_url(b->child));
}

static void what_is_no_page_of_the_proxy_is_not_believed(void **state)
{
	struct bench *b = *state;
	struct proxy_counts counts = {.total_requests = 77};
	AUTO_FREE char *much = malloc(PROXY_COUNTS_MAX_BYTES + 1);
	char want[128];

	start(b);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), 0);
	assert_int_equal(proxy_counts_ask(proxy_child_url(b->child), &counts, &b->err), -EPROTO);
	snprintf(want, sizeof(want), "What http://127.0.0.1:%u/ says is not what otaproxy counts",
		b->port);
	put_counts(b, "hello\n", 6);
	assert_int_equal(proxy_counts_ask(proxy_child_url(b->child), &counts, &b->err), -EBADMSG);
	assert_string_equal(b->err.msg, want);
	memset(much, '\n', PROXY_COUNTS_MAX_BYTES + 1);
	memcpy(much, COUNTS, strlen(COUNTS));
	put_counts(b, much, PROXY_COUNTS_MAX_BYTES + 1);
	assert_int_equal(proxy_counts_ask(proxy_child_url(b->child), &counts, &b->err), -EFBIG);
	assert_int_equal(counts.total_requests, 77);
	put_counts(b, much, PROXY_COUNTS_MAX_BYTES);
	assert_int_equal(proxy_counts_ask(proxy_child_url(b->child), &counts, &b->err), 0);
}

static void one_that_says_nothing_is_given_a_second(void **state)
{
	struct bench *b = *state;
	struct proxy_counts counts;
	uint64_t began;

	switch_on(b, "silent");
	atomic_store(&flows, true);
	start(b);
	started_pid(b, 1);
	began = real_ms();
	assert_true(proxy_counts_ask(proxy_child_url(b->child), &counts, &b->err) < 0);
	assert_true(real_ms() - began < PROXY_COUNTS_WAIT_MS + 3000);
}

/* Whether it does is not a matter of time: nothing here lets any pass. */
static void one_that_refuses_its_command_line_is_not_waited_for(void **state)
{
	struct bench *b = *state;

	switch_on(b, "usage");
	start(b);
	wait_note(b,
		"! otaproxy refuses its command line (ended with status 2) and is not started "
		"again\n",
		1);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), -EINVAL);
	assert_string_equal(b->err.msg,
		"otaproxy refuses its command line; the lines that it has logged say why");
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
	time_jumps(600 * 1000);
	proxy_child_want(b->child, true);
	assert_int_equal(wait_ready(b, 3000), -EINVAL);
	assert_int_equal(count_log(b, "start "), 1);
	/* Somebody may have mended it until it is wanted anew. */
	assert_int_equal(unlinkat(b->dir->fd, "usage", 0), 0);
	proxy_child_want(b->child, false);
	proxy_child_want(b->child, true);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), 0);
}

static void one_that_refuses_while_somebody_waits_ends_the_wait(void **state)
{
	struct bench *b = *state;

	switch_on(b, "usage");
	start(b);
	assert_int_equal(wait_ready(b, 100 * 1000 * 1000), -EINVAL);
}

static bool stop_at_third(void *ctx)
{
	unsigned *n = ctx;

	return ++*n == 3;
}

static void whoever_waits_can_be_stopped(void **state)
{
	struct bench *b = *state;
	unsigned n = 0;

	switch_on(b, "mute");
	start(b);
	assert_int_equal(
		proxy_child_wait_ready(b->child, 100 * 1000 * 1000, stop_at_third, &n, &b->err),
		-ECANCELED);
	assert_int_equal(n, 3);
	assert_string_equal(b->err.msg, "otaproxy is not waited for any more");
}

static void what_nobody_wants_does_not_become_ready(void **state)
{
	struct bench *b = *state;

	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	assert_int_equal(wait_ready(b, 3000), -ESHUTDOWN);
	assert_string_equal(b->err.msg, "otaproxy is not wanted, so it cannot become ready");
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
}

/* ---- origins ---- */

static void assert_origins(const struct bench *b, const char *text)
{
	AUTO_BUF struct buf got = {0};
	struct stat st;

	assert_int_equal(file_read(b->dir->fd, "run/otaproxy.origins", 1 << 20, &got), 0);
	assert_string_equal(buf_str(&got), text);
	assert_int_equal(fstatat(b->dir->fd, "run/otaproxy.origins", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
}

static void origins_are_written_line_by_line(void **state)
{
	static const char *const two[] = {"https://a.example", "http://[fd00::1]:8080"};
	struct bench *b = *state;

	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	assert_int_equal(proxy_child_origins(b->child, two, 2, &b->err), 0);
	assert_origins(b, "https://a.example\nhttp://[fd00::1]:8080\n");
	assert_int_equal(proxy_child_origins(b->child, two, 1, &b->err), 0);
	assert_origins(b, "https://a.example\n");
	assert_int_equal(proxy_child_origins(b->child, NULL, 0, &b->err), 0);
	assert_origins(b, "");
}

static void what_is_no_origin_changes_nothing(void **state)
{
	static const struct {
		const char *origin, *sentence;
	} wrong[] = {
		{"http://a.example/",
                 "The origin http://a.example/ has more than scheme, host and port"    },
		{"http://a.example?q",
                 "The origin http://a.example has more than scheme, host and port"     },
		{"ftp://a.example",
                 "The URL \"ftp://a.example\" begins with neither http:// nor https://"},
		{"http://a\nhttp://b",
                 "The URL has the byte 0x0a at position 8, which no URL may have"      },
	};
	static const char *const good[] = {"http://a.example"};
	const char *many[PROXY_ORIGINS_MAX + 1];
	struct bench *b = *state;

	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	assert_int_equal(proxy_child_origins(b->child, good, 1, &b->err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(
			proxy_child_origins(b->child, &wrong[i].origin, 1, &b->err), -EINVAL);
		assert_string_equal(b->err.msg, wrong[i].sentence);
		assert_int_equal(b->err.code, OTA_E_INVALID_REQUEST);
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = good[0];
	assert_int_equal(proxy_child_origins(b->child, many, ARRAY_SIZE(many), &b->err), -EINVAL);
	assert_string_equal(b->err.msg, "There are 65 origins, and 64 may be");
	assert_origins(b, "http://a.example\n");
}

static void origins_that_cannot_be_written_are_an_error(void **state)
{
	static const char *const good[] = {"http://a.example"};
	struct bench *b = *state;

	b->config.run_dir = "/nonexistent/run";
	assert_int_equal(proxy_child_new(&b->config, &b->child, &b->err), 0);
	assert_int_equal(proxy_child_origins(b->child, good, 1, &b->err), -ENOENT);
	assert_string_equal(b->err.msg,
		"Cannot write /nonexistent/run/otaproxy.origins: No such file or directory");
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bench_test(without_a_thread_there_is_none),
		bench_test(nothing_runs_until_it_is_wanted),
		bench_test(it_is_told_everything_by_its_command_line),
		bench_test(it_inherits_nothing_and_is_told_no_more_than_is_set),
		bench_test(a_folder_that_is_mounted_is_handed_over),
		bench_test(one_that_is_not_is_done_without),
		bench_test(a_proxy_that_dies_is_started_again_ever_more_slowly),
		bench_test(one_that_somebody_else_has_told_to_end_is_no_trouble),
		bench_test(a_program_that_is_not_there_is_tried_again_up_to_every_30_s),
		bench_test(it_is_kept_for_120_s_although_nobody_wants_it),
		bench_test(one_that_dies_unwanted_is_not_started_again),
		bench_test(one_that_ignores_sigterm_is_killed_10_s_later),
		bench_test(the_end_of_the_daemon_waits_for_nothing),
		bench_test(it_does_not_outlive_a_daemon_that_was_killed),
		bench_test(a_vehicle_that_is_done_needs_no_cache_any_more),
		bench_test(a_cache_that_cannot_be_emptied_is_reported),
		bench_test(who_wants_it_again_in_time_keeps_the_cache),
		bench_test(any_answer_means_that_it_is_ready),
		bench_test(any_address_is_asked_at_the_loopback),
		bench_test(one_that_does_not_listen_is_not_ready),
		bench_test(one_that_listens_and_says_nothing_is_not_ready),
		bench_test(one_that_has_ended_is_not_ready_and_the_sentence_says_so),
		bench_test(one_that_runs_says_what_it_has_counted),
		bench_test(what_is_no_page_of_the_proxy_is_not_believed),
		bench_test(one_that_says_nothing_is_given_a_second),
		bench_test(one_that_refuses_its_command_line_is_not_waited_for),
		bench_test(one_that_refuses_while_somebody_waits_ends_the_wait),
		bench_test(whoever_waits_can_be_stopped),
		bench_test(what_nobody_wants_does_not_become_ready),
		bench_test(origins_are_written_line_by_line),
		bench_test(what_is_no_origin_changes_nothing),
		bench_test(origins_that_cannot_be_written_are_an_error),
	};

	if (!getenv("FAKE_PROXY")) {
		fputs("FAKE_PROXY is not set: run this test through meson\n", stderr);
		return 1;
	}
	test_thread = pthread_self();
	clock_set_ops(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
