/* tegra_release: which board support package a Jetson has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "boot-controllers/cboot/tegra_release.h"

static void the_first_line_is_read(void **state)
{
	static const char text[] =
		"# R32 (release), REVISION: 6.1, GCID: 27863751, BOARD: t186ref\nmore\n";
	struct tegra_release r;

	assert_int_equal(tegra_release_parse(text, strlen(text), &r, NULL), 0);
	assert_int_equal(r.major, 32);
	assert_int_equal(r.minor, 6);
	assert_int_equal(r.patch, 1);
	assert_true(tegra_release_before(&r, 34, 0, 0));
	assert_true(tegra_release_before(&r, 32, 7, 0));
	assert_true(tegra_release_before(&r, 32, 6, 2));
	assert_false(tegra_release_before(&r, 32, 6, 1));
	assert_false(tegra_release_before(&r, 31, 9, 9));
}

static void anything_else_is_refused(void **state)
{
	static const char *const odd[] = {"", "R32 (release), REVISION: 6.1",
		"# R (release), REVISION: 6.1", "# R32, REVISION: 6.1",
		"# R32 (release, REVISION: 6.1", "# R32 (release), REVISION: 6",
		"# R32 (release), REVISION: 6.", "# R32 (release), REVISION:\n6.1",
		"# R10000 (release), REVISION: 6.1", "# R32 (release), REVISION: 4294967297.1"};
	static char big[TEGRA_RELEASE_MAX_BYTES + 1] = "# R32 (release), REVISION: 6.1";
	struct tegra_release r;
	struct ota_err err = {0};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(tegra_release_parse(odd[i], strlen(odd[i]), &r, &err), -EBADMSG);
	assert_string_equal(
		err.msg, "It does not begin with \"# R<number> (…), REVISION: <number>.<number>\"");
	assert_int_equal(tegra_release_parse(big, sizeof(big), &r, NULL), -EBADMSG);
	assert_int_equal(tegra_release_parse(big, sizeof(big) - 1, &r, NULL), 0);
}

static void the_short_form_is_read(void **state)
{
	static const char *const odd[] = {"", "R", "32.6.1", "R32.6", "R32.6.", "R32.6.1 ",
		"R32.6.1.2", "r32.6.1", "R10000.6.1"};
	struct tegra_release r;

	assert_int_equal(tegra_release_parse_short("R32.6.1", &r), 0);
	assert_int_equal(r.major * 100 + r.minor * 10 + r.patch, 3261);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(tegra_release_parse_short(odd[i], &r), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_line_is_read),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(the_short_form_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
