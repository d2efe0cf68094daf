/* kernel_line: words of the kernel's command line, and what it does after a panic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "boot-controllers/kernel_line.h"

static const char *value_of(const char *line, const char *name)
{
	static char value[32];
	int r = kernel_line_value(line, strlen(line), name, value, sizeof(value));

	return r == 0 ? value : r == -ENOENT ? "(none)" : "(too long)";
}

static void a_word_has_its_last_value(void **state)
{
	static const char line[] = "BOOT_IMAGE=/vmlinuz root=UUID=a-b ro panic=5 quiet panic=10\n";

	assert_string_equal(value_of(line, "panic"), "10");
	assert_string_equal(value_of(line, "root"), "UUID=a-b");
	assert_string_equal(value_of(line, "quiet"), "(none)");
	assert_string_equal(value_of(line, "pan"), "(none)");
	assert_string_equal(value_of(line, "anic"), "(none)");
	assert_string_equal(value_of("", "panic"), "(none)");
	assert_string_equal(value_of("panic=", "panic"), "");
	assert_string_equal(value_of("x.panic=3", "panic"), "(none)");
}

static void quotes_hold_a_word_together_and_fall_off(void **state)
{
	assert_string_equal(value_of("a=\"b panic=1\" c", "panic"), "(none)");
	assert_string_equal(value_of("a=\"b c\" d", "a"), "b c");
	assert_string_equal(value_of("\"a=b c\" d", "a"), "b c");
	assert_string_equal(value_of("a=\"b", "a"), "b");
	assert_string_equal(value_of("a=\"", "a"), "");
	assert_string_equal(value_of("\"", "a"), "(none)");
}

static void what_is_for_process_1_does_not_count(void **state)
{
	assert_string_equal(value_of("quiet -- panic=3", "panic"), "(none)");
	assert_string_equal(value_of("quiet --panic=3 panic=4", "panic"), "4");
}

static void a_value_that_is_too_long_is_refused(void **state)
{
	assert_string_equal(value_of("a=1234567890123456789012345678901", "a"),
		"1234567890123456789012345678901");
	assert_string_equal(value_of("a=12345678901234567890123456789012", "a"), "(too long)");
}

static int panic_of(const char *line)
{
	return kernel_line_panic_s(line, strlen(line));
}

static void a_panic_restarts_in_time_at_once_or_never(void **state)
{
	assert_int_equal(panic_of("quiet panic=10"), 10);
	assert_int_equal(panic_of("panic=-1 quiet"), -1);
	assert_int_equal(panic_of("quiet"), 0);
	assert_int_equal(panic_of("panic=0"), 0);
	assert_int_equal(panic_of("panic=soon"), 0);
	assert_int_equal(panic_of("panic="), 0);
	assert_int_equal(panic_of("panic=99999999999999999999999"), 0);
	assert_int_equal(panic_of("panic=1000001"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_word_has_its_last_value),
		cmocka_unit_test(quotes_hold_a_word_together_and_fall_off),
		cmocka_unit_test(what_is_for_process_1_does_not_count),
		cmocka_unit_test(a_value_that_is_too_long_is_refused),
		cmocka_unit_test(a_panic_restarts_in_time_at_once_or_never),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
