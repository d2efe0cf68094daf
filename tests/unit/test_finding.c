/* finding: the worst that a check has found, and how much more there was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/finding.h"

static void the_worst_stays_and_the_others_are_counted(void **state)
{
	struct finding f = {0};

	finding_ok(&f, "all is %s", "well");
	assert_int_equal(f.verdict, VERDICT_OK);
	assert_string_equal(f.what, "all is well");
	finding_warning(&f, "mend it", "one %d", 1);
	assert_string_equal(f.what, "one 1");
	assert_int_equal(f.n_more, 0);
	finding_failure(&f, "mend this first", "two");
	finding_failure(&f, NULL, "three");
	finding_ok(&f, "four");
	assert_int_equal(f.verdict, VERDICT_FAILURE);
	assert_string_equal(f.what, "two");
	assert_string_equal(f.advice, "mend this first");
	assert_int_equal(f.n_more, 2);
}

static void what_was_not_looked_at_is_worse_than_well_and_better_than_a_warning(void **state)
{
	struct finding f = {0};

	finding_ok(&f, "one");
	finding_not_looked(&f, "two");
	assert_string_equal(f.what, "two");
	finding_warning(&f, "do it", "three");
	assert_string_equal(f.what, "three");
	assert_int_equal(f.n_more, 1);
	finding_warning(&f, NULL, "four");
	assert_string_equal(f.advice, "do it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worst_stays_and_the_others_are_counted),
		cmocka_unit_test(
			what_was_not_looked_at_is_worse_than_well_and_better_than_a_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
