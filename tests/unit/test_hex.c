/*
 * hex: bytes as text and back.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/hex.h"

static void every_byte_comes_back(void **state)
{
	uint8_t all[256], back[256];
	char text[513];

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	hex_encode(all, sizeof(all), text);
	assert_memory_equal(text, "000102", 6);
	assert_string_equal(text + 506, "fdfeff");
	assert_int_equal(hex_decode(text, 512, back), 0);
	assert_memory_equal(back, all, sizeof(all));
}

static void both_cases_are_read(void **state)
{
	uint8_t b[2];

	assert_int_equal(hex_decode("aBCd", 4, b), 0);
	assert_int_equal(b[0], 0xab);
	assert_int_equal(b[1], 0xcd);
}

static void nothing_is_nothing(void **state)
{
	char text[1] = {'x'};
	uint8_t b = 7;

	hex_encode(NULL, 0, text);
	assert_string_equal(text, "");
	assert_int_equal(hex_decode("", 0, &b), 0);
	assert_int_equal(b, 7);
}

static void anything_but_pairs_of_digits_is_refused(void **state)
{
	static const char *const bad[] = {
		"0", "0g", "g0", " 0", "0x", "-1", "\xff\xff", "/0", ":0", "@a", "`a"};
	uint8_t b[1] = {7};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hex_decode(bad[i], strlen(bad[i]), b), -EBADMSG);
	assert_int_equal(b[0], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_comes_back),
		cmocka_unit_test(both_cases_are_read),
		cmocka_unit_test(nothing_is_nothing),
		cmocka_unit_test(anything_but_pairs_of_digits_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
