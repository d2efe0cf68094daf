/*
 * log_http and log_grpc: which address a configured log server leads to. What they send: tests/integration/test_remote_log.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "otaclient/api/log_grpc.h"
#include "otaclient/log/log_http.h"

static void posted_to(const char *url, const char *ecu_id, const char *want)
{
	AUTO_FREE char *target = log_http_target(url, ecu_id);

	assert_string_equal(target, want);
}

static void lines_are_posted_below_the_server_under_the_id(void **state)
{
	posted_to("http://127.0.0.1:8083", "main", "http://127.0.0.1:8083/main");
	posted_to("http://127.0.0.1:8083/", "main", "http://127.0.0.1:8083/main");
	posted_to("https://logs.local/x//", "a-b_c.d~1", "https://logs.local/x/a-b_c.d~1");
	posted_to("http://h", "../a b?\xe6", "http://h/..%2Fa%20b%3F%E6");
}

static void asked_at(const char *url_host, const char *url_port, const char *want)
{
	AUTO_LOG_GRPC struct log_grpc *g = NULL;
	struct ota_err err = {0};

	if (log_grpc_new(url_host, url_port, "main", &g, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(log_grpc_address(g), want);
	assert_string_equal(log_grpc_way(g).name, want);
}

static void grpc_takes_the_host_of_one_and_the_port_of_the_other(void **state)
{
	asked_at("http://127.0.0.1:8083", "http://127.0.0.1:8084", "127.0.0.1:8084");
	asked_at("http://logs.local/x", "http://elsewhere:9000/", "logs.local:9000");
	asked_at("http://[fe80::1]:8083", "http://h:1", "[fe80::1]:1");
	asked_at("http://[::1]/", "http://[::2]", "[::1]:80");
	asked_at("https://logs", "https://h", "logs:443");
	asked_at("http://logs:", "http://h:", "logs:80");
}

static void what_is_no_address_is_refused_with_a_sentence(void **state)
{
	static const char *const hosts[] = {"http://:8083", "http://[::1:8083/]", "logs", ""};
	char longest[400] = "http://";

	memset(longest + 7, 'a', 300);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct log_grpc *g = NULL;
		struct ota_err err = {0};

		assert_int_equal(log_grpc_new(hosts[i], "http://h:1", "main", &g, &err), -EINVAL);
		assert_memory_equal(err.msg, "Cannot send to the log server: ", 31);
		assert_null(g);
	}
	for (const char *const *port =
			(const char *const[]){"http://h:0", "http://h:65536", longest, NULL};
		*port; port++) {
		struct log_grpc *g = NULL;
		struct ota_err err = {0};

		assert_int_equal(log_grpc_new("http://h", *port, "main", &g, &err), -EINVAL);
		assert_memory_equal(err.msg, "Cannot send to the log server: ", 31);
	}
}

static void an_http_way_needs_a_url(void **state)
{
	struct log_http *h = NULL;
	struct ota_err err = {0};

	assert_int_equal(log_http_new("ftp://h", "main", NULL, &h, &err), -EINVAL);
	assert_memory_equal(err.msg, "Cannot send to the log server: ", 31);
	assert_null(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_posted_below_the_server_under_the_id),
		cmocka_unit_test(grpc_takes_the_host_of_one_and_the_port_of_the_other),
		cmocka_unit_test(what_is_no_address_is_refused_with_a_sentence),
		cmocka_unit_test(an_http_way_needs_a_url),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
