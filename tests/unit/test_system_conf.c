/* system_conf: values and times as systemd reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "otaclient/doctor/system_conf.h"

static const char *value_of(const char *text)
{
	static char value[16];
	int r = system_conf_value(text, strlen(text), "Manager", "Key", value, sizeof(value));

	return r == 0 ? value : r == -ENOENT ? "(none)" : "(too long)";
}

static void the_last_value_of_the_section_counts(void **state)
{
	assert_string_equal(value_of("[Manager]\nKey=1\n"), "1");
	assert_string_equal(
		value_of("[Manager]\nKey=1\n[Other]\nKey=2\n[Manager]\nKey = 3 \r\n"), "3");
	assert_string_equal(value_of("[Manager]\nKey=1\nKey="), "");
	assert_string_equal(value_of("Key=1\n[Other]\nKey=2\n"), "(none)");
	assert_string_equal(value_of(""), "(none)");
	assert_string_equal(value_of("[Manager]\n#Key=1\n;Key=2\n Key2=3\nKey"), "(none)");
	assert_string_equal(value_of("[Manager\nKey=1\n"), "(none)");
	assert_string_equal(value_of("[\nKey=1\n"), "(none)");
	assert_string_equal(value_of("[Manager]\nKey=0123456789abcdef\n"), "(too long)");
}

static void a_line_that_goes_on_hides_the_next(void **state)
{
	assert_string_equal(value_of("[Manager]\nOther=a \\\nKey=1\nKey=2\n"), "2");
	assert_string_equal(value_of("[Manager]\nOther=a \\\nKey=1\n"), "(none)");
	assert_string_equal(value_of("[Manager]\nKey=1 \\\n 2\n"), "1");
	assert_string_equal(value_of("[Manager]\nKey=1\\"), "1");
}

static uint64_t ms_of(const char *text)
{
	uint64_t ms;
	int r = system_conf_time(text, &ms);

	if (r < 0)
		fail_msg("%s: %d", text, r);
	return ms;
}

static void times_are_sums_of_numbers_and_units(void **state)
{
	assert_int_equal(ms_of("30"), 30000);
	assert_int_equal(ms_of("0"), 0);
	assert_int_equal(ms_of("500ms"), 500);
	assert_int_equal(ms_of("1.5s"), 1500);
	assert_int_equal(ms_of("1min 30s"), 90000);
	assert_int_equal(ms_of("2 minutes"), 120000);
	assert_int_equal(ms_of("1h1m1"), 3661000);
	assert_int_equal(ms_of("1w 1day"), 8 * 86400000ll);
	assert_int_equal(ms_of("off"), 0);
	assert_true(ms_of("infinity") == UINT64_MAX);
	assert_true(ms_of("1000000000000 w") == UINT64_MAX);
	assert_true(ms_of("1000000000w 5s") == UINT64_MAX);
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const texts[] = {"", "s", "soon", "5 parsecs", "-1", "1..2",
		"99999999999999999999999", "1s,", "5ss"};
	uint64_t ms;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(system_conf_time(texts[i], &ms), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_value_of_the_section_counts),
		cmocka_unit_test(a_line_that_goes_on_hides_the_next),
		cmocka_unit_test(times_are_sums_of_numbers_and_units),
		cmocka_unit_test(what_is_no_time_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
