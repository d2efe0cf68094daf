/*
 * test_fetcher: fetches that are taken, run and ended in one thread. The server is a socket on the loopback that accepts
 * and, but for one test, never answers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "otaproxy/fetcher.h"
#include "tests/unit/cache_room.h"
#include "tests/unit/sentence.h"

enum {
	PATIENCE_MS = 20 * 1000, /* what has not happened by then never will */
};

struct room {
	struct tmp_dir *dir;
	struct cache_store *store;
	struct counters counters;
	struct inflight *table;
	struct fetcher *fetcher;
	int server_fd;
	char server_url[64];
};

static void start_server(struct room *room)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	room->server_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(room->server_fd >= 0);
	assert_int_equal(bind(room->server_fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(room->server_fd, 8), 0);
	assert_int_equal(getsockname(room->server_fd, (struct sockaddr *)&address, &len), 0);
	snprintf(room->server_url, sizeof(room->server_url), "http://127.0.0.1:%u/x",
		ntohs(address.sin_port));
}

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof(*room));
	struct ota_err err = {0};

	if (!room || tmp_dir_setup((void **)&room->dir) < 0)
		return -1;
	room->store = cache_room_open(room->dir, BOOT_1);
	room->table = inflight_new(room->store, &room->counters);
	start_server(room);
	if (fetcher_new(&(struct fetcher_config){0}, &room->fetcher, &err) < 0)
		fail_msg("%s", err.msg);
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;

	fetcher_end(room->fetcher);
	fetcher_free(room->fetcher);
	fetcher_free(NULL);
	inflight_free(room->table);
	cache_store_free(room->store);
	close(room->server_fd);
	tmp_dir_teardown((void **)&room->dir);
	free(room);
	return 0;
}

static void on_sleep(void *ctx)
{
}

/* As a connection of the same thread does. */
static void on_wake(void *ctx)
{
	struct room *room = ctx;

	fetcher_yield(room->fetcher);
}

static struct flight_reader *ask_for(struct room *room, const char *url, struct cache_key key)
{
	struct flight_order order = {.url = strdup(url), .key = key, .keep = FLIGHT_SHARE};
	const struct flight_sleeper sleeper = {.sleep = on_sleep, .wake = on_wake, .ctx = room};
	struct flight_reader *reader = NULL;
	struct flight *f = NULL;
	struct flight_answer answer;

	assert_int_equal(inflight_join(room->table, inflight_epoch(room->table), &order, &sleeper,
				 &reader, &f),
		0);
	flight_order_done(&order);
	assert_non_null(f);
	assert_int_equal(flight_reader_look(reader, false, &answer), FLIGHT_WAITING);
	fetcher_take(room->fetcher, f);
	return reader;
}

static struct flight_reader *ask(struct room *room, const char *url)
{
	return ask_for(room, url, cache_key_of_url(url));
}

static void assert_failed(struct flight_reader *reader, int errnum, const char *sentence)
{
	struct flight_answer answer = {0};

	assert_int_equal(flight_reader_look(reader, false, &answer), FLIGHT_FAILED);
	assert_int_equal(answer.err.errnum, errnum);
	assert_non_null(strstr(answer.err.msg, sentence));
	flight_reader_leave(reader);
}

static void *wake(void *ctx)
{
	fetcher_wakeup(ctx);
	return NULL;
}

/* ---- tests ---- */

static void what_cannot_be_asked_for_fails_at_once(void **state)
{
	struct room *room = *state;

	assert_failed(ask(room, "gopher://nowhere/x"), -EINVAL, "gopher://nowhere/x");
}

static void refused_connection_is_told_to_the_reader(void **state)
{
	struct room *room = *state;
	uint64_t start_ms = clock_monotonic_ms();
	struct flight_answer answer;
	struct flight_reader *reader;

	close(room->server_fd);
	room->server_fd = -1;
	reader = ask(room, room->server_url);
	while (flight_reader_look(reader, false, &answer) == FLIGHT_WAITING) {
		assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS);
		fetcher_run(room->fetcher, PATIENCE_MS);
	}
	assert_failed(reader, answer.err.errnum, room->server_url);
}

static void run_ends_when_another_thread_wakes_it(void **state)
{
	struct room *room = *state;
	struct flight_reader *reader = ask(room, room->server_url);
	uint64_t start_ms = clock_monotonic_ms();
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wake, room->fetcher), 0);
	fetcher_run(room->fetcher, PATIENCE_MS);
	assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS / 2);
	pthread_join(thread, NULL);
	fetcher_end(room->fetcher);
	assert_failed(reader, -ECANCELED, "The proxy ends");
}

static void run_ends_when_there_is_something_to_read(void **state)
{
	struct room *room = *state;
	uint64_t start_ms = clock_monotonic_ms();
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	fetcher_watch(room->fetcher, ends[0]);
	assert_int_equal(write(ends[1], "x", 1), 1);
	fetcher_run(room->fetcher, PATIENCE_MS);
	assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS / 2);
	fetcher_watch(room->fetcher, -1);
	close(ends[0]);
	close(ends[1]);
}

static void end_ends_all_that_is_under_way(void **state)
{
	struct room *room = *state;
	struct flight_reader *a = ask(room, room->server_url), *b = ask(room, "http://127.0.0.1/b");

	fetcher_run(room->fetcher, 1);
	fetcher_end(room->fetcher);
	assert_failed(a, -ECANCELED, "The proxy ends");
	assert_failed(b, -ECANCELED, "The proxy ends");
}

/* Run until the server is asked, and have it answer with @text. */
static void answer_with(struct room *room, const char *text)
{
	struct pollfd server = {.fd = room->server_fd, .events = POLLIN};
	uint64_t start_ms = clock_monotonic_ms();
	int fd;

	while (poll(&server, 1, 0) == 0) {
		assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS);
		fetcher_run(room->fetcher, 10);
	}
	fd = accept4(room->server_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	/* Before the question: it is of no interest. */
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	while (fetcher_run(room->fetcher, 10), recv(fd, (char[4096]){0}, 4096, MSG_DONTWAIT) != 0)
		assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS);
	close(fd);
}

static void upper_proxy_that_has_another_content_is_not_believed(void **state)
{
	struct room *room = *state;
	struct cache_key key = cache_room_key("hello", CACHE_PLAIN);
	struct cache_key other = cache_room_key("other", CACHE_PLAIN);
	char hex[DIGEST_HEX_MAX], text[512], upper[sizeof(room->server_url)];
	struct fetcher_config config = {.upper_proxy = upper};
	struct flight_answer answer = {0};
	struct flight_reader *reader;

	fetcher_free(TAKE_PTR(room->fetcher));
	snprintf(upper, sizeof(upper), "%.*s", (int)strlen(room->server_url) - 2, room->server_url);
	assert_int_equal(fetcher_new(&config, &room->fetcher, NULL), 0);
	reader = ask_for(room, "http://origin/x", key);
	digest_to_hex(&other.digest, hex);
	snprintf(text, sizeof(text),
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nota-file-cache-control: "
		"file_sha256=%s\r\n\r\nother",
		hex);
	answer_with(room, text);
	assert_int_equal(flight_reader_look(reader, false, &answer), FLIGHT_FAILED);
	assert_int_equal(answer.err.errnum, -EPROTO);
	assert_sentence(&answer.err, "The upper proxy answers with another content");
	flight_reader_leave(reader);
}

#define room_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(what_cannot_be_asked_for_fails_at_once),
		room_test(refused_connection_is_told_to_the_reader),
		room_test(run_ends_when_another_thread_wakes_it),
		room_test(run_ends_when_there_is_something_to_read),
		room_test(end_ends_all_that_is_under_way),
		room_test(upper_proxy_that_has_another_content_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
