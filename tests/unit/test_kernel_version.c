/* kernel_version: which kernel is newer, which release is older. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "boot-controllers/grub/kernel_version.h"

static void assert_before(const char *a, const char *b)
{
	assert_true(kernel_version_cmp(a, b) < 0);
	assert_true(kernel_version_cmp(b, a) > 0);
}

static void numbers_compare_as_numbers(void **state)
{
	assert_before("5.15.0-25-generic", "5.15.0-100-generic");
	assert_before("5.9.0-1-amd64", "5.10.0-1-amd64");
	assert_before("5.15.0", "5.15.0-1-generic");
	assert_before("6.8.0-rc1", "6.8.0-1");
	assert_before("5.15.0-9-generic", "5.15.0-9-lowlatency");
	assert_before("5.99999999999999999999.0", "5.100000000000000000000.0");
}

static void equal_versions_are_equal(void **state)
{
	assert_int_equal(kernel_version_cmp("5.15.0-25-generic", "5.15.0-25-generic"), 0);
	assert_int_equal(kernel_version_cmp("5.015.0", "5.15.0"), 0);
	assert_int_equal(kernel_version_cmp("", ""), 0);
}

static void releases_compare_without_their_suffix(void **state)
{
	bool before;

	assert_int_equal(release_is_before("3.14.0", "3.14.1", &before), 0);
	assert_true(before);
	assert_int_equal(release_is_before("3.14.1.dev2+g1234", "3.14.1", &before), 0);
	assert_false(before);
	assert_int_equal(release_is_before("4.0.0", "3.14.1", &before), 0);
	assert_false(before);
	assert_int_equal(release_is_before("3.9", "3.14.1", &before), 0);
	assert_true(before);
	assert_int_equal(release_is_before("not a version", "3.14.1", &before), -EINVAL);
	assert_int_equal(release_is_before("", "3.14.1", &before), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_compare_as_numbers),
		cmocka_unit_test(equal_versions_are_equal),
		cmocka_unit_test(releases_compare_without_their_suffix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
