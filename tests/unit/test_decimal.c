/*
 * decimal: what is a number, and what is not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

static int parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	return decimal_parse(text, strlen(text), min, max, ret_number);
}

static void digits_are_a_number_up_to_the_largest(void **state)
{
	uint64_t n;

	assert_int_equal(parse("0", 0, UINT64_MAX, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(parse("000000000000000000000000000042", 0, UINT64_MAX, &n), 0);
	assert_int_equal(n, 42);
	assert_int_equal(parse("18446744073709551615", 0, UINT64_MAX, &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(parse("18446744073709551616", 0, UINT64_MAX, &n), -EINVAL);
	assert_int_equal(parse("99999999999999999999999999", 0, UINT64_MAX, &n), -EINVAL);
	assert_true(n == UINT64_MAX); /* untouched */
}

static void limits_are_kept(void **state)
{
	uint64_t n;

	assert_int_equal(parse("2", 2, 100, &n), 0);
	assert_int_equal(parse("100", 2, 100, &n), 0);
	assert_int_equal(parse("1", 2, 100, &n), -EINVAL);
	assert_int_equal(parse("101", 2, 100, &n), -EINVAL);
	assert_int_equal(parse("1000", 2, 100, &n), -EINVAL);
	assert_int_equal(parse("5", 0, 4, &n), -EINVAL);
	assert_int_equal(parse("0", 0, 0, &n), 0);
}

static void anything_else_is_no_number(void **state)
{
	static const char *const texts[] = {
		"", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1a", "a", "1\n", "\xb2"};
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(parse(texts[i], 0, UINT64_MAX, &n), -EINVAL);
	assert_int_equal(decimal_parse("1\0", 2, 0, UINT64_MAX, &n), -EINVAL);
}

static void reading_stops_behind_the_digits_and_before_the_end(void **state)
{
	static const char text[] = "12-345";
	const char *at = text, *end = text + 5;
	uint64_t n;

	assert_int_equal(decimal_read(&at, end, 99, &n), 0);
	assert_int_equal(n, 12);
	assert_ptr_equal(at, text + 2);
	assert_int_equal(decimal_read(&at, end, 99, &n), -EINVAL); /* no digit */
	assert_ptr_equal(at, text + 2);
	at++;
	assert_int_equal(decimal_read(&at, end, 33, &n), -EINVAL);
	assert_ptr_equal(at, text + 3);
	assert_int_equal(n, 12);
	assert_int_equal(decimal_read(&at, end, 34, &n), 0);
	assert_int_equal(n, 34);
	assert_ptr_equal(at, end);
	assert_int_equal(decimal_read(&at, end, 99, &n), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digits_are_a_number_up_to_the_largest),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(anything_else_is_no_number),
		cmocka_unit_test(reading_stops_behind_the_digits_and_before_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
