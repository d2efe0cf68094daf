/*
 * test_sketch_index: which contents are found by the numbers that they have in common with another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metadata-gen/sketch_index.h"

/* The numbers from @from on. */
static struct content_sketch sketch(uint32_t from, uint32_t n)
{
	struct content_sketch s = {.n = n};

	for (uint32_t i = 0; i < n; i++)
		s.values[i] = from + i;
	return s;
}

static void put(struct sketch_index *x, size_t at, uint32_t content, uint32_t from, uint32_t n)
{
	const struct content_sketch s = sketch(from, n);

	sketch_index_put(x, at, content, &s);
}

static unsigned find(const struct sketch_index *x, uint32_t from, uint32_t n, uint32_t ret[3])
{
	const struct content_sketch s = sketch(from, n);

	return sketch_index_find(x, &s, 3, ret);
}

static void the_likest_come_first_and_of_equals_the_first(void **state)
{
	AUTO_SKETCH_INDEX struct sketch_index *x = sketch_index_new(6);
	uint32_t got[3];

	put(x, 0, 70, 100, 32);
	put(x, 1, 9, 110, 32);
	put(x, 2, 30, 105, 32);
	put(x, 3, 8, 110, 32);
	put(x, 4, 5, 130, 32);
	put(x, 5, 6, 500, 32);
	sketch_index_seal(x);
	assert_int_equal(find(x, 101, 32, got), 3);
	assert_int_equal(got[0], 70); /* 31 in common */
	assert_int_equal(got[1], 30); /* 28 */
	assert_int_equal(got[2], 8);  /* 23, as 9 */
}

static void next_to_nothing_in_common_is_nothing(void **state)
{
	AUTO_SKETCH_INDEX struct sketch_index *x = sketch_index_new(2);
	uint32_t got[3];

	put(x, 0, 1, 100, 32);
	put(x, 1, 2, 200, 0);
	sketch_index_seal(x);
	assert_int_equal(find(x, 130, 32, got), 0);
	assert_int_equal(find(x, 129, 32, got), 1);
	assert_int_equal(find(x, 200, 0, got), 0);
}

static void what_many_have_does_not_count(void **state)
{
	AUTO_SKETCH_INDEX struct sketch_index *x = sketch_index_new(49);
	uint32_t got[3];

	for (uint32_t i = 0; i < 48; i++)
		put(x, i, i, 100, 10);
	put(x, 48, 48, 109, 10); /* which makes 109 the number of 49 */
	sketch_index_seal(x);
	assert_int_equal(find(x, 107, 3, got), 0);
	assert_int_equal(find(x, 106, 3, got), 3);
	assert_int_equal(find(x, 109, 3, got), 0);
	assert_int_equal(find(x, 110, 3, got), 1);
	assert_int_equal(got[0], 48);
}

static void an_empty_index_has_nothing(void **state)
{
	AUTO_SKETCH_INDEX struct sketch_index *none = sketch_index_new(0);
	AUTO_SKETCH_INDEX struct sketch_index *left_out = sketch_index_new(3);
	uint32_t got[3];

	sketch_index_seal(none);
	assert_int_equal(find(none, 0, 32, got), 0);
	sketch_index_seal(left_out);
	assert_int_equal(find(left_out, 0, 32, got), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_likest_come_first_and_of_equals_the_first),
		cmocka_unit_test(next_to_nothing_in_common_is_nothing),
		cmocka_unit_test(what_many_have_does_not_count),
		cmocka_unit_test(an_empty_index_has_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
