/*
 * crc32: the sum that everybody else computes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/crc32.h"

static void sums_are_those_of_zip(void **state)
{
	static const char zeros[32];

	assert_int_equal(crc32_of("", 0), 0);
	assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
	assert_int_equal(crc32_of(zeros, sizeof(zeros)), 0x190a55ad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_are_those_of_zip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
