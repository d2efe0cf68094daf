/*
 * Waiting for a proxy, with a listener that comes late, never, or says something odd. It is played by the test itself
 * whenever it is asked whether to give up, so one thread does it all; nobody sleeps, the clock is moved instead.
 * Loopback only.
 *
 * Elsewhere: an update that waits (test_updater), a proxy that is a process of ours (test_proxy_child).
 */
#include "otaclient/proxy/proxy_ready.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

enum {
	LONG_MS = 180 * 1000,
	ROUNDS_MAX = 10000, /* many times more than any wait here takes */
};

static uint64_t skipped_ms;

static uint64_t real_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t test_monotonic_ms(void)
{
	return skipped_ms + real_ms();
}

static void test_sleep_ms(uint64_t ms)
{
	skipped_ms += ms;
}

static int64_t test_unix_s(void)
{
	return 1790000000;
}

static void test_random(void *ret_data, size_t len_bytes)
{
	memset(ret_data, 7, len_bytes);
}

static const struct clock_ops test_clock = {
	.monotonic_ms = test_monotonic_ms,
	.unix_s = test_unix_s,
	.sleep_ms = test_sleep_ms,
	.random = test_random,
};

/* ---- the bench: a port, and what is played behind it ---- */

struct bench {
	int fd; /* has the port from the start, so that nobody else gets it */
	char url[64];
	unsigned n_asked, n_connections, n_checks;
	unsigned listen_at;  /* in which round it begins to listen; 0 = never */
	unsigned silent_for; /* so many connections are taken and not answered */
	unsigned stop_at;    /* in which round to give up; 0 = never */
	const char *answer;  /* NULL = never one */
	uint64_t round_ms;   /* what a round takes */
	int kept[8];         /* connections without an answer */
	unsigned n_kept;
	int check_before[3], check_after[3]; /* what check() returns, one after the other */
	unsigned n_before, n_after;
	struct ota_err err;
};

static void serve(struct bench *b)
{
	char request[4096];
	int fd = accept4(b->fd, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return;
	b->n_connections++;
	if (!b->answer || b->n_connections <= b->silent_for) {
		assert_true(b->n_kept < ARRAY_SIZE(b->kept));
		b->kept[b->n_kept++] = fd;
		return;
	}
	n = recv(fd, request, sizeof(request) - 1, 0);
	assert_true(n > 0);
	request[n] = '\0';
	assert_memory_equal(request, "GET / HTTP/1.1\r\n", 16);
	n = (ssize_t)strlen(b->answer);
	assert_int_equal(send(fd, b->answer, (size_t)n, MSG_NOSIGNAL), n);
	close(fd);
}

static bool play(void *ctx)
{
	struct bench *b = ctx;

	assert_true(++b->n_asked < ROUNDS_MAX);
	skipped_ms += b->round_ms;
	if (b->n_asked == b->listen_at)
		assert_int_equal(listen(b->fd, 8), 0);
	serve(b);
	return b->n_asked == b->stop_at;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	b->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(b->fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(b->fd, (struct sockaddr *)&a, &len), 0);
	snprintf(b->url, sizeof(b->url), "http://127.0.0.1:%u", ntohs(a.sin_port));
	b->answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	skipped_ms = 0;
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	while (b->n_kept > 0)
		close(b->kept[--b->n_kept]);
	close(b->fd);
	free(b);
	return 0;
}

static int check(void *ctx, bool answered, struct ota_err *ret_why)
{
	struct bench *b = ctx;
	unsigned *n = answered ? &b->n_after : &b->n_before;
	const int *results = answered ? b->check_after : b->check_before;
	int r = *n < 3 ? results[*n] : 0;

	++*n;
	return r < 0 ? ota_err_set(ret_why, r, OTA_E_OTAPROXY_FAILED, "it is odd %s its answer",
			       answered ? "after" : "before")
		     : 0;
}

static int wait_with(struct bench *b, uint32_t timeout_ms, bool checked)
{
	const struct proxy_ready ready = {
		.name = "The proxy",
		.url = b->url,
		.timeout_ms = timeout_ms,
		.stop = play,
		.stop_ctx = b,
		.check = checked ? check : NULL,
		.check_ctx = b,
	};

	return proxy_ready_wait(&ready, &b->err);
}

/* The sentence begins so; what follows is libcurl's. */
static void assert_begins(const struct bench *b, const char *begin)
{
	if (strncmp(b->err.msg, begin, strlen(begin)) != 0)
		fail_msg("\"%s\" does not begin with \"%s\"", b->err.msg, begin);
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
}

/* ---- tests ---- */

static void any_answer_will_do(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nno.\n",
		"HTTP/1.0 403 Forbidden\r\n\r\nnot you",
		"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
		/* To where nobody listens. */
		"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
		/* The rest does not matter. */
		"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\nand then",
	};
	struct bench *b = *state;

	b->listen_at = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
		b->answer = answers[i];
		b->n_asked = 0;
		if (wait_with(b, LONG_MS, false) != 0)
			fail_msg("%s: %s", answers[i], b->err.msg);
		assert_int_equal(b->n_connections, i + 1);
	}
	assert_int_equal(skipped_ms, 0);
}

static void one_that_comes_late_is_waited_for(void **state)
{
	struct bench *b = *state;

	b->listen_at = 600;
	b->answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
	assert_int_equal(wait_with(b, LONG_MS, false), 0);
	assert_int_equal(b->n_connections, 1);
	assert_true(skipped_ms > 140 * 1000);
}

static void one_that_never_comes_is_given_up(void **state)
{
	struct bench *b = *state;
	uint64_t began = real_ms();
	char begin[160];

	assert_int_equal(wait_with(b, LONG_MS, false), -ETIMEDOUT);
	snprintf(begin, sizeof(begin),
		"The proxy was not ready within 180 s: Cannot fetch %s: Failed to connect to ",
		b->url);
	assert_begins(b, begin);
	assert_true(real_ms() - began + skipped_ms >= LONG_MS - 1000);
	assert_true(skipped_ms <= LONG_MS);
	b->n_asked = 0;
	assert_int_equal(wait_with(b, 1500, false), -ETIMEDOUT);
	assert_begins(b, "The proxy was not ready within 1500 ms: Cannot fetch ");
}

static void one_that_takes_the_connection_and_says_nothing_is_asked_again(void **state)
{
	struct bench *b = *state;

	b->listen_at = 1;
	b->silent_for = 2;
	b->round_ms = 1000;
	assert_int_equal(wait_with(b, LONG_MS, false), 0);
	assert_int_equal(b->n_connections, 3);
}

static void what_is_not_http_is_no_answer(void **state)
{
	struct bench *b = *state;
	char begin[160];

	b->listen_at = 1;
	b->answer = "SSH-2.0-OpenSSH_9.2\r\n";
	assert_int_equal(wait_with(b, 1000, false), -ETIMEDOUT);
	snprintf(begin, sizeof(begin),
		"The proxy was not ready within 1 s: Cannot fetch %s: ", b->url);
	assert_begins(b, begin);
	assert_true(b->n_connections > 1);
}

static void whoever_waits_can_be_stopped_between_two_tries(void **state)
{
	struct bench *b = *state;

	b->stop_at = 3;
	assert_int_equal(wait_with(b, LONG_MS, false), -ECANCELED);
	assert_string_equal(b->err.msg, "The proxy is not waited for any more");
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
	assert_int_equal(b->n_asked, 3);
}

/* A try of its own takes longer. */
static void whoever_waits_can_be_stopped_within_a_try(void **state)
{
	struct bench *b = *state;

	b->listen_at = 1;
	b->stop_at = 4;
	b->answer = NULL;
	assert_int_equal(wait_with(b, LONG_MS, false), -ECANCELED);
	assert_string_equal(b->err.msg, "The proxy is not waited for any more");
	assert_int_equal(b->n_connections, 1);
	assert_int_equal(skipped_ms, 0);
}

static void who_knows_more_of_it_has_a_say(void **state)
{
	struct bench *b = *state;

	/* Not yet; then asked, and it was another's answer; then well. */
	b->listen_at = 1;
	b->check_before[0] = b->check_after[0] = -EAGAIN;
	assert_int_equal(wait_with(b, LONG_MS, true), 0);
	assert_int_equal(b->n_before, 3);
	assert_int_equal(b->n_after, 2);
	assert_int_equal(b->n_connections, 2);

	b->n_before = b->n_after = 0;
	b->check_before[0] = b->check_after[0] = 0;
	b->check_before[1] = -ESHUTDOWN;
	b->check_after[0] = -EAGAIN;
	assert_int_equal(wait_with(b, LONG_MS, true), -ESHUTDOWN);
	assert_string_equal(b->err.msg, "it is odd before its answer");

	b->n_before = b->n_after = 0;
	b->check_before[1] = 0;
	assert_int_equal(wait_with(b, 400, true), -ETIMEDOUT);
	assert_string_equal(
		b->err.msg, "The proxy was not ready within 400 ms: it is odd after its answer");
}

static void what_is_no_url_cannot_be_asked(void **state)
{
	struct bench *b = *state;

	snprintf(b->url, sizeof(b->url), "ftp://10.0.0.1");
	assert_int_equal(wait_with(b, LONG_MS, false), -EINVAL);
	assert_string_equal(b->err.msg,
		"The proxy cannot be asked whether it serves: The URL \"ftp://10.0.0.1\" begins "
		"with neither http:// nor https://");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(any_answer_will_do),
		T(one_that_comes_late_is_waited_for),
		T(one_that_never_comes_is_given_up),
		T(one_that_takes_the_connection_and_says_nothing_is_asked_again),
		T(what_is_not_http_is_no_answer),
		T(whoever_waits_can_be_stopped_between_two_tries),
		T(whoever_waits_can_be_stopped_within_a_try),
		T(who_knows_more_of_it_has_a_say),
		T(what_is_no_url_cannot_be_asked),
	};

	clock_set_ops(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
