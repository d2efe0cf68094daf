/*
 * peer: how the address of an ECU is written. Asking one is tested in tests/integration/test_otactl.py.
 */
#include "otaclient/api/peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"

static void addresses_are_hosts_with_or_without_a_port(void **state)
{
	static const struct {
		const char *text, *host;
		unsigned port;
	} rows[] = {
		{"10.0.0.2", "10.0.0.2", 50051},
		{"ecu-1.local:1", "ecu-1.local", 1},
		{"localhost:65535", "localhost", 65535},
		{"::1", "::1", 50051},
		{"[::1]", "::1", 50051},
		{"[fe80::1%eth0]:50052", "fe80::1%eth0", 50052},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct peer_address a;

		assert_int_equal(peer_address_parse(rows[i].text, &a, NULL), 0);
		assert_string_equal(a.host, rows[i].host);
		assert_int_equal(a.port, rows[i].port);
	}
}

static void what_is_no_address_is_refused(void **state)
{
	static const char *const texts[] = {"", ":1", "[]", "[::1", "[::1]x", "a:b:c", "a b",
		"http://x", "[a]:1:2"};
	struct peer_address a;
	struct ota_err err = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(peer_address_parse(texts[i], &a, &err), -EINVAL);
	peer_address_parse("a:b:c", &a, &err);
	assert_string_equal(err.msg,
		"'a:b:c' is no address of an ECU: it must be HOST, HOST:PORT or [IPV6]:PORT");
}

static void a_port_is_a_number_that_exists(void **state)
{
	static const char *const texts[] = {"a:", "a:0", "a:65536", "a:-1", "a:+1", "a: 1", "a:1x",
		"a:99999999999999999999"};
	struct peer_address a;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct ota_err err = {0};

		assert_int_equal(peer_address_parse(texts[i], &a, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "the port must be a number from 1 to 65535"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_hosts_with_or_without_a_port),
		cmocka_unit_test(what_is_no_address_is_refused),
		cmocka_unit_test(a_port_is_a_number_that_exists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
