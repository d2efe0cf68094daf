/*
 * proxy_counts: the page that otaproxy makes, and pages that somebody else did.
 */
#include "otaclient/proxy/proxy_counts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/counters.h"

static int parse(const char *text, struct proxy_counts *ret_counts)
{
	return proxy_counts_parse(text, strlen(text), ret_counts);
}

static void the_page_of_the_proxy_is_understood(void **state)
{
	AUTO_BUF struct buf page = {0};
	struct proxy_counts have = {0};
	struct counters c = {0};

	counters_add(&c, COUNTER_HITS, 100);
	counters_add(&c, COUNTER_MISSES, 20);
	counters_add(&c, COUNTER_JOINED, 3);
	counters_add(&c, COUNTER_REVALIDATED, 2);
	counters_add(&c, COUNTER_REFUSED, 1000);
	assert_int_equal(counters_openmetrics(&c, &page), 0);
	assert_int_equal(parse(buf_str(&page), &have), 0);
	assert_int_equal(have.total_requests, 123);
	assert_int_equal(have.local_hits, 102);
}

#define HITS        "otaproxy_cache_hits_total 1\n"
#define MISSES      "otaproxy_cache_misses_total 1\n"
#define JOINED      "otaproxy_joined_requests_total 1\n"
#define REVALIDATED "otaproxy_revalidated_requests_total 1\n"
#define REST        MISSES JOINED REVALIDATED

static void a_page_that_is_wrong_changes_nothing(void **state)
{
	static const char *const pages[] = {
		"",
		"\n",
		"no.\n",
		"<html>",
		HITS MISSES JOINED,
		MISSES JOINED REVALIDATED,
		HITS HITS REST,
		HITS REST "otaproxy_cache_misses_total 1",
		"otaproxy_cache_hits_total 1" REST,
		"otaproxy_cache_hits_total \n" REST,
		"otaproxy_cache_hits_total\n" REST,
		"otaproxy_cache_hits_total  1\n" REST,
		"otaproxy_cache_hits_total 1 \n" REST,
		"otaproxy_cache_hits_total 1\r\n" REST,
		"otaproxy_cache_hits_total -1\n" REST,
		"otaproxy_cache_hits_total +1\n" REST,
		"otaproxy_cache_hits_total 1.0\n" REST,
		"otaproxy_cache_hits_total 1e3\n" REST,
		"otaproxy_cache_hits_total NaN\n" REST,
		"otaproxy_cache_hits_total 0x1\n" REST,
		"otaproxy_cache_hits_total 1152921504606846977\n" REST,
		"otaproxy_cache_hits_total 18446744073709551616\n" REST,
		"otaproxy_cache_hits_total 99999999999999999999999999999999\n" REST,
		"otaproxy_cache_hits_total{a=\"b\"} 1\n" REST,
		" otaproxy_cache_hits_total 1\n" REST,
		"OTAPROXY_CACHE_HITS_TOTAL 1\n" REST,
		"# otaproxy_cache_hits_total 1\n" REST,
	};

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		struct proxy_counts have = {.total_requests = 7, .local_hits = 8};

		if (parse(pages[i], &have) != -EBADMSG)
			fail_msg("\"%s\" was taken", pages[i]);
		assert_int_equal(have.total_requests, 7);
		assert_int_equal(have.local_hits, 8);
	}
}

static void a_nul_ends_nothing(void **state)
{
	static const char page[] = "otaproxy_cache_hits_total 1\0\n" REST;
	static const char after[] = "\0\n" HITS REST;
	struct proxy_counts have;

	assert_int_equal(proxy_counts_parse(page, sizeof(page) - 1, &have), -EBADMSG);
	assert_int_equal(proxy_counts_parse(after, sizeof(after) - 1, &have), 0);
}

static void the_largest_numbers_can_be_added(void **state)
{
	struct proxy_counts have;

	assert_int_equal(parse("otaproxy_cache_hits_total 1152921504606846976\n"
			       "otaproxy_cache_misses_total 1152921504606846976\n"
			       "otaproxy_joined_requests_total 1152921504606846976\n"
			       "otaproxy_revalidated_requests_total 1152921504606846976\n",
				 &have),
		0);
	assert_true(have.total_requests == 3 * ((uint64_t)1 << 60));
	assert_true(have.local_hits == 2 * ((uint64_t)1 << 60));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_page_of_the_proxy_is_understood),
		cmocka_unit_test(a_page_that_is_wrong_changes_nothing),
		cmocka_unit_test(a_nul_ends_nothing),
		cmocka_unit_test(the_largest_numbers_can_be_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
