/*
 * test_counters: what the proxy shows of its work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/counters.h"

static void numbers_add_up(void **state)
{
	struct counters c = {0};

	counters_add(&c, COUNTER_HITS, 1);
	counters_add(&c, COUNTER_HITS, 1);
	counters_add(&c, COUNTER_CLIENT_BYTES, (uint64_t)5 << 40);
	counters_add(&c, COUNTER_OPEN_REQUESTS, 3);
	counters_sub(&c, COUNTER_OPEN_REQUESTS, 2);
	assert_int_equal(counters_get(&c, COUNTER_HITS), 2);
	assert_int_equal(counters_get(&c, COUNTER_MISSES), 0);
	assert_int_equal(counters_get(&c, COUNTER_CLIENT_BYTES), (uint64_t)5 << 40);
	assert_int_equal(counters_get(&c, COUNTER_OPEN_REQUESTS), 1);
}

static void a_person_sees_aligned_lines_with_units(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct counters c = {0};

	for (unsigned i = 0; i < COUNTER_COUNT; i++)
		counters_add(&c, i, i + 1);
	counters_add(&c, COUNTER_ORIGIN_BYTES, UINT64_MAX - 6);
	assert_int_equal(counters_text(&c, &b), 0);
	assert_string_equal(buf_str(&b),
		"Since the proxy was started:\n"
		"  Answered from the cache                     1 requests\n"
		"  Fetched from the origin                     2 requests\n"
		"  Joined a running fetch                      3 requests\n"
		"  Still the newest                            4 requests\n"
		"  Refused                                     5 requests\n"
		"  From origins             18446744073709551615 bytes\n"
		"  To clients                                  7 bytes\n"
		"  Wrong digest                                8 bodies\n"
		"  Removed for room                            9 entries\n"
		"  Open now                                   10 requests\n");
}

static void monitoring_sees_openmetrics(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct counters c = {0};

	counters_add(&c, COUNTER_HITS, 12);
	counters_add(&c, COUNTER_CLIENT_BYTES, 34);
	counters_add(&c, COUNTER_OPEN_REQUESTS, 5);
	assert_int_equal(counters_openmetrics(&c, &b), 0);
	assert_int_equal(strncmp(buf_str(&b),
				 "# TYPE otaproxy_cache_hits counter\n"
				 "# HELP otaproxy_cache_hits Requests answered from the cache.\n"
				 "otaproxy_cache_hits_total 12\n"
				 "# TYPE otaproxy_cache_misses counter\n",
				 148),
		0);
	assert_non_null(strstr(buf_str(&b),
		"\n# TYPE otaproxy_client_sent_bytes counter\n"
		"# UNIT otaproxy_client_sent_bytes bytes\n"
		"# HELP otaproxy_client_sent_bytes Bytes of bodies sent to clients.\n"
		"otaproxy_client_sent_bytes_total 34\n"));
	assert_non_null(
		strstr(buf_str(&b), "\n# TYPE otaproxy_open_requests gauge\n"
				    "# HELP otaproxy_open_requests Requests being answered now.\n"
				    "otaproxy_open_requests 5\n"
				    "# EOF\n"));
	assert_string_equal(buf_str(&b) + b.len_bytes - 6, "# EOF\n");
}

static void every_metric_is_named_once(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct counters c = {0};
	unsigned n = 0;

	assert_int_equal(counters_openmetrics(&c, &b), 0);
	for (const char *s = buf_str(&b); (s = strstr(s, "# TYPE ")); s++) {
		AUTO_BUF struct buf line = {0};

		assert_int_equal(buf_append(&line, s, strcspn(s, "\n")), 0);
		assert_null(strstr(s + 1, buf_str(&line)));
		n++;
	}
	assert_int_equal(n, COUNTER_COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_add_up),
		cmocka_unit_test(a_person_sees_aligned_lines_with_units),
		cmocka_unit_test(monitoring_sees_openmetrics),
		cmocka_unit_test(every_metric_is_named_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
