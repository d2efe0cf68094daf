/*
 * test_via: what is handed on of a Via field is composed of words alone, and there is an end to it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/via.h"

static void what_is_an_entry_is_handed_on_without_comments(void **state)
{
	/* clang-format off */
	static const struct {
		const char *value, *text;
		unsigned n_hops;
	} rows[] = {
		{"", "", 0},
		{"1.1 a", "1.1 a", 1},
		{" 1.1\t a ,HTTP/1.0 host:8080 (comment),", "1.1 a, HTTP/1.0 host:8080", 2},
		{"1.1 a (x, 1.1 b (c)), 1.1 d", "1.1 a, 1.1 d", 2},
		{"1.1 a (x \\) 1.1 b), 1.1 [::1]:80", "1.1 a, 1.1 [::1]:80", 2},
		{", ,,", "", 0},
		/* no entries */
		{"a", "", 0},
		{"1.1 a b, 1.1 c", "1.1 c", 1},
		{"(1.1 a), 1.1 c", "1.1 c", 1},
		{"1.1 a (not closed, 1.1 b", "", 0},
		{"1.1 a\x01, 1.1 \xc3\xa4, 1.1 \"q\", 1.1 c", "1.1 c", 1},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct via v = {0};

		assert_int_equal(via_add(&v, rows[i].value), 0);
		assert_string_equal(v.text, rows[i].text);
		assert_int_equal(v.n_hops, rows[i].n_hops);
		assert_int_equal(v.len_bytes, strlen(v.text));
	}
}

static void several_fields_are_one_list(void **state)
{
	struct via v = {0};

	assert_int_equal(via_add(&v, "1.1 a"), 0);
	assert_int_equal(via_add(&v, "1.0 b, 1.1 c"), 0);
	assert_string_equal(v.text, "1.1 a, 1.0 b, 1.1 c");
}

static void there_is_an_end_to_it(void **state)
{
	static char name[VIA_TEXT_MAX];
	struct via v = {0}, w = {0};

	for (unsigned i = 0; i < VIA_HOPS_MAX; i++)
		assert_int_equal(via_add(&v, "1.1 a"), 0);
	assert_int_equal(via_add(&v, "1.1 a"), -E2BIG);
	assert_int_equal(v.n_hops, VIA_HOPS_MAX);
	memset(name, 'a', sizeof(name) - 1);
	name[1] = ' ';
	assert_int_equal(via_add(&w, name), 0);
	assert_int_equal(w.len_bytes, VIA_TEXT_MAX - 1);
	assert_int_equal(via_add(&w, "1 b"), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_an_entry_is_handed_on_without_comments),
		cmocka_unit_test(several_fields_are_one_list),
		cmocka_unit_test(there_is_an_end_to_it),
	};

	return cmocka_run_group_tests_name("via", tests, NULL, NULL);
}
