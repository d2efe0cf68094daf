/*
 * The HTTP client against a server that misbehaves on purpose, and, for HTTP/2, against nginx. Loopback only.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/run.h"
#include "common/net/http.h"
#include "common/net/http_answer.h"
#include "tests/support/origin.h"
#include "tests/unit/in_child.h"

enum {
	MAX_BYTES = 1 << 20,
	STALL_MS = 200,
};

/* ---- a sink that keeps everything ---- */

struct body {
	struct buf got;
	unsigned n_restarts, n_ends,
		n_wrong;  /* n_wrong: how often end() still finds the bytes wrong */
	bool saw_control; /* the field ota-file-cache-control came */
	char control[128];
	int refuse; /* data() returns it */
	unsigned n_headers, n_begins;
	uint64_t begin_bytes; /* what begin() was told last */
	int refuse_begin;
	/* Back-pressure: every piece is refused at first and taken when it comes again. */
	bool full;
	unsigned n_pauses, n_asked;
	uint64_t full_until_ms; /* ready() says no until then */
	int give_up;            /* ready() returns it */
};

static int body_restart(void *ctx, struct ota_err *err)
{
	struct body *b = ctx;

	b->n_restarts++;
	b->got.len_bytes = 0;
	return 0;
}

static int body_header(void *ctx, const char *name, const char *value, struct ota_err *err)
{
	struct body *b = ctx;

	b->n_headers++;
	if (strcasecmp(name, "ota-file-cache-control") == 0) {
		b->saw_control = true;
		snprintf(b->control, sizeof(b->control), "%s", value);
	}
	return 0;
}

static int body_data(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	struct body *b = ctx;

	assert_true(b->n_begins > 0);
	return b->refuse ? b->refuse : buf_append(&b->got, data, len);
}

static int body_end(void *ctx, struct ota_err *err)
{
	struct body *b = ctx;

	b->n_ends++;
	if (b->n_wrong == 0)
		return 0;
	b->n_wrong--;
	return ota_err_set(err, -EAGAIN, OTA_E_OTA_IMAGE_INVALID, "These are not the bytes");
}

static int body_begin(void *ctx, uint64_t total_bytes, struct ota_err *err)
{
	struct body *b = ctx;

	b->n_begins++;
	b->begin_bytes = total_bytes;
	return b->refuse_begin;
}

static int body_data_slowly(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	struct body *b = ctx;

	assert_true(len <= HTTP_PIECE_MAX_BYTES);
	b->full = !b->full;
	if (!b->full)
		return body_data(ctx, data, len, err);
	b->n_pauses++;
	return -EBUSY;
}

static int body_ready(void *ctx)
{
	struct body *b = ctx;

	assert_true(b->full); /* nobody else is asked */
	b->n_asked++;
	if (b->give_up)
		return b->give_up;
	return clock_monotonic_ms() >= b->full_until_ms;
}

static const struct http_sink body_sink = {
	.restart = body_restart,
	.header = body_header,
	.begin = body_begin,
	.data = body_data,
	.end = body_end,
};

static void assert_pattern(const struct body *b, size_t size)
{
	assert_int_equal(b->got.len_bytes, size);
	for (size_t i = 0; i < size; i++)
		if ((uint8_t)b->got.data[i] != i % 251)
			fail_msg("byte %zu is %u", i, (uint8_t)b->got.data[i]);
}

/* ---- one server, one client, one request: what most tests need ---- */

struct bench {
	struct origin origin;
	pid_t nginx; /* 0 = none */
	struct http_config config;
	struct http_request request;
	struct http_result result;
	struct body body;
};

/* It ends what it does, and writes its log. */
static void stop_nginx(struct bench *b)
{
	if (b->nginx <= 0)
		return;
	kill(b->nginx, SIGQUIT);
	waitpid(b->nginx, NULL, 0);
	b->nginx = 0;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->config.retry_base_ms = 1;
	b->config.stall_timeout_ms = 10 * 1000;
	b->request.max_bytes = MAX_BYTES;
	b->request.sink = body_sink;
	b->request.sink_ctx = &b->body;
	*state = b;
	return b ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	origin_stop(&b->origin);
	stop_nginx(b);
	buf_done(&b->body.got);
	free(b);
	return 0;
}

static void serve(struct bench *b, const char *script)
{
	origin_start(&b->origin, &(struct origin_options){.script = script});
}

static int get_url(struct bench *b, const char *url)
{
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};

	if (http_client_new(&b->config, &c, &err) < 0)
		fail_msg("%s", err.msg);
	b->request.url = url;
	return http_get(c, &b->request, &b->result);
}

static int get(struct bench *b, const char *path)
{
	return get_url(b, origin_url(&b->origin, path));
}

static void assert_fetched(struct bench *b, size_t size)
{
	if (b->result.r != 0)
		fail_msg("%s", b->result.err.msg);
	assert_pattern(&b->body, size);
	assert_int_equal(b->body.n_ends, 1);
}

static void note_result(void *ctx, const struct http_result *result)
{
	*(struct http_result *)ctx = *result;
}

/* Like get(), but waits so shortly that paused transfers are asked without being woken. */
static int get_slowly(struct bench *b, const char *path)
{
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};

	if (http_client_new(&b->config, &c, &err) < 0)
		fail_msg("%s", err.msg);
	b->request.url = origin_url(&b->origin, path);
	b->request.sink.data = body_data_slowly;
	b->request.sink.ready = body_ready;
	b->request.done = note_result;
	b->request.done_ctx = &b->result;
	assert_int_equal(http_client_add(c, &b->request, &err), 0);
	while (http_client_pending(c) > 0)
		assert_int_equal(http_client_run(c, 1, &err), 0);
	return b->result.r;
}

/* ---- resume ---- */

static void a_file_arrives_whole(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->result.status, 200);
	assert_int_equal(b->result.wire_bytes, 300000);
	assert_int_equal(b->result.retries, 0);
	assert_int_equal(b->body.n_restarts, 0);
	assert_int_equal(origin_hits(&b->origin, "accept-encoding"), 0);
}

static void an_empty_file_is_a_file(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 0}]}");
	get(b, "/f");
	assert_fetched(b, 0);
}

static void fetch_resumes_after_connection_is_cut(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->result.retries, 1);
	assert_int_equal(b->result.wire_bytes, 300000);
	assert_int_equal(b->body.n_restarts, 0);
	assert_int_equal(origin_hits(&b->origin, ""), 2);
	assert_false(origin_saw(&b->origin, 0, "\"range\""));
	assert_true(origin_saw(&b->origin, 1, "\"range\": \"bytes=100000-\""));
	assert_true(origin_saw(&b->origin, 1, "\"if-range\": \"\\\"v1\\\"\""));
}

static void fetch_resumes_by_date_where_there_is_no_etag(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"last_modified\": \"Sat, 21 Nov "
		 "2026 00:00:00 GMT\","
		 " \"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"last_modified\": \"Sat, 21 Nov 2026 "
		 "00:00:00 GMT\"}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->body.n_restarts, 0);
	assert_true(origin_saw(&b->origin, 1, "\"if-range\": \"Sat, 21 Nov 2026 00:00:00 GMT\""));
}

static void fetch_resumes_after_a_stall(void **state)
{
	struct bench *b = *state;

	b->config.stall_timeout_ms = STALL_MS;
	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"stall_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_true(origin_saw(&b->origin, 1, "\"range\": \"bytes=100000-\""));
}

static void a_header_that_is_cut_is_no_answer(void **state)
{
	struct bench *b = *state;

	/* Behind the status line and behind fields; of a body, of a redirect, of nothing new. */
	serve(b, "{\"/f\": [{\"size\": 3000, \"cut_header\": 22}, {\"size\": 3000, \"cut_header\": "
		 "40},"
		 " {\"redirect\": \"/f\", \"cut_header\": 25}, {\"status\": 304, \"cut_header\": "
		 "25},"
		 " {\"status\": 103, \"cut_header\": 25}, {\"size\": 3000}],"
		 " \"/never\": [{\"size\": 0, \"cut_header\": 30}]}");
	get(b, "/f");
	assert_fetched(b, 3000);
	assert_int_equal(b->result.retries, 5);
	assert_int_equal(get(b, "/never"), -EIO);
	assert_int_equal(b->result.err.code, OTA_E_NETWORK);
	assert_non_null(
		strstr(b->result.err.msg, "/never: the server's answer ends in its header"));
}

/* Each byte comes in time, but the file never would. */
static void a_server_that_feeds_it_byte_by_byte_is_left(void **state)
{
	struct bench *b = *state;

	b->config.stall_timeout_ms = STALL_MS;
	b->request.tries_max = 2;
	b->request.outlast_outages = true;
	b->request.total_timeout_ms = 60 * 1000;
	serve(b, "{\"/f\": [{\"size\": 300000, \"piece\": 1, \"piece_delay_ms\": 10}],"
		 " \"/fields\": [{\"slow_fields_ms\": 10}]}");
	assert_int_equal(get(b, "/f"), -ETIMEDOUT);
	assert_non_null(strstr(b->result.err.msg, "/f: hardly a byte came for too long"));
	assert_int_equal(b->result.retries, 1);
	b->request.outlast_outages = false;
	assert_int_equal(get(b, "/fields"), -ETIMEDOUT);
	assert_non_null(strstr(b->result.err.msg, "/fields: hardly a byte came for too long"));
}

static void a_server_without_ranges_is_asked_from_the_start(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"cut_after\": 100000}, {\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->body.n_restarts, 1);
	assert_int_equal(b->result.wire_bytes, 400000);
	assert_false(origin_saw(&b->origin, 1, "\"range\""));
}

static void a_server_that_says_it_has_no_ranges_is_believed(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"etag\": \"\\\"v1\\\"\", \"cut_after\": 100000,"
		 " \"headers\": {\"Accept-Ranges\": \"none\"}}, {\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_false(origin_saw(&b->origin, 1, "\"range\""));
}

static void a_file_that_changed_meanwhile_is_not_continued(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 200000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v2\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_true(origin_saw(&b->origin, 1, "\"range\": \"bytes=100000-\""));
	assert_int_equal(b->body.n_restarts, 1);
}

static void a_weak_etag_does_not_name_bytes(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"W/\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"W/\\\"v1\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_false(origin_saw(&b->origin, 1, "\"range\""));
}

static void a_part_from_elsewhere_is_not_taken(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", \"range_shift\": "
		 "10},"
		 "{\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(origin_hits(&b->origin, ""), 3);
	assert_false(origin_saw(&b->origin, 2, "\"range\""));
	assert_int_equal(b->body.n_restarts, 1);
}

static void a_part_of_a_longer_file_is_not_taken(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", \"range_total\": "
		 "400000},"
		 "{\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_false(origin_saw(&b->origin, 2, "\"range\""));
}

static void a_part_of_another_version_is_not_taken(void **state)
{
	struct bench *b = *state;

	/* A server that does not understand If-Range. */
	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", \"headers\": "
		 "{\"ETag\": \"\\\"v2\\\"\"}},"
		 "{\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_false(origin_saw(&b->origin, 2, "\"range\""));
}

static void a_range_behind_the_end_leads_back_to_the_start(void **state)
{
	struct bench *b = *state;

	/* Without a length, the end of the body is not seen before the connection breaks. */
	serve(b, "{\"/f\": [{\"size\": 100000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"content_length\": \"chunked\","
		 " \"cut_after\": 100000},"
		 "{\"size\": 100000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 100000);
	assert_int_equal(origin_hits(&b->origin, ""), 3);
	assert_true(origin_saw(&b->origin, 1, "\"range\": \"bytes=100000-\""));
	assert_false(origin_saw(&b->origin, 2, "\"range\""));
}

static void a_body_shorter_than_announced_is_a_cut(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 100000, \"content_length\": 200000}, {\"size\": 200000}]}");
	get(b, "/f");
	assert_fetched(b, 200000);
	assert_int_equal(b->result.retries, 1);
}

/* ---- how often ---- */

static void a_try_that_brought_the_body_further_is_free(void **state)
{
	struct bench *b = *state;

	b->request.tries_max = 2;
	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 20000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->result.retries, 14);
	assert_int_equal(b->result.wire_bytes, 300000);
}

static void tries_that_lead_nowhere_come_to_an_end(void **state)
{
	struct bench *b = *state;

	/* Bytes flow all the time, so no watchdog would ever notice. */
	b->request.outlast_outages = true;
	serve(b, "{\"/f\": [{\"size\": 300000, \"cut_after\": 100000}]}");
	assert_int_equal(get(b, "/f"), -EIO);
	assert_int_equal(b->result.err.code, OTA_E_NETWORK);
	/* The first brought the body further, and so was free. */
	assert_int_equal(origin_hits(&b->origin, ""), HTTP_TRIES_MAX + 1);
}

static void a_failing_server_gets_time_to_recover(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"hang_up\": true}, {\"status\": 500}, {\"status\": 503}, "
		 "{\"status\": 429},"
		 " {\"size\": 1000}]}");
	get(b, "/f");
	assert_fetched(b, 1000);
	assert_int_equal(b->result.retries, 4);
}

static void a_server_that_always_fails_ends_the_request(void **state)
{
	struct bench *b = *state;
	char sentence[256];

	serve(b, "{\"/f\": [{\"status\": 500, \"body\": \"oh no\"}]}");
	assert_int_equal(get(b, "/f"), -EIO);
	snprintf(sentence, sizeof(sentence), "Cannot fetch %s: the server failed (status 500)",
		origin_url(&b->origin, "/f"));
	assert_string_equal(b->result.err.msg, sentence);
	assert_int_equal(b->result.err.code, OTA_E_NETWORK);
	assert_int_equal(b->result.status, 500);
	assert_int_equal(origin_hits(&b->origin, ""), HTTP_TRIES_MAX);
	assert_int_equal(b->body.got.len_bytes, 0);
}

static void an_outage_can_be_outlasted(void **state)
{
	struct bench *b = *state;

	b->request.outlast_outages = true;
	b->request.tries_max = 2;
	serve(b, "{\"/f\": [{\"hang_up\": true}, {\"status\": 502}, {\"status\": 503}, "
		 "{\"status\": 504},"
		 " {\"status\": 502}, {\"size\": 1000}]}");
	get(b, "/f");
	assert_fetched(b, 1000);
	assert_int_equal(b->result.retries, 5);
}

static void retry_after_is_honoured(void **state)
{
	struct bench *b = *state;
	uint64_t started = clock_monotonic_ms();

	serve(b, "{\"/f\": [{\"status\": 503, \"headers\": {\"Retry-After\": \"1\"}}, {\"size\": "
		 "10}]}");
	get(b, "/f");
	assert_fetched(b, 10);
	assert_true(clock_monotonic_ms() - started >= 1000);
}

static void refusals_are_final_and_name_their_cause(void **state)
{
	/* clang-format off */
	static const struct {
		const char *path;
		int r;
		enum ota_code code;
		const char *reason;
	} rows[] = {
		{"/401", -EACCES, OTA_E_COOKIE_INVALID,    "the server wants other credentials (status 401)"},
		{"/403", -EACCES, OTA_E_COOKIE_INVALID,    "the server forbids it (status 403)"},
		{"/404", -ENOENT, OTA_E_OTA_IMAGE_INVALID, "the server does not have it (status 404)"},
		{"/410", -ENOENT, OTA_E_OTA_IMAGE_INVALID, "the server does not have it any more (status 410)"},
		{"/400", -EPROTO, OTA_E_NETWORK,           "the server answers with status 400"},
		{"/204", -EPROTO, OTA_E_NETWORK,           "the server answers with status 204"},
		{"/206", -EPROTO, OTA_E_NETWORK,           "the server answers with status 206"},
		{"/301", -EPROTO, OTA_E_NETWORK,           "the server answers with status 301"},
		{"/304", -EPROTO, OTA_E_NETWORK,           "the server answers with status 304"},
		{"/508", -ELOOP,  OTA_E_NETWORK,           "the request goes in a loop (status 508)"},
	};
	/* clang-format on */
	struct bench *b = *state;

	serve(b, "{\"/401\": [{\"status\": 401, \"body\": \"x\"}], \"/403\": [{\"status\": 403}],"
		 "\"/410\": [{\"status\": 410}], \"/400\": [{\"status\": 400}], \"/204\": "
		 "[{\"status\": 204}],"
		 "\"/206\": [{\"status\": 206, \"size\": 100}], \"/301\": [{\"status\": 301}],"
		 "\"/304\": [{\"status\": 304}], \"/508\": [{\"status\": 508}]}");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(get(b, rows[i].path), rows[i].r);
		assert_int_equal(b->result.err.code, rows[i].code);
		assert_non_null(strstr(b->result.err.msg, rows[i].reason));
		assert_non_null(strstr(b->result.err.msg, rows[i].path));
		assert_int_equal(b->result.status, atoi(rows[i].path + 1));
		assert_int_equal(b->body.got.len_bytes, 0);
	}
	assert_int_equal(origin_hits(&b->origin, ""), ARRAY_SIZE(rows));
}

static void the_last_status_is_kept_whatever_came_behind_it(void **state)
{
	struct bench *b = *state;

	b->request.tries_max = 2;
	serve(b, "{\"/401\": [{\"status\": 503}, {\"status\": 401}],"
		 "\"/503\": [{\"status\": 503}, {\"hang_up\": true}],"
		 "\"/late\": [{\"status\": 201, \"size\": 1000, \"stall_after\": 10}]}");
	assert_int_equal(get(b, "/401"), -EACCES);
	assert_int_equal(b->result.status, 401);
	assert_int_equal(get(b, "/503"), -EIO);
	assert_int_equal(b->result.status, 503);
	b->request.total_timeout_ms = 300;
	assert_int_equal(get(b, "/late"), -ETIMEDOUT);
	assert_int_equal(b->result.status, 201);
}

static void an_endless_error_page_is_not_read(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"status\": 404, \"endless\": true}]}");
	assert_int_equal(get(b, "/f"), -ENOENT);
	assert_int_equal(b->result.wire_bytes, 0);
}

static void fields_without_an_end_are_not_kept(void **state)
{
	/* clang-format off */
	static const struct {
		const char *path, *sentence;
	} cases[] = {
		{"/header",  "the server sends more than 65536 bytes of header and trailer fields"},
		{"/trailer", "the server sends more than 65536 bytes of header and trailer fields"},
		{"/error",   "the server sends more than 65536 bytes of header and trailer fields"},
		{"/line",    "a line of its header or trailer is too long, or memory is short"},
	};
	/* clang-format on */
	struct bench *b = *state;

	serve(b, "{\"/header\": [{\"endless_fields\": \"header\"}],"
		 " \"/trailer\": [{\"size\": 10, \"endless_fields\": \"trailer\"}],"
		 " \"/error\": [{\"status\": 500, \"size\": 10, \"endless_fields\": \"trailer\"}],"
		 " \"/line\": [{\"endless_fields\": \"line\"}]}");
	b->request.total_timeout_ms = 20 * 1000;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(get(b, cases[i].path), -EPROTO);
		if (!strstr(b->result.err.msg, cases[i].sentence))
			fail_msg("%s", b->result.err.msg);
		assert_int_equal(origin_hits(&b->origin, cases[i].path), 1);
	}
	assert_int_equal(b->body.n_ends, 0);
}

static void nobody_listening_is_an_error_with_a_name(void **state)
{
	struct bench *b = *state;
	unsigned port;

	serve(b, "{}");
	port = b->origin.port;
	origin_stop(&b->origin);
	b->origin.port = port;
	b->request.tries_max = 3;
	assert_int_equal(get(b, "/f"), -EIO);
	assert_int_equal(b->result.err.code, OTA_E_NETWORK);
	assert_int_equal(b->result.retries, 2);
	assert_non_null(strstr(b->result.err.msg, "Cannot fetch http://127.0.0.1:"));
}

static void the_time_for_all_tries_is_kept(void **state)
{
	struct bench *b = *state;
	uint64_t started;

	b->request.total_timeout_ms = 300;
	serve(b,
		"{\"/stall\": [{\"size\": 1000, \"stall_after\": 10}], \"/503\": [{\"status\": 503,"
		" \"headers\": {\"Retry-After\": \"20\"}}]}");
	started = clock_monotonic_ms();
	assert_int_equal(get(b, "/stall"), -ETIMEDOUT);
	assert_int_equal(get(b, "/503"), -ETIMEDOUT);
	assert_true(clock_monotonic_ms() - started < 5000);
	assert_non_null(strstr(b->result.err.msg, "its time is up"));
}

/* ---- limits and wrong bytes ---- */

static void more_than_the_limit_is_refused_by_its_length(void **state)
{
	struct bench *b = *state;

	b->request.max_bytes = 1000;
	serve(b, "{\"/f\": [{\"size\": 1001}]}");
	assert_int_equal(get(b, "/f"), -EFBIG);
	assert_int_equal(b->result.err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_non_null(strstr(b->result.err.msg, "the server sends more than the 1000 bytes"));
	assert_int_equal(b->body.got.len_bytes, 0);
}

static void exactly_the_limit_is_fine(void **state)
{
	struct bench *b = *state;

	b->request.max_bytes = 1000;
	serve(b, "{\"/f\": [{\"size\": 1000, \"content_length\": null}]}");
	get(b, "/f");
	assert_fetched(b, 1000);
}

static void an_endless_body_is_cut_at_the_limit(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"endless\": true}]}");
	assert_int_equal(get(b, "/f"), -EFBIG);
	assert_true(b->body.got.len_bytes <= MAX_BYTES);
	/* Once more: it may have come from a cache. */
	assert_int_equal(origin_hits(&b->origin, ""), 2);
}

static void wrong_bytes_are_asked_for_again(void **state)
{
	struct bench *b = *state;

	b->body.n_wrong = 1;
	serve(b, "{\"/f\": [{\"size\": 1000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	assert_int_equal(get(b, "/f"), 0);
	assert_pattern(&b->body, 1000);
	assert_int_equal(b->body.n_restarts, 1);
	assert_false(origin_saw(&b->origin, 1, "\"range\""));
}

/* What was too much of one answer may come in place of the next one on that connection. */
static void what_is_left_of_an_answer_is_not_the_last_word(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"no_http\": true}, {\"size\": 300}], \"/never\": [{\"no_http\": "
		 "true}]}");
	get(b, "/f");
	assert_fetched(b, 300);
	assert_int_equal(b->result.retries, 1);
	assert_int_equal(get(b, "/never"), -EPROTO);
	assert_int_equal(b->result.retries, HTTP_TRIES_MAX - 1);
}

static void bytes_that_stay_wrong_end_with_the_sinks_sentence(void **state)
{
	struct bench *b = *state;

	b->body.n_wrong = 100;
	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	assert_int_equal(get(b, "/f"), -EBADMSG);
	assert_string_equal(b->result.err.msg, "These are not the bytes");
	assert_int_equal(b->result.err.errnum, -EBADMSG);
	assert_int_equal(b->result.err.code, OTA_E_OTA_IMAGE_INVALID);
	assert_int_equal(origin_hits(&b->origin, ""), HTTP_TRIES_MAX);
}

static void a_sink_that_fails_ends_the_request(void **state)
{
	struct bench *b = *state;

	b->body.refuse = -ENOSPC;
	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	assert_int_equal(get(b, "/f"), -ENOSPC);
	assert_int_equal(origin_hits(&b->origin, ""), 1);
}

static void a_coding_nobody_asked_for_is_undone_on_wish(void **state)
{
	struct bench *b = *state;

	b->request.undo_encoding = true;
	serve(b, "{\"/f\": [{\"size\": 100000, \"gzip\": true}]}");
	get(b, "/f");
	assert_fetched(b, 100000);
	assert_int_equal(origin_hits(&b->origin, "accept-encoding"), 0);
}

static void a_coding_is_left_alone_otherwise(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 100000, \"gzip\": true}]}");
	assert_int_equal(get(b, "/f"), 0);
	assert_true(b->body.got.len_bytes > 2 && b->body.got.len_bytes < 100000);
	assert_memory_equal(b->body.got.data, "\x1f\x8b", 2);
}

static void a_coded_body_is_never_continued(void **state)
{
	struct bench *b = *state;

	b->request.undo_encoding = true;
	serve(b, "{\"/f\": [{\"size\": 300000, \"gzip\": true, \"ranges\": true, \"etag\": "
		 "\"\\\"v1\\\"\","
		 " \"cut_after\": 1000}, {\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_false(origin_saw(&b->origin, 1, "\"range\""));
}

static void a_coded_body_is_limited_by_what_it_becomes(void **state)
{
	struct bench *b = *state;

	b->request.undo_encoding = true;
	b->request.max_bytes = 50000;
	serve(b, "{\"/f\": [{\"size\": 100000, \"gzip\": true}]}");
	assert_int_equal(get(b, "/f"), -EFBIG);
}

/* ---- proxy, cookies, redirects ---- */

static void through_a_proxy_everything_is_asked_for_as_http(void **state)
{
	struct bench *b = *state;
	char proxy[64];

	serve(b, "{\"/img/f\": [{\"size\": 1000, \"headers\": {\"ota-file-cache-control\":"
		 " \"file_sha256=12,file_compression_alg=zst\"}}]}");
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", b->origin.port);
	b->config.proxy = proxy;
	b->config.cookies = "a=1; b=2";
	b->request.cache_control = "file_sha256=34";
	b->body.n_wrong = 1;
	assert_int_equal(get_url(b, "https://ota.invalid:8443/img/f"), 0);
	assert_true(origin_saw(&b->origin, 0, "\"target\": \"http://ota.invalid:8443/img/f\""));
	assert_true(origin_saw(&b->origin, 0, "\"ota-file-cache-control\": \"file_sha256=34\""));
	assert_true(origin_saw(&b->origin, 0, "\"cookie\": \"a=1; b=2\""));
	assert_true(origin_saw(
		&b->origin, 1, "\"ota-file-cache-control\": \"retry_caching,file_sha256=34\""));
	assert_string_equal(b->body.control, "file_sha256=12,file_compression_alg=zst");
}

static void what_a_proxy_says_about_a_failure_is_told(void **state)
{
	struct bench *b = *state;
	char proxy[64];

	serve(b,
		"{\"/a\": [{\"status\": 502, \"body\": \"It is\\u0001 far away.\\r\\nreally\","
		"          \"headers\": {\"Content-Type\": \"text/plain; charset=utf-8\"}}],"
		" \"/b\": [{\"status\": 418, \"size\": 30000, \"headers\": {\"Content-Type\": "
		"\"text/plain\"}}],"
		" \"/c\": [{\"status\": 502, \"body\": \"<html>\", \"headers\": {\"Content-Type\": "
		"\"text/html\"}}]}");
	b->request.tries_max = 1;
	assert_int_equal(get(b, "/a"), -EIO);
	assert_null(strstr(b->result.err.msg, "far away")); /* a server's own words are its own */
	snprintf(proxy, sizeof(proxy), "%s", origin_url(&b->origin, ""));
	b->config.proxy = proxy;
	assert_int_equal(get_url(b, "http://h/a"), -EIO);
	assert_string_equal(b->result.err.msg, "Cannot fetch http://h/a: the server behind it "
					       "failed (status 502): It is? far away.");
	assert_int_equal(get_url(b, "http://h/b"), -EPROTO);
	assert_true(strlen(b->result.err.msg) <
		    strlen("Cannot fetch http://h/b: the server answers with status 418: ") + 160);
	assert_int_equal(get_url(b, "http://h/c"), -EIO);
	assert_string_equal(b->result.err.msg,
		"Cannot fetch http://h/c: the server behind it failed (status 502)");
}

static void without_a_proxy_no_cache_control_is_sent(void **state)
{
	struct bench *b = *state;

	b->request.cache_control = "file_sha256=34";
	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	get(b, "/f");
	assert_fetched(b, 1000);
	assert_int_equal(origin_hits(&b->origin, "ota-file-cache-control"), 0);
}

static void the_environments_proxies_are_not_used(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	get(b, "/f");
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	assert_fetched(b, 1000);
}

static void the_environment_cannot_take_the_proxy_away(void **state)
{
	struct bench *b = *state;
	char proxy[64];

	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", b->origin.port);
	b->config.proxy = proxy;
	setenv("no_proxy", "*", 1);
	get_url(b, "http://ota.invalid/f");
	unsetenv("no_proxy");
	assert_fetched(b, 1000);
}

static void redirects_are_followed_a_few_times(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/a\": [{\"redirect\": \"/b\"}], \"/b\": [{\"redirect\": \"/c\"}], \"/c\": "
		 "[{\"size\": 1000}],"
		 "\"/loop\": [{\"redirect\": \"/loop\"}]}");
	get(b, "/a");
	assert_fetched(b, 1000);
	assert_int_equal(get(b, "/loop"), -EPROTO);
	assert_int_equal(origin_hits(&b->origin, "/loop"), 1 + HTTP_REDIRECTS_MAX);
}

/* Notes what it is asked, and forbids what "/c" is in. */
static int forbid_c(void *ctx, const char *url, struct ota_err *err)
{
	buf_printf(ctx, "%s ", strrchr(url, '/'));
	return strstr(url, "/c") ? ota_err_set(err, -EACCES, OTA_E_NETWORK, "Not there") : 0;
}

static void each_hop_of_a_redirect_is_asked_about(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf asked = {0};

	serve(b, "{\"/a\": [{\"redirect\": \"/b\"}], \"/b\": [{\"redirect\": \"/c\"}], \"/c\": "
		 "[{\"size\": 1000}], \"/d\": [{\"redirect\": \"/e\"}], \"/e\": [{\"size\": "
		 "1000}]}");
	b->request.hop = forbid_c;
	b->request.hop_ctx = &asked;
	assert_int_equal(get(b, "/a"), -EACCES);
	assert_non_null(strstr(b->result.err.msg, "Cannot fetch http://127.0.0.1:"));
	assert_non_null(strstr(b->result.err.msg, "/a: Not there"));
	assert_int_equal(b->result.retries, 0);
	assert_int_equal(origin_hits(&b->origin, "\"/c\""), 0);
	get(b, "/d");
	assert_fetched(b, 1000);
	assert_string_equal(buf_str(&asked), "/b /c /e ");
}

static void redirects_lead_to_http_and_https_only(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"redirect\": \"file:///etc/passwd\"}]}");
	assert_int_equal(get(b, "/f"), -EPROTO);
	assert_non_null(strstr(
		b->result.err.msg, "the server redirects to what is neither http nor https"));
	assert_int_equal(origin_hits(&b->origin, "/f"), 1);
}

static void cookies_do_not_follow_a_redirect_to_another_host(void **state)
{
	struct bench *b = *state;
	struct origin other = {0};
	char script[256];

	origin_start(&other, &(struct origin_options){.script = "{\"/f\": [{\"size\": 1000}]}"});
	snprintf(script, sizeof(script), "{\"/f\": [{\"redirect\": \"http://localhost:%u/f\"}]}",
		other.port);
	serve(b, script);
	b->config.cookies = "secret=1";
	get(b, "/f");
	assert_int_equal(origin_hits(&b->origin, "secret=1"), 1);
	assert_int_equal(origin_hits(&other, ""), 1);
	assert_int_equal(origin_hits(&other, "secret=1"), 0);
	origin_stop(&other);
	assert_fetched(b, 1000);
}

static void cookies_follow_a_redirect_within_the_host(void **state)
{
	struct bench *b = *state;
	struct origin other = {0};
	char script[256];

	origin_start(&other, &(struct origin_options){.script = "{\"/f\": [{\"size\": 1000}]}"});
	snprintf(script, sizeof(script), "{\"/f\": [{\"redirect\": \"http://127.0.0.1:%u/f\"}]}",
		other.port);
	serve(b, script);
	b->config.cookies = "secret=1";
	get(b, "/f");
	assert_int_equal(origin_hits(&other, "secret=1"), 1);
	origin_stop(&other);
	assert_fetched(b, 1000);
}

static void a_retry_begins_where_the_redirect_began(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"redirect\": \"/dead\"}, {\"redirect\": \"/alive\"}], \"/dead\": "
		 "[{\"status\": 500}],"
		 " \"/alive\": [{\"size\": 1000}]}");
	get(b, "/f");
	assert_fetched(b, 1000);
	assert_int_equal(b->result.retries, 1);
}

static void a_redirect_to_another_protocol_is_refused(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"redirect\": \"file:///etc/passwd\"}]}");
	assert_int_equal(get(b, "/f"), -EPROTO);
	assert_int_equal(b->body.got.len_bytes, 0);
}

static void bad_configurations_are_refused(void **state)
{
	/* clang-format off */
	static const struct {
		struct http_config config;
		const char *sentence;
	} rows[] = {
		{{.cookies = "a=1\r\nX-Evil: 1"}, "The value of cookies has a line end or another control character in it"},
		{{.user_agent = "a\nb"}, "The value of user agent has a line end or another control character in it"},
		{{.proxy = "https://10.0.0.1:8082"}, "Cannot use the proxy https://10.0.0.1:8082: only http:// is spoken to a proxy"},
		{{.proxy = "10.0.0.1:8082"}, "Cannot use the proxy: The URL \"10.0.0.1:8082\" begins with neither http:// nor https://"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_client *c = NULL;
		struct ota_err err = {0};

		assert_int_equal(http_client_new(&rows[i].config, &c, &err), -EINVAL);
		assert_null(c);
		assert_string_equal(err.msg, rows[i].sentence);
		assert_int_equal(err.code, OTA_E_INVALID_REQUEST);
	}
}

/* ---- further fields ---- */

static const char *const secret_fields[] = {
	"Authorization: Basic c2VjcmV0", "Cookie: secret=1", "X-Name: a value", NULL};

static void further_fields_are_sent(void **state)
{
	struct bench *b = *state;
	char first[] = "X-First: 1";
	const char *fields[] = {first, "X-Second: 2", NULL};
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};

	serve(b, "{\"/f\": [{\"status\": 503}, {\"size\": 1000}]}");
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	b->request.url = origin_url(&b->origin, "/f");
	b->request.fields = fields;
	assert_int_equal(http_client_add(c, &b->request, &err), 0);
	memset(first, 'x', sizeof(first) - 1); /* copied */
	fields[1] = NULL;
	while (http_client_pending(c) > 0)
		assert_int_equal(http_client_run(c, 1000, &err), 0);
	assert_pattern(&b->body, 1000);
	assert_int_equal(origin_hits(&b->origin, "\"x-first\": \"1\""), 2);
	assert_int_equal(origin_hits(&b->origin, "\"x-second\": \"2\""), 2);
}

/* /f leads from 127.0.0.1 to the same path of another server, called @host. */
static void serve_redirect(
	struct bench *b, struct origin *other, const char *host, const char *script)
{
	char redirect[256];

	origin_start(other, &(struct origin_options){.script = script});
	snprintf(redirect, sizeof(redirect), "{\"/f\": [{\"redirect\": \"http://%s:%u/f\"}]}", host,
		other->port);
	serve(b, redirect);
}

static void further_fields_do_not_follow_a_redirect_to_another_host(void **state)
{
	struct bench *b = *state;
	struct origin other = {0};

	serve_redirect(b, &other, "localhost", "{\"/f\": [{\"size\": 1000}]}");
	b->request.fields = secret_fields;
	get(b, "/f");
	assert_int_equal(origin_hits(&b->origin, "\"cookie\": \"secret=1\""), 1);
	assert_int_equal(origin_hits(&b->origin, "\"authorization\": \"Basic c2VjcmV0\""), 1);
	assert_int_equal(origin_hits(&other, ""), 1);
	assert_int_equal(origin_hits(&other, "cookie"), 0);
	assert_int_equal(origin_hits(&other, "authorization"), 0);
	assert_int_equal(origin_hits(&other, "x-name"), 0);
	origin_stop(&other);
	assert_fetched(b, 1000);
}

static void further_fields_follow_a_redirect_within_the_host(void **state)
{
	struct bench *b = *state;
	struct origin other = {0};

	serve_redirect(b, &other, "127.0.0.1", "{\"/f\": [{\"size\": 1000}]}");
	b->request.fields = secret_fields;
	get(b, "/f");
	assert_int_equal(origin_hits(&other, "\"cookie\": \"secret=1\""), 1);
	assert_int_equal(origin_hits(&other, "\"x-name\": \"a value\""), 1);
	origin_stop(&other);
	assert_fetched(b, 1000);
}

static void fields_that_are_none_are_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *field, *sentence;
	} rows[] = {
		{"X-A: b\r\nX-Evil: 1", "The value of a header field has a line end or another control character in it"},
		{"X-A: b\n",            "The value of a header field has a line end or another control character in it"},
		{"no colon",            "A header field has no name"},
		{": value",             "A header field has no name"},
		{"X-A;",                "A header field has no name"},
		{"X-A : value",         "A header field has no name"},
		{"",                    "A header field has no name"},
	};
	/* clang-format on */
	struct bench *b = *state;
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};

	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	b->request.url = "http://127.0.0.1:1/f";
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		b->request.fields = (const char *const[]){"X-Good: 1", rows[i].field, NULL};
		err = (struct ota_err){0};
		assert_int_equal(http_client_add(c, &b->request, &err), -EINVAL);
		assert_string_equal(err.msg, rows[i].sentence);
		assert_int_equal(err.code, OTA_E_INVALID_REQUEST);
	}
	assert_int_equal(http_client_pending(c), 0);
}

/* ---- HEAD ---- */

static void a_head_request_brings_all_but_the_body(void **state)
{
	struct bench *b = *state;

	b->request.head = true;
	b->request.max_bytes = 0;
	b->request.sink.data = NULL;
	serve(b, "{\"/f\": [{\"redirect\": \"/g\"}], \"/g\": [{\"status\": 503}, {\"size\": 300000,"
		 "\"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	assert_int_equal(get(b, "/f"), 0);
	assert_int_equal(b->result.status, 200);
	assert_int_equal(b->result.wire_bytes, 0);
	assert_int_equal(b->result.retries, 1);
	assert_true(b->body.n_headers > 0);
	assert_int_equal(b->body.n_begins, 1);
	assert_int_equal(b->body.begin_bytes, 300000);
	assert_int_equal(b->body.n_ends, 1);
	assert_int_equal(origin_hits(&b->origin, "\"method\": \"HEAD\""), 4);
	assert_int_equal(origin_connections(&b->origin), 1);
}

static void a_head_request_can_fail_like_any_other(void **state)
{
	struct bench *b = *state;

	b->request.head = true;
	serve(b, "{\"/f\": [{\"status\": 404, \"size\": 1000}]}");
	assert_int_equal(get(b, "/f"), -ENOENT);
	assert_int_equal(b->result.status, 404);
	assert_int_equal(b->body.n_headers + b->body.n_begins + b->body.n_ends, 0);
}

/* ---- conditions ---- */

static const char *const if_changed[] = {"If-None-Match: \"v1\"", "X-Name: a value", NULL};

static void what_has_not_changed_ends_well_without_the_sink(void **state)
{
	struct bench *b = *state;

	b->request.fields = if_changed;
	b->request.conditional = true;
	/* A 304 says nothing of a place elsewhere. */
	serve(b, "{\"/f\": [{\"status\": 304, \"etag\": \"\\\"v1\\\"\", \"content_length\": 1000,"
		 "\"headers\": {\"Location\": \"/g\"}}]}");
	assert_int_equal(get(b, "/f"), 0);
	assert_int_equal(b->result.status, 304);
	assert_int_equal(b->result.err.errnum, 0);
	assert_int_equal(b->body.n_headers + b->body.n_begins + b->body.n_ends, 0);
	assert_true(origin_saw(&b->origin, 0, "\"if-none-match\": \"\\\"v1\\\"\""));
	assert_int_equal(origin_hits(&b->origin, ""), 1);
}

static void what_has_changed_comes_whole(void **state)
{
	struct bench *b = *state;

	b->request.fields = if_changed;
	b->request.conditional = true;
	serve(b, "{\"/f\": [{\"size\": 1000, \"etag\": \"\\\"v2\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 1000);
	assert_int_equal(b->result.status, 200);
}

static void a_body_that_was_cut_is_resumed_without_the_condition(void **state)
{
	struct bench *b = *state;

	b->request.fields = if_changed;
	b->request.conditional = true;
	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v2\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v2\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_true(origin_saw(&b->origin, 1, "\"range\": \"bytes=100000-\""));
	assert_true(origin_saw(&b->origin, 1, "\"if-range\": \"\\\"v2\\\"\""));
	assert_true(origin_saw(&b->origin, 1, "\"x-name\": \"a value\""));
	assert_false(origin_saw(&b->origin, 1, "if-none-match"));
}

static void a_body_that_begins_anew_is_wanted_without_the_condition(void **state)
{
	struct bench *b = *state;

	b->request.fields = if_changed;
	b->request.conditional = true;
	serve(b, "{\"/f\": [{\"size\": 300000, \"cut_after\": 100000}, {\"size\": 300000}],"
		 "\"/g\": [{\"size\": 300000, \"cut_after\": 100000}, {\"status\": 304}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->body.n_restarts, 1);
	assert_false(origin_saw(&b->origin, 1, "if-none-match"));
	/* The half of a body is not what has not changed. */
	b->body.got.len_bytes = 0;
	assert_int_equal(get(b, "/g"), -EPROTO);
	assert_non_null(strstr(b->result.err.msg, "the server answers with status 304"));
}

static void another_host_cannot_say_that_nothing_has_changed(void **state)
{
	struct bench *b = *state;
	struct origin other = {0};

	serve_redirect(b, &other, "localhost", "{\"/f\": [{\"status\": 304}]}");
	b->request.fields = if_changed;
	b->request.conditional = true;
	assert_int_equal(get(b, "/f"), -EPROTO);
	assert_int_equal(origin_hits(&other, "if-none-match"), 0);
	origin_stop(&other);
}

/* ---- begin ---- */

static void the_sink_is_told_when_a_body_begins(void **state)
{
	/* clang-format off */
	static const struct {
		const char *path;
		bool undo_encoding;
		uint64_t begin_bytes;
	} rows[] = {
		{"/length",        false, 1000               },
		{"/chunked",       false, HTTP_LENGTH_UNKNOWN},
		{"/until-closed",  false, HTTP_LENGTH_UNKNOWN},
		{"/both",          false, HTTP_LENGTH_UNKNOWN},
		{"/empty",         false, 0                  },
		{"/empty-chunked", false, HTTP_LENGTH_UNKNOWN},
		{"/gzip",          false, 0                  },
		{"/gzip",          true,  HTTP_LENGTH_UNKNOWN},
	};
	/* clang-format on */
	struct bench *b = *state;

	serve(b, "{\"/length\": [{\"size\": 1000}],"
		 "\"/chunked\": [{\"size\": 1000, \"content_length\": \"chunked\"}],"
		 "\"/until-closed\": [{\"size\": 1000, \"content_length\": null}],"
		 "\"/both\": [{\"size\": 1000, \"content_length\": \"chunked\", \"headers\": "
		 "{\"Content-Length\": \"10\"}}],"
		 "\"/empty\": [{\"size\": 0}],"
		 "\"/empty-chunked\": [{\"size\": 0, \"content_length\": \"chunked\"}],"
		 "\"/gzip\": [{\"body\": \"aaaaaaaaa\", \"gzip\": true}]}");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		b->body.n_begins = b->body.n_ends = 0;
		b->body.got.len_bytes = 0;
		b->request.undo_encoding = rows[i].undo_encoding;
		if (get(b, rows[i].path) < 0)
			fail_msg("%s", b->result.err.msg);
		if (strcmp(rows[i].path, "/gzip") == 0 && !rows[i].undo_encoding)
			assert_int_equal(b->body.begin_bytes, b->body.got.len_bytes);
		else
			assert_true(b->body.begin_bytes == rows[i].begin_bytes);
		assert_int_equal(b->body.n_begins, 1);
		assert_int_equal(b->body.n_ends, 1);
	}
}

static void a_resumed_body_does_not_begin_again(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}],"
		 "\"/g\": [{\"size\": 200000, \"cut_after\": 100000}, {\"size\": 300000}]}");
	get(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->body.n_begins, 1);
	assert_int_equal(b->body.begin_bytes, 300000);
	/* One that restarts does. */
	b->body = (struct body){.got = b->body.got};
	b->body.got.len_bytes = 0;
	get(b, "/g");
	assert_fetched(b, 300000);
	assert_int_equal(b->body.n_restarts, 1);
	assert_int_equal(b->body.n_begins, 2);
	assert_int_equal(b->body.begin_bytes, 300000);
}

static void a_body_that_may_not_begin_ends_the_request(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	b->body.refuse_begin = -ENOSPC;
	assert_int_equal(get(b, "/f"), -ENOSPC);
	assert_int_equal(b->body.got.len_bytes, 0);
	assert_int_equal(origin_hits(&b->origin, ""), 1);
	/* What is too much never begins. */
	b->body = (struct body){0};
	b->request.max_bytes = 999;
	assert_int_equal(get(b, "/f"), -EFBIG);
	assert_int_equal(b->body.n_begins, 0);
}

/* ---- back-pressure ---- */

static void a_sink_that_is_full_gets_the_same_bytes_later(void **state)
{
	struct bench *b = *state;

	serve(b, "{\"/f\": [{\"size\": 1000000}], \"/chunked\": [{\"size\": 1000000, "
		 "\"content_length\": \"chunked\"}], \"/until-closed\": [{\"size\": 1000000,"
		 "\"content_length\": null}], \"/small\": [{\"size\": 1}], \"/gzip\": "
		 "[{\"size\": 1000000, \"gzip\": true}]}");
	b->request.undo_encoding = true;
	for (unsigned i = 0; i < 5; i++) {
		static const char *const paths[] = {
			"/f", "/chunked", "/until-closed", "/small", "/gzip"};
		size_t size = i == 3 ? 1 : 1000000;

		b->body = (struct body){.got = b->body.got};
		b->body.got.len_bytes = 0;
		get_slowly(b, paths[i]);
		assert_fetched(b, size);
		assert_int_equal(b->result.wire_bytes, size);
		assert_int_equal(b->result.retries, 0);
		assert_true(b->body.n_pauses >= size / HTTP_PIECE_MAX_BYTES);
		assert_int_equal(b->body.n_begins, 1);
	}
}

static void a_pause_is_no_stall(void **state)
{
	struct bench *b = *state;

	b->config.stall_timeout_ms = STALL_MS;
	serve(b, "{\"/f\": [{\"size\": 1000000}]}");
	b->body.full_until_ms = clock_monotonic_ms() + 4 * STALL_MS;
	get_slowly(b, "/f");
	assert_fetched(b, 1000000);
	assert_true(clock_monotonic_ms() >= b->body.full_until_ms);
	assert_int_equal(b->result.retries, 0);
	assert_int_equal(origin_hits(&b->origin, ""), 1);
}

static void a_stall_behind_a_pause_is_noticed(void **state)
{
	struct bench *b = *state;

	b->config.stall_timeout_ms = STALL_MS;
	serve(b, "{\"/f\": [{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"stall_after\": 100000},"
		 "{\"size\": 300000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	get_slowly(b, "/f");
	assert_fetched(b, 300000);
	assert_int_equal(b->result.retries, 1);
	assert_true(origin_saw(&b->origin, 1, "\"range\": \"bytes=100000-\""));
}

static void a_pause_is_not_longer_than_the_time_for_all(void **state)
{
	struct bench *b = *state;

	b->request.total_timeout_ms = 300;
	b->body.full_until_ms = UINT64_MAX;
	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	assert_int_equal(get_slowly(b, "/f"), -ETIMEDOUT);
	assert_int_equal(b->result.status, 200);
	assert_int_equal(b->body.got.len_bytes, 0);
}

static void a_sink_that_wants_no_more_ends_the_request(void **state)
{
	struct bench *b = *state;
	char sentence[256];

	b->body.give_up = -ECANCELED;
	serve(b, "{\"/f\": [{\"size\": 1000000}]}");
	assert_int_equal(get_slowly(b, "/f"), -ECANCELED);
	snprintf(sentence, sizeof(sentence), "Cannot fetch %s: Operation canceled",
		origin_url(&b->origin, "/f"));
	assert_string_equal(b->result.err.msg, sentence);
	assert_int_equal(b->result.status, 200);
	assert_int_equal(b->body.n_asked, 1);
	assert_int_equal(b->body.n_ends, 0);
	assert_int_equal(origin_hits(&b->origin, ""), 1);
}

static void a_sink_can_fail_behind_a_pause(void **state)
{
	struct bench *b = *state;

	b->body.refuse = -ENOSPC;
	serve(b, "{\"/f\": [{\"size\": 1000000}]}");
	assert_int_equal(get_slowly(b, "/f"), -ENOSPC);
	assert_int_equal(b->body.n_pauses, 1);
	assert_int_equal(origin_hits(&b->origin, ""), 1);
}

static void busy_without_a_question_is_a_failure(void **state)
{
	struct bench *b = *state;

	b->body.refuse = -EBUSY;
	serve(b, "{\"/f\": [{\"size\": 1000}]}");
	assert_int_equal(get(b, "/f"), -EBUSY);
	assert_int_equal(origin_hits(&b->origin, ""), 1);
}

/* A small room between the client and a reader in another thread. */
struct room {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	char bytes[4 * HTTP_PIECE_MAX_BYTES];
	size_t n_bytes;
	bool closed;
	unsigned n_full;
	struct http_client *client;
	struct body read; /* the reader's own until it is joined */
};

static int room_data(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	struct room *room = ctx;
	int r = -EBUSY;

	pthread_mutex_lock(&room->lock);
	if (sizeof(room->bytes) - room->n_bytes >= len) {
		memcpy(room->bytes + room->n_bytes, data, len);
		room->n_bytes += len;
		r = 0;
	} else {
		room->n_full++;
	}
	pthread_cond_signal(&room->filled);
	pthread_mutex_unlock(&room->lock);
	return r;
}

static int room_ready(void *ctx)
{
	struct room *room = ctx;
	bool empty;

	pthread_mutex_lock(&room->lock);
	empty = room->n_bytes == 0;
	pthread_mutex_unlock(&room->lock);
	return empty;
}

static int room_end(void *ctx, struct ota_err *err)
{
	struct room *room = ctx;

	pthread_mutex_lock(&room->lock);
	room->closed = true;
	pthread_cond_signal(&room->filled);
	pthread_mutex_unlock(&room->lock);
	return 0;
}

static void *room_reader(void *ctx)
{
	struct room *room = ctx;

	for (;;) {
		bool last;

		pthread_mutex_lock(&room->lock);
		while (room->n_bytes < sizeof(room->bytes) / 2 && !room->closed &&
			room->n_full == 0)
			pthread_cond_wait(&room->filled, &room->lock);
		room->n_full = 0;
		buf_append(&room->read.got, room->bytes, room->n_bytes);
		room->n_bytes = 0;
		last = room->closed;
		pthread_mutex_unlock(&room->lock);
		if (last)
			return NULL;
		http_client_wakeup(room->client);
	}
}

static void a_reader_in_another_thread_wakes_a_paused_transfer(void **state)
{
	struct bench *b = *state;
	struct room room = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};
	uint64_t started = clock_monotonic_ms();
	struct ota_err err = {0};
	pthread_t thread;

	serve(b, "{\"/f\": [{\"size\": 4000000}]}");
	b->request.max_bytes = 4000000;
	assert_int_equal(http_client_new(&b->config, &room.client, &err), 0);
	b->request.url = origin_url(&b->origin, "/f");
	b->request.sink =
		(struct http_sink){.data = room_data, .ready = room_ready, .end = room_end};
	b->request.sink_ctx = &room;
	b->request.done = note_result;
	b->request.done_ctx = &b->result;
	assert_int_equal(http_client_add(room.client, &b->request, &err), 0);
	assert_int_equal(pthread_create(&thread, NULL, room_reader, &room), 0);
	while (http_client_pending(room.client) > 0)
		assert_int_equal(http_client_run(room.client, 30 * 1000, &err), 0);
	pthread_join(thread, NULL);
	http_client_free(room.client);
	assert_int_equal(b->result.r, 0);
	assert_pattern(&room.read, 4000000);
	buf_done(&room.read.got);
	/* Some sixty fillings: not one of them waited for a timer. */
	assert_true(clock_monotonic_ms() - started < 15 * 1000);
}

/* ---- many at once ---- */

struct many {
	struct http_client *client;
	unsigned n_left, n_done, n_bad;
	struct http_request request;
};

static int drop(void *ctx, const void *data, size_t len, struct ota_err *err)
{
	return 0;
}

static void many_done(void *ctx, const struct http_result *result)
{
	struct many *m = ctx;
	struct ota_err err = {0};

	m->n_done++;
	if (result->r < 0) {
		m->n_bad++;
		print_message("%s\n", result->err.msg);
	}
	if (m->n_left > 0) {
		m->n_left--;
		if (http_client_add(m->client, &m->request, &err) < 0)
			m->n_bad++;
	}
}

static void many_transfers_share_few_connections(void **state)
{
	struct bench *b = *state;
	struct many m = {.n_left = 190};
	struct ota_err err = {0};

	serve(b, "{\"/f\": [{\"size\": 5000}]}");
	b->config.max_connections = 4;
	assert_int_equal(http_client_new(&b->config, &m.client, &err), 0);
	m.request = (struct http_request){
		.url = origin_url(&b->origin, "/f"),
		.max_bytes = MAX_BYTES,
		.sink = {.data = drop},
		.done = many_done,
		.done_ctx = &m,
	};
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(http_client_add(m.client, &m.request, &err), 0);
	assert_int_equal(http_client_pending(m.client), 10);
	while (http_client_pending(m.client) > 0)
		assert_int_equal(http_client_run(m.client, 1000, &err), 0);
	http_client_free(m.client);
	assert_int_equal(m.n_done, 200);
	assert_int_equal(m.n_bad, 0);
	assert_int_equal(origin_hits(&b->origin, ""), 200);
	assert_true(origin_connections(&b->origin) <= 4);
}

static void a_client_can_go_while_transfers_run(void **state)
{
	struct bench *b = *state;
	struct http_client *c = NULL;
	struct ota_err err = {0};
	struct http_request request = {
		.max_bytes = MAX_BYTES, .sink = body_sink, .sink_ctx = &b->body};

	serve(b, "{\"/f\": [{\"size\": 1000, \"stall_after\": 500}]}");
	b->config.max_connections = 2;
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	request.url = origin_url(&b->origin, "/f");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(http_client_add(c, &request, &err), 0);
	while (b->body.got.len_bytes < 1000) /* both have their half */
		assert_int_equal(http_client_run(c, 50, &err), 0);
	http_client_free(c);
	assert_int_equal(b->body.n_ends, 0);
}

static void a_client_can_go_while_transfers_are_paused(void **state)
{
	struct bench *b = *state;
	struct http_client *c = NULL;
	struct ota_err err = {0};

	serve(b, "{\"/f\": [{\"size\": 300000}]}");
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	b->request.url = origin_url(&b->origin, "/f");
	b->request.sink.data = body_data_slowly;
	b->request.sink.ready = body_ready;
	b->body.full_until_ms = UINT64_MAX;
	assert_int_equal(http_client_add(c, &b->request, &err), 0);
	while (b->body.n_pauses == 0)
		assert_int_equal(http_client_run(c, 50, &err), 0);
	http_client_free(c);
	assert_int_equal(b->body.n_pauses, 1);
	assert_int_equal(b->body.got.len_bytes, 0);
}

static void *wake(void *ctx)
{
	http_client_wakeup(ctx);
	return NULL;
}

static void another_thread_can_wake_the_client(void **state)
{
	struct bench *b = *state;
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};
	struct http_request request = {
		.max_bytes = MAX_BYTES, .sink = body_sink, .sink_ctx = &b->body};
	uint64_t started = clock_monotonic_ms();
	pthread_t thread;

	serve(b, "{\"/f\": [{\"size\": 1000, \"stall_after\": 500}]}");
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	request.url = origin_url(&b->origin, "/f");
	assert_int_equal(http_client_add(c, &request, &err), 0);
	pthread_create(&thread, NULL, wake, c);
	assert_int_equal(http_client_run(c, 30 * 1000, &err), 0);
	assert_true(clock_monotonic_ms() - started < 10 * 1000);
	assert_int_equal(http_client_pending(c), 1);
	pthread_join(thread, NULL);
}

static void a_watched_descriptor_ends_the_wait(void **state)
{
	struct bench *b = *state;
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};
	struct http_request request = {
		.max_bytes = MAX_BYTES, .sink = body_sink, .sink_ctx = &b->body};
	uint64_t started = clock_monotonic_ms();
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	http_client_watch(c, ends[0]);
	/* Without a request it is waited for too. */
	assert_int_equal(http_client_run(c, 100, &err), 0);
	assert_true(clock_monotonic_ms() - started >= 100);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(http_client_run(c, 30 * 1000, &err), 0);
	serve(b, "{\"/f\": [{\"size\": 1000, \"stall_after\": 500}]}");
	request.url = origin_url(&b->origin, "/f");
	assert_int_equal(http_client_add(c, &request, &err), 0);
	assert_int_equal(http_client_run(c, 30 * 1000, &err), 0);
	assert_int_equal(http_client_pending(c), 1);
	http_client_watch(c, -1);
	assert_true(clock_monotonic_ms() - started < 10 * 1000);
	close(ends[0]);
	close(ends[1]);
}

/* poll() refuses more descriptors than a process may have open. */
static int wait_without_descriptors(void *ctx)
{
	const struct rlimit none = {0, 0};
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};

	CHECK(http_client_new(&(struct http_config){0}, &c, &err) == 0);
	http_client_watch(c, STDIN_FILENO);
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(http_client_run(c, 10 * 1000, &err) == -EIO);
	CHECK(err.code == OTA_E_NETWORK);
	CHECK(strncmp(err.msg, "The HTTP library failed: Unrecoverable error", 44) == 0);
	return 0;
}

static void a_library_that_cannot_wait_is_no_endless_loop(void **state)
{
	assert_int_equal(in_child(wait_without_descriptors, NULL), 0);
}

static int yield_at_data(void *ctx, const void *data, size_t len_bytes, struct ota_err *err)
{
	http_client_yield(*(struct http_client **)ctx);
	return 0;
}

static void a_sink_can_end_the_run(void **state)
{
	struct bench *b = *state;
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	struct ota_err err = {0};
	struct http_request request = {
		.max_bytes = MAX_BYTES, .sink = {.data = yield_at_data}, .sink_ctx = &c};
	uint64_t started = clock_monotonic_ms();

	serve(b, "{\"/f\": [{\"size\": 1000, \"stall_after\": 500}]}");
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	request.url = origin_url(&b->origin, "/f");
	assert_int_equal(http_client_add(c, &request, &err), 0);
	assert_int_equal(http_client_run(c, 30 * 1000, &err), 0);
	assert_int_equal(http_client_pending(c), 1);
	assert_true(clock_monotonic_ms() - started < 10 * 1000);
}

/* ---- TLS ---- */

struct certs {
	char dir[64], cert[96], key[96], other[96], other_key[96];
};

static void make_cert(const char *cert, const char *key, const char *san)
{
	const char *argv[] = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test",
		"-addext", san, "-keyout", key, "-out", cert, NULL};
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv}, &err) < 0)
		fail_msg("%s", err.msg);
}

static void certs_make(struct certs *t)
{
	snprintf(t->dir, sizeof(t->dir), "/tmp/ota-tls-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->cert, sizeof(t->cert), "%s/cert.pem", t->dir);
	snprintf(t->key, sizeof(t->key), "%s/key.pem", t->dir);
	snprintf(t->other, sizeof(t->other), "%s/other.pem", t->dir);
	snprintf(t->other_key, sizeof(t->other_key), "%s/other.key", t->dir);
	make_cert(t->cert, t->key, "subjectAltName=IP:127.0.0.1");
	make_cert(t->other, t->other_key, "subjectAltName=DNS:elsewhere.invalid");
}

static void certs_remove(struct certs *t)
{
	unlink(t->cert);
	unlink(t->key);
	unlink(t->other);
	unlink(t->other_key);
	rmdir(t->dir);
}

static void tls_is_verified(void **state)
{
	struct bench *b = *state;
	struct certs t;

	certs_make(&t);
	origin_start(&b->origin,
		&(struct origin_options){
			.script = "{\"/f\": [{\"size\": 1000}]}", .cert = t.cert, .key = t.key});
	b->config.tls_ca = t.cert;
	get(b, "/f");
	assert_fetched(b, 1000);

	b->config.tls_ca = t.other; /* signed by somebody else */
	assert_int_equal(get(b, "/f"), -EPROTO);
	assert_int_equal(b->result.err.code, OTA_E_NETWORK);
	assert_non_null(strstr(b->result.err.msg, "certificate"));
	b->config.tls_ca = NULL; /* unknown to the system */
	assert_int_equal(get(b, "/f"), -EPROTO);
	origin_stop(&b->origin);

	origin_start(&b->origin, &(struct origin_options){.script = "{\"/f\": [{\"size\": 1000}]}",
					 .cert = t.other,
					 .key = t.other_key});
	b->config.tls_ca = t.other; /* trusted, but for another host */
	assert_int_equal(get(b, "/f"), -EPROTO);
	assert_int_equal(origin_hits(&b->origin, ""), 0);
	certs_remove(&t);
}

static void https_is_not_redirected_to_http(void **state)
{
	struct bench *b = *state;
	struct origin plain = {0};
	char script[256];
	struct certs t;

	certs_make(&t);
	origin_start(&plain, &(struct origin_options){.script = "{\"/f\": [{\"size\": 1000}]}"});
	snprintf(script, sizeof(script), "{\"/f\": [{\"redirect\": \"http://127.0.0.1:%u/f\"}]}",
		plain.port);
	origin_start(&b->origin,
		&(struct origin_options){.script = script, .cert = t.cert, .key = t.key});
	b->config.tls_ca = t.cert;
	assert_int_equal(get(b, "/f"), -EPROTO);
	assert_int_equal(origin_hits(&plain, ""), 0);
	origin_stop(&plain);
	certs_remove(&t);
}

/* ---- HTTP/2, with a real server ---- */

/* A port that is free now; the server that takes it starts at once. */
static unsigned free_port(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin_port);
}

static void write_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

static void wait_for_port(unsigned port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	for (unsigned i = 0; i < 500; i++) {
		AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
			return;
		clock_sleep_ms(10);
	}
	fail_msg("nginx does not listen on port %u", port);
}

static pid_t start_nginx(const struct certs *t, unsigned port)
{
	char conf[96], text[1024];
	const char *argv[] = {"nginx", "-p", t->dir, "-c", conf, NULL};
	extern char **environ;
	pid_t pid;

	snprintf(conf, sizeof(conf), "%s/nginx.conf", t->dir);
	snprintf(text, sizeof(text),
		"daemon off; pid nginx.pid; error_log error.log; worker_processes 1;\n"
		"events { worker_connections 64; }\n"
		"http { log_format l '$server_protocol c$connection'; access_log access.log l;\n"
		" server { listen 127.0.0.1:%u ssl http2; ssl_certificate cert.pem;\n"
		"  ssl_certificate_key key.pem; root .; default_type text/plain; } }\n",
		port);
	write_text(conf, text);
	assert_int_equal(
		posix_spawnp(&pid, "nginx", NULL, NULL, (char **)(uintptr_t)argv, environ), 0);
	return pid;
}

/* Lines of nginx's access log that begin with @text. */
static unsigned count_lines(const char *log, const char *text)
{
	unsigned n = 0;

	for (const char *at = log; *at; at += strcspn(at, "\n"), at += *at == '\n')
		n += strncmp(at, text, strlen(text)) == 0;
	return n;
}

static void write_pattern(const char *path, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	AUTO_FREE char *bytes = malloc(size);

	assert_true(fd >= 0);
	for (size_t i = 0; bytes && i < size; i++)
		bytes[i] = (char)(i % 251);
	assert_int_equal(file_write_all(fd, bytes, size), 0);
}

/* nginx with a file /f of the test pattern; @ret_url holds 64 bytes. */
static void serve_http2(struct bench *b, struct certs *t, size_t size, char ret_url[64])
{
	unsigned port = free_port();
	char path[96];

	certs_make(t);
	snprintf(path, sizeof(path), "%s/f", t->dir);
	write_pattern(path, size);
	assert_int_equal(chmod(t->dir, 0755), 0); /* its worker is another user */
	b->nginx = start_nginx(t, port);
	wait_for_port(port);
	snprintf(ret_url, 64, "https://127.0.0.1:%u/f", port);
	b->config.tls_ca = t->cert;
}

/* Stop nginx. It was asked @n times, all of them over one connection. */
static void assert_one_connection(struct bench *b, const struct certs *t, unsigned n)
{
	const char *argv[] = {"rm", "-rf", t->dir, NULL};
	AUTO_BUF struct buf log = {0};
	char path[96];

	stop_nginx(b);
	snprintf(path, sizeof(path), "%s/access.log", t->dir);
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &log), 0);
	assert_int_equal(run_tool(&(struct run_args){.argv = argv}, NULL), 0);
	assert_int_equal(count_lines(buf_str(&log), "HTTP/2.0 "), n);
	/* All lines are alike: protocol and connection. */
	log.data[strcspn(log.data, "\n")] = '\0';
	assert_int_equal(count_lines(log.data + strlen(log.data) + 1, log.data), n - 1);
}

static void many_transfers_share_one_connection_over_http2(void **state)
{
	struct bench *b = *state;
	struct many m = {.n_left = 90};
	struct ota_err err = {0};
	struct certs t;
	char url[64];

	serve_http2(b, &t, 5, url);
	b->config.max_connections = 10;
	assert_int_equal(http_client_new(&b->config, &m.client, &err), 0);
	m.request = (struct http_request){
		.url = url,
		.max_bytes = MAX_BYTES,
		.sink = {.data = drop},
		.done = many_done,
		.done_ctx = &m,
	};
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(http_client_add(m.client, &m.request, &err), 0);
	while (http_client_pending(m.client) > 0)
		assert_int_equal(http_client_run(m.client, 1000, &err), 0);
	http_client_free(m.client);
	assert_int_equal(m.n_done, 100);
	assert_int_equal(m.n_bad, 0);
	assert_one_connection(b, &t, 100);
}

static void a_paused_transfer_holds_up_no_other_one_over_http2(void **state)
{
	struct bench *b = *state;
	struct http_client *c = NULL;
	struct http_result other_result = {.r = 1};
	struct body other_body = {0};
	struct http_request other;
	struct ota_err err = {0};
	struct certs t;
	char url[64];

	serve_http2(b, &t, MAX_BYTES, url);
	assert_int_equal(http_client_new(&b->config, &c, &err), 0);
	b->request.url = url;
	b->request.done = note_result;
	b->request.done_ctx = &b->result;
	other = b->request;
	other.done_ctx = &other_result;
	other.sink_ctx = &other_body;
	b->request.sink.data = body_data_slowly;
	b->request.sink.ready = body_ready;
	b->body.full_until_ms = UINT64_MAX;
	assert_int_equal(http_client_add(c, &b->request, &err), 0);
	while (b->body.n_pauses == 0)
		assert_int_equal(http_client_run(c, 10, &err), 0);
	assert_int_equal(http_client_add(c, &other, &err), 0);
	while (http_client_pending(c) > 1)
		assert_int_equal(http_client_run(c, 10, &err), 0);
	assert_int_equal(other_result.r, 0);
	assert_int_equal(other_result.retries, 0);
	assert_pattern(&other_body, MAX_BYTES);
	assert_int_equal(b->body.n_pauses, 1);
	b->body.full_until_ms = 0;
	while (http_client_pending(c) > 0)
		assert_int_equal(http_client_run(c, 1, &err), 0);
	http_client_free(c);
	buf_done(&other_body.got);
	assert_fetched(b, MAX_BYTES);
	assert_int_equal(b->result.retries, 0);
	assert_one_connection(b, &t, 2);
}

/* ---- what is sent ---- */

static void a_body_is_posted_with_its_own_type(void **state)
{
	static const char *const fields[] = {"Content-Type: text/plain; charset=utf-8", NULL};
	struct bench *b = *state;

	b->request.post = "line \"1\"";
	b->request.post_bytes = 8;
	b->request.fields = fields;
	serve(b, "{\"/main\": [{\"size\": 10}]}");
	get(b, "/main");
	assert_fetched(b, 10);
	assert_true(origin_saw(&b->origin, 0, "\"method\": \"POST\""));
	assert_true(origin_saw(&b->origin, 0, "\"posted\": \"line \\\"1\\\"\""));
	assert_true(origin_saw(&b->origin, 0, "\"content-type\": \"text/plain; charset=utf-8\""));
	assert_false(origin_saw(&b->origin, 0, "\"expect\""));
}

static void an_empty_body_is_posted_too(void **state)
{
	struct bench *b = *state;

	b->request.post = "";
	serve(b, "{\"/main\": [{\"size\": 0}]}");
	get(b, "/main");
	assert_fetched(b, 0);
	assert_true(origin_saw(&b->origin, 0, "\"method\": \"POST\""));
	assert_true(origin_saw(&b->origin, 0, "\"posted\": \"\""));
}

static void an_answer_to_a_post_that_is_cut_is_asked_for_anew(void **state)
{
	struct bench *b = *state;

	b->request.post = "x";
	b->request.post_bytes = 1;
	serve(b, "{\"/f\": [{\"size\": 30000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\", "
		 "\"cut_after\": 10000},"
		 "{\"size\": 30000, \"ranges\": true, \"etag\": \"\\\"v1\\\"\"}]}");
	get(b, "/f");
	assert_fetched(b, 30000);
	assert_int_equal(b->body.n_restarts, 1);
	assert_false(origin_saw(&b->origin, 1, "\"range\""));
	assert_true(origin_saw(&b->origin, 1, "\"posted\": \"x\""));
}

static void what_a_server_says_to_a_post_is_told(void **state)
{
	struct bench *b = *state;

	b->request.post = "x";
	b->request.post_bytes = 1;
	b->request.tries_max = 1;
	serve(b, "{\"/f\": [{\"status\": 500, \"body\": \"no\"}, {\"hang_up\": true}]}");
	assert_int_equal(get(b, "/f"), -EIO);
	assert_int_equal(b->result.status, 500);
	assert_int_equal(get(b, "/f"), -EIO);
	assert_int_equal(b->result.status, 0);
	assert_int_equal(origin_hits(&b->origin, "posted"), 2);
}

/* ---- all of them ---- */

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static const struct CMUnitTest sending_tests[] = {
	TEST(a_body_is_posted_with_its_own_type),
	TEST(an_empty_body_is_posted_too),
	TEST(an_answer_to_a_post_that_is_cut_is_asked_for_anew),
	TEST(what_a_server_says_to_a_post_is_told),
};

static const struct CMUnitTest resuming_tests[] = {
	TEST(a_file_arrives_whole),
	TEST(an_empty_file_is_a_file),
	TEST(fetch_resumes_after_connection_is_cut),
	TEST(fetch_resumes_by_date_where_there_is_no_etag),
	TEST(fetch_resumes_after_a_stall),
	TEST(a_header_that_is_cut_is_no_answer),
	TEST(a_server_that_feeds_it_byte_by_byte_is_left),
	TEST(a_server_without_ranges_is_asked_from_the_start),
	TEST(a_server_that_says_it_has_no_ranges_is_believed),
	TEST(a_file_that_changed_meanwhile_is_not_continued),
	TEST(a_weak_etag_does_not_name_bytes),
	TEST(a_part_from_elsewhere_is_not_taken),
	TEST(a_part_of_a_longer_file_is_not_taken),
	TEST(a_part_of_another_version_is_not_taken),
	TEST(a_range_behind_the_end_leads_back_to_the_start),
	TEST(a_body_shorter_than_announced_is_a_cut),
};

static const struct CMUnitTest trying_tests[] = {
	TEST(a_try_that_brought_the_body_further_is_free),
	TEST(tries_that_lead_nowhere_come_to_an_end),
	TEST(a_failing_server_gets_time_to_recover),
	TEST(a_server_that_always_fails_ends_the_request),
	TEST(an_outage_can_be_outlasted),
	TEST(retry_after_is_honoured),
	TEST(refusals_are_final_and_name_their_cause),
	TEST(the_last_status_is_kept_whatever_came_behind_it),
	TEST(an_endless_error_page_is_not_read),
	TEST(fields_without_an_end_are_not_kept),
	TEST(nobody_listening_is_an_error_with_a_name),
	TEST(the_time_for_all_tries_is_kept),
};

static const struct CMUnitTest limiting_tests[] = {
	TEST(more_than_the_limit_is_refused_by_its_length),
	TEST(exactly_the_limit_is_fine),
	TEST(an_endless_body_is_cut_at_the_limit),
	TEST(wrong_bytes_are_asked_for_again),
	TEST(what_is_left_of_an_answer_is_not_the_last_word),
	TEST(bytes_that_stay_wrong_end_with_the_sinks_sentence),
	TEST(a_sink_that_fails_ends_the_request),
	TEST(a_coding_nobody_asked_for_is_undone_on_wish),
	TEST(a_coding_is_left_alone_otherwise),
	TEST(a_coded_body_is_never_continued),
	TEST(a_coded_body_is_limited_by_what_it_becomes),
};

static const struct CMUnitTest leading_tests[] = {
	TEST(through_a_proxy_everything_is_asked_for_as_http),
	TEST(what_a_proxy_says_about_a_failure_is_told),
	TEST(without_a_proxy_no_cache_control_is_sent),
	TEST(the_environments_proxies_are_not_used),
	TEST(the_environment_cannot_take_the_proxy_away),
	TEST(redirects_are_followed_a_few_times),
	TEST(each_hop_of_a_redirect_is_asked_about),
	TEST(redirects_lead_to_http_and_https_only),
	TEST(cookies_do_not_follow_a_redirect_to_another_host),
	TEST(cookies_follow_a_redirect_within_the_host),
	TEST(a_retry_begins_where_the_redirect_began),
	TEST(a_redirect_to_another_protocol_is_refused),
	TEST(bad_configurations_are_refused),
};

static const struct CMUnitTest fields_tests[] = {
	TEST(further_fields_are_sent),
	TEST(further_fields_do_not_follow_a_redirect_to_another_host),
	TEST(further_fields_follow_a_redirect_within_the_host),
	TEST(fields_that_are_none_are_refused),
};

static const struct CMUnitTest head_tests[] = {
	TEST(a_head_request_brings_all_but_the_body),
	TEST(a_head_request_can_fail_like_any_other),
};

static const struct CMUnitTest conditions_tests[] = {
	TEST(what_has_not_changed_ends_well_without_the_sink),
	TEST(what_has_changed_comes_whole),
	TEST(a_body_that_was_cut_is_resumed_without_the_condition),
	TEST(a_body_that_begins_anew_is_wanted_without_the_condition),
	TEST(another_host_cannot_say_that_nothing_has_changed),
};

static const struct CMUnitTest beginning_tests[] = {
	TEST(the_sink_is_told_when_a_body_begins),
	TEST(a_resumed_body_does_not_begin_again),
	TEST(a_body_that_may_not_begin_ends_the_request),
};

static const struct CMUnitTest pausing_tests[] = {
	TEST(a_sink_that_is_full_gets_the_same_bytes_later),
	TEST(a_pause_is_no_stall),
	TEST(a_stall_behind_a_pause_is_noticed),
	TEST(a_pause_is_not_longer_than_the_time_for_all),
	TEST(a_sink_that_wants_no_more_ends_the_request),
	TEST(a_sink_can_fail_behind_a_pause),
	TEST(busy_without_a_question_is_a_failure),
	TEST(a_reader_in_another_thread_wakes_a_paused_transfer),
};

static const struct CMUnitTest many_tests[] = {
	TEST(many_transfers_share_few_connections),
	TEST(a_client_can_go_while_transfers_run),
	TEST(a_client_can_go_while_transfers_are_paused),
	TEST(another_thread_can_wake_the_client),
	TEST(a_watched_descriptor_ends_the_wait),
	TEST(a_library_that_cannot_wait_is_no_endless_loop),
	TEST(a_sink_can_end_the_run),
};

static const struct CMUnitTest tls_tests[] = {
	TEST(tls_is_verified),
	TEST(https_is_not_redirected_to_http),
};

static const struct CMUnitTest http2_tests[] = {
	TEST(many_transfers_share_one_connection_over_http2),
	TEST(a_paused_transfer_holds_up_no_other_one_over_http2),
};

#define RUN(name, tests) cmocka_run_group_tests_name(name, tests, NULL, NULL)

int main(void)
{
	int n_failed = 0;

	n_failed += RUN("what is sent", sending_tests);
	n_failed += RUN("resume", resuming_tests);
	n_failed += RUN("how often", trying_tests);
	n_failed += RUN("limits and wrong bytes", limiting_tests);
	n_failed += RUN("proxy, cookies, redirects", leading_tests);
	n_failed += RUN("further fields", fields_tests);
	n_failed += RUN("HEAD", head_tests);
	n_failed += RUN("conditions", conditions_tests);
	n_failed += RUN("begin", beginning_tests);
	n_failed += RUN("back-pressure", pausing_tests);
	n_failed += RUN("many at once", many_tests);
	n_failed += RUN("TLS", tls_tests);
	n_failed += RUN("HTTP/2, with a real server", http2_tests);
	return n_failed;
}
