/*
 * machine_claim: which command line is the Python client's.
 *
 * Elsewhere: the claim itself, on a machine with a process (integration/test_daemon.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "otaclient/machine_claim.h"

/* A literal with the NUL of its last argument. */
#define is_client(text) machine_claim_is_python_client(text, sizeof(text))

static void the_python_client_is_known_by_how_it_is_started(void **state)
{
	assert_true(is_client("/opt/ota/client/venv/bin/python3\0-m\0otaclient"));
	assert_true(is_client("python3.8\0-u\0-m\0otaclient\0--x"));
	assert_true(is_client("/otaclient/otaclient"));
	assert_true(is_client("otaclient"));
}

static void others_are_not_taken_for_it(void **state)
{
	assert_false(is_client(""));
	assert_false(is_client("python3\0-m\0otaclient_tools"));
	assert_false(is_client("python3\0-m\0http.server\0otaclient"));
	assert_false(is_client("python3\0/opt/otaclient"));
	assert_false(is_client("python3\0-m"));
	assert_false(is_client("journalctl\0-m\0otaclient"));
	assert_false(is_client("journalctl\0-u\0otaclient"));
	assert_false(is_client("vim\0otaclient"));
	assert_false(is_client("otaclient-fetcher"));
	assert_false(machine_claim_is_python_client(NULL, 0));
}

static void what_is_cut_off_is_not_read_past_its_end(void **state)
{
	static const char text[] = "python3\0-m\0otaclient";

	for (size_t len = 0; len < sizeof(text); len++)
		assert_false(machine_claim_is_python_client(text, len));
	assert_true(machine_claim_is_python_client(text, sizeof(text)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_python_client_is_known_by_how_it_is_started),
		cmocka_unit_test(others_are_not_taken_for_it),
		cmocka_unit_test(what_is_cut_off_is_not_read_past_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
