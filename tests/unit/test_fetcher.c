/*
 * test_fetcher: its thread rests without a fetch, and is there at once when one comes. The server is a socket that
 * accepts and never answers, on the loopback.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "otaproxy/fetcher.h"
#include "tests/unit/cache_room.h"

enum {
	THREADS_MAX = 32,
	PATIENCE_S = 20, /* what has not happened by then never will */
	FETCHES = 8,
	FETCHES_MAX_MS = 4000, /* each a second, if the thread looked only now and then */
};

/* A reader of a flight, which sleeps until it fails: nothing here ever arrives. */
struct asker {
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool sleeps;
	struct flight_reader *reader;
};

static void on_sleep(void *ctx)
{
	struct asker *a = ctx;

	pthread_mutex_lock(&a->lock);
	a->sleeps = true;
	pthread_mutex_unlock(&a->lock);
}

static void on_wake(void *ctx)
{
	struct asker *a = ctx;

	pthread_mutex_lock(&a->lock);
	a->sleeps = false;
	pthread_cond_signal(&a->woken);
	pthread_mutex_unlock(&a->lock);
}

#define ASKER_INIT                                                                   \
	{                                                                            \
		.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER \
	}

struct room {
	struct tmp_dir *dir;
	struct cache_store *store;
	struct counters counters;
	struct inflight *table;
	struct fetcher *fetcher;
	pid_t tid; /* of the fetcher's thread */
	int server_fd;
	char server_url[64];
};

/* ---- the thread, from outside ---- */

static unsigned list_threads(pid_t tids[THREADS_MAX])
{
	AUTO_CLOSEDIR DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		if (e->d_name[0] == '.')
			continue;
		assert_true(n < THREADS_MAX);
		tids[n++] = atoi(e->d_name);
	}
	return n;
}

/* The thread that is in @after and not in @before. */
static pid_t new_thread(
	const pid_t *before, unsigned n_before, const pid_t *after, unsigned n_after)
{
	pid_t found = 0;

	for (unsigned i = 0; i < n_after; i++) {
		unsigned k = 0;

		while (k < n_before && before[k] != after[i])
			k++;
		if (k < n_before)
			continue;
		assert_int_equal(found, 0);
		found = after[i];
	}
	assert_int_not_equal(found, 0);
	return found;
}

/* Does the thread wait in futex(2) with no time after which it would look by itself? */
static bool is_at_rest(pid_t tid)
{
	AUTO_BUF struct buf text = {0};
	char path[64];
	long call;
	unsigned long long timeout;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &text), 0);
	/* The number and six arguments; or "running". */
	return sscanf(buf_str(&text), "%ld %*x %*x %*x %llx", &call, &timeout) == 2 &&
	       call == SYS_futex && timeout == 0;
}

static void wait_until_at_rest(const struct room *room)
{
	uint64_t end = clock_monotonic_ms() + PATIENCE_S * 1000;

	while (!is_at_rest(room->tid)) {
		if (clock_monotonic_ms() > end)
			fail_msg("The thread does not rest");
		sched_yield();
	}
}

/* ---- the room ---- */

static void start_server(struct room *room)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	room->server_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(room->server_fd >= 0);
	assert_int_equal(bind(room->server_fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(room->server_fd, FETCHES), 0);
	assert_int_equal(getsockname(room->server_fd, (struct sockaddr *)&address, &len), 0);
	snprintf(room->server_url, sizeof(room->server_url), "http://127.0.0.1:%u/x",
		ntohs(address.sin_port));
}

static void *end_at_once(void *arg)
{
	return arg;
}

/* With a process's first thread the thread sanitizer starts one of its own: not when ours are counted. */
static void start_first_thread(void)
{
	pthread_t first;

	assert_int_equal(pthread_create(&first, NULL, end_at_once, NULL), 0);
	pthread_join(first, NULL);
}

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof(*room));
	pid_t before[THREADS_MAX], after[THREADS_MAX];
	unsigned n_before;
	struct ota_err err = {0};

	if (!room || tmp_dir_setup((void **)&room->dir) < 0)
		return -1;
	room->store = cache_room_open(room->dir, BOOT_1);
	room->table = inflight_new(room->store, &room->counters);
	start_server(room);
	start_first_thread();
	n_before = list_threads(before);
	if (fetcher_start(&(struct fetcher_config){0}, &room->fetcher, &err) < 0)
		fail_msg("%s", err.msg);
	room->tid = new_thread(before, n_before, after, list_threads(after));
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;

	fetcher_stop(room->fetcher);
	fetcher_free(room->fetcher);
	inflight_free(room->table);
	cache_store_free(room->store);
	close(room->server_fd);
	tmp_dir_teardown((void **)&room->dir);
	free(room);
	return 0;
}

/* Have @url fetched, with a reader that is asleep when it begins. */
static void ask(struct room *room, struct asker *a, const char *url)
{
	struct flight_order order = {
		.url = strdup(url), .key = cache_key_of_url(url), .keep = FLIGHT_SHARE};
	const struct flight_sleeper sleeper = {.sleep = on_sleep, .wake = on_wake, .ctx = a};
	struct flight *f = NULL;
	struct flight_answer answer;
	struct ota_err err = {0};

	if (inflight_join(room->table, inflight_epoch(room->table), &order, &sleeper, &a->reader,
		    &f, &err) < 0)
		fail_msg("%s", err.msg);
	flight_order_done(&order);
	assert_non_null(f);
	assert_int_equal(flight_reader_look(a->reader, false, &answer), FLIGHT_WAITING);
	fetcher_take(room->fetcher, f);
}

static void wait_until_failed(struct asker *a, struct flight_answer *ret_answer)
{
	struct timespec end;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&a->lock);
	while (a->sleeps && r == 0)
		r = pthread_cond_timedwait(&a->woken, &a->lock, &end);
	pthread_mutex_unlock(&a->lock);
	if (r != 0)
		fail_msg("Nobody took up the fetch");
	assert_int_equal(flight_reader_look(a->reader, false, ret_answer), FLIGHT_FAILED);
	flight_reader_leave(a->reader);
}

/* A fetch that ends as soon as the thread looks at it. */
static void fetch_what_cannot_be_asked_for(struct room *room)
{
	struct asker a = ASKER_INIT;
	struct flight_answer answer = {0};

	ask(room, &a, "gopher://nowhere/x");
	wait_until_failed(&a, &answer);
	assert_int_equal(answer.err.errnum, -EINVAL);
}

/* Until the request of a fetch is at the server, which keeps it. */
static int accept_request(const struct room *room)
{
	int fd = accept4(room->server_fd, NULL, NULL, SOCK_CLOEXEC);
	char first;

	assert_true(fd >= 0);
	assert_int_equal(recv(fd, &first, 1, 0), 1);
	return fd;
}

/* ---- tests ---- */

static void without_a_fetch_the_thread_waits_without_an_end(void **state)
{
	wait_until_at_rest(*state);
}

static void a_fetch_wakes_the_thread_which_then_rests_again(void **state)
{
	for (int i = 0; i < FETCHES; i++) {
		wait_until_at_rest(*state);
		fetch_what_cannot_be_asked_for(*state);
	}
	wait_until_at_rest(*state);
}

static void a_fetch_beside_another_that_waits_for_its_server_is_taken_up_at_once(void **state)
{
	struct room *room = *state;
	struct asker a = ASKER_INIT;
	struct flight_answer answer = {0};
	uint64_t start_ms;
	int fd;

	ask(room, &a, room->server_url);
	fd = accept_request(room);
	start_ms = clock_monotonic_ms();
	for (int i = 0; i < FETCHES; i++)
		fetch_what_cannot_be_asked_for(room);
	assert_true(clock_monotonic_ms() - start_ms < FETCHES_MAX_MS);
	fetcher_stop(room->fetcher);
	wait_until_failed(&a, &answer);
	fetcher_free(TAKE_PTR(room->fetcher));
	close(fd);
}

static void stopping_ends_what_is_under_way_and_what_comes_later(void **state)
{
	struct room *room = *state;
	struct asker under_way = ASKER_INIT, late = ASKER_INIT;
	struct flight_answer answer = {0};
	int fd;

	ask(room, &under_way, room->server_url);
	fd = accept_request(room);
	fetcher_stop(room->fetcher);
	wait_until_failed(&under_way, &answer);
	assert_int_equal(answer.err.errnum, -ECANCELED);
	assert_string_equal(answer.err.msg, "The proxy ends");
	ask(room, &late, "http://127.0.0.1/late");
	answer = (struct flight_answer){0};
	wait_until_failed(&late, &answer);
	assert_int_equal(answer.err.errnum, -ECANCELED);
	assert_string_equal(answer.err.msg, "The proxy ends");
	fetcher_free(TAKE_PTR(room->fetcher));
	close(fd);
}

static void stopping_wakes_the_thread_that_rests(void **state)
{
	struct room *room = *state;

	wait_until_at_rest(room);
	fetcher_stop(room->fetcher); /* returns once the thread has ended */
	fetcher_free(TAKE_PTR(room->fetcher));
}

#define room_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(without_a_fetch_the_thread_waits_without_an_end),
		room_test(a_fetch_wakes_the_thread_which_then_rests_again),
		room_test(a_fetch_beside_another_that_waits_for_its_server_is_taken_up_at_once),
		room_test(stopping_ends_what_is_under_way_and_what_comes_later),
		room_test(stopping_wakes_the_thread_that_rests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
