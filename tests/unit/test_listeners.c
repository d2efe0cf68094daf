/* listeners: whom the kernel's lists of sockets show on a port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "otaclient/doctor/listeners.h"

#define HEAD                                                                                  \
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  " \
	"timeout inode\n"
#define REST " 00000000:00000000 00:00000000 00000000     0        0 "
#define NONE "00000000000000000000000000000000:0000"

static uint64_t find(const char *text, bool v6, const char *address, uint16_t port)
{
	struct listen_address a;

	assert_true(listen_address_parse(address, &a));
	return listeners_find(text, strlen(text), v6, &a, port);
}

static void the_same_address_or_all_of_them_keep_a_port(void **state)
{
	static const char text[] = HEAD "   0: 0100007F:1F90 00000000:0000 0A" REST "11 1 x\n"
					"   1: 00000000:1F91 00000000:0000 0A" REST "12 1 x\n"
					"   2: 0200A8C0:1F92 0300A8C0:1234 01" REST "13 1 x\n";

	assert_int_equal(find(text, false, "127.0.0.1", 8080), 11);
	assert_int_equal(find(text, false, "0.0.0.0", 8080), 11);
	assert_int_equal(find(text, false, "::", 8080), 11);
	assert_int_equal(find(text, false, "127.0.0.2", 8080), 0);
	assert_int_equal(find(text, false, "::1", 8080), 0);
	assert_int_equal(find(text, false, "10.0.0.1", 8081), 12);
	assert_int_equal(find(text, false, "fd00::1", 8081), 0);
	assert_int_equal(find(text, false, "192.168.0.2", 8082), 0); /* a connection */
	assert_int_equal(find(text, false, "127.0.0.1", 8079), 0);
}

static void a_socket_for_all_of_ipv6_takes_ipv4_as_well(void **state)
{
	static const char text[] =
		"   0: 00000000000000000000000000000000:1F90 " NONE " 0A" REST "21 1 x\n"
		"   1: 000080FE00000000000000000100000A:1F91 " NONE " 0A" REST "22 1 x";

	assert_int_equal(find(text, true, "10.0.0.1", 8080), 21);
	assert_int_equal(find(text, true, "::1", 8080), 21);
	assert_int_equal(find(text, true, "fe80::a00:1%eth0", 8081), 22);
	assert_int_equal(find(text, true, "0.0.0.0", 8081), 0);
}

static void an_address_of_ipv4_in_a_socket_of_ipv6_is_one_of_ipv4(void **state)
{
	static const char text[] =
		"0: 0000000000000000FFFF0000025DFEA9:C383 " NONE " 0A" REST "23 1 x\n";

	assert_int_equal(find(text, true, "169.254.93.2", 50051), 23);
	assert_int_equal(find(text, true, "::ffff:169.254.93.2", 50051), 23);
	assert_int_equal(find(text, true, "0.0.0.0", 50051), 23);
	assert_int_equal(find(text, true, "::", 50051), 23);
	assert_int_equal(find(text, true, "169.254.93.3", 50051), 0);
	assert_int_equal(find(text, true, "fd00::1", 50051), 0);
}

static void lines_of_another_form_are_passed_over(void **state)
{
	static const char *const lines[] = {
		"0: 0100007F:1F90 00000000:0000 0A",
		"0: 0100007:1F90 00000000:0000 0A" REST "31",
		"0: 0100007F-1F90 00000000:0000 0A" REST "31",
		"0: 0100007F:1F9 00000000:0000 0A" REST "31",
		"0: 0100007G:1F90 00000000:0000 0A" REST "31",
		"0: 0100007F:1F90 00000000:0000 A_" REST "31",
		"0: 0100007F:1F90 00000000:0000 0A" REST "31x",
		"0: 0100007F:1F90 00000000:0000 0A" REST "18446744073709551616",
		"0: 0100007F:1F90 00000000:0000 0A" REST "0",
		"",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(find(lines[i], false, "127.0.0.1", 8080), 0);
	assert_int_equal(
		find("0: 0100007F:1F90 00000000:0000 0A" REST "31", false, "127.0.0.1", 8080), 31);
}

static void what_is_no_address_is_refused(void **state)
{
	struct listen_address a = {0};

	assert_false(listen_address_parse("", &a));
	assert_false(listen_address_parse("localhost", &a));
	assert_false(listen_address_parse("1.2.3", &a));
	assert_false(listen_address_parse("0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_address_or_all_of_them_keep_a_port),
		cmocka_unit_test(a_socket_for_all_of_ipv6_takes_ipv4_as_well),
		cmocka_unit_test(an_address_of_ipv4_in_a_socket_of_ipv6_is_one_of_ipv4),
		cmocka_unit_test(lines_of_another_form_are_passed_over),
		cmocka_unit_test(what_is_no_address_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
