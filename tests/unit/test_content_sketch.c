/*
 * test_content_sketch: what sketches of alike contents have in common, and those of others have not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "metadata-gen/content_sketch.h"

enum {
	SIZE = 100 * 1000,
};

static char *noise(uint32_t seed)
{
	char *data = malloc(2 * SIZE);

	assert_non_null(data);
	for (size_t i = 0; i < 2 * SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (char)(seed >> 24);
	}
	return data;
}

static unsigned common(const struct content_sketch *a, const struct content_sketch *b)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < a->n; i++)
		for (uint32_t j = 0; j < b->n; j++)
			n += a->values[i] == b->values[j];
	return n;
}

static unsigned common_of(const void *a, size_t a_len, const void *b, size_t b_len)
{
	struct content_sketch x, y;

	content_sketch_make(a, a_len, &x);
	content_sketch_make(b, b_len, &y);
	return common(&x, &y);
}

static void values_ascend_and_are_there_once(void **state)
{
	AUTO_FREE char *data = noise(1);
	struct content_sketch s;

	content_sketch_make(data, SIZE, &s);
	assert_int_equal(s.n, SKETCH_VALUES);
	for (uint32_t i = 1; i < s.n; i++)
		assert_true(s.values[i - 1] < s.values[i]);
}

static void what_is_shorter_than_a_stretch_has_none(void **state)
{
	struct content_sketch s;

	content_sketch_make("", 0, &s);
	assert_int_equal(s.n, 0);
	content_sketch_make("twenty-three characters", 23, &s);
	assert_int_equal(s.n, 0);
	content_sketch_make("twenty-four characters..", 24, &s);
	assert_int_equal(s.n, 1);
}

static void what_repeats_itself_has_few(void **state)
{
	static const char zeros[SIZE];
	struct content_sketch s;

	content_sketch_make(zeros, SIZE, &s);
	assert_int_equal(s.n, 1);
}

static void only_the_bytes_of_a_stretch_count(void **state)
{
	AUTO_FREE char *data = noise(1), *other = noise(2);
	char a[1024 + 24], b[1024 + 24];
	struct content_sketch x, y;

	/* The same 24 bytes behind different ones: one of their values is the same, and it is that of them alone. */
	memcpy(a, data, 1024);
	memcpy(b, other, 1024);
	memcpy(a + 1024, data + SIZE, 24);
	memcpy(b + 1024, data + SIZE, 24);
	content_sketch_make(a + 1000, 48, &x);
	content_sketch_make(b + 1000, 48, &y);
	assert_int_equal(common(&x, &y), 1);
	content_sketch_make(data + SIZE, 24, &y);
	assert_int_equal(common(&x, &y), 1);
}

static void what_was_moved_and_changed_has_most_in_common(void **state)
{
	AUTO_FREE char *old = noise(1), *made = noise(2);

	assert_int_equal(common_of(old, SIZE, old, SIZE), SKETCH_VALUES);
	/* All of it a little further behind. */
	memcpy(made + 333, old, SIZE);
	assert_in_range(common_of(old, SIZE, made, SIZE + 333), SKETCH_VALUES - 4, SKETCH_VALUES);
	/* A byte in each 200. */
	for (size_t i = 0; i < SIZE; i += 200)
		made[i] ^= 1;
	assert_in_range(common_of(old, SIZE, made, SIZE), SKETCH_VALUES / 2, SKETCH_VALUES);
}

static void a_half_has_about_half_in_common_and_others_nothing(void **state)
{
	AUTO_FREE char *old = noise(1), *other = noise(2);

	assert_in_range(
		common_of(old, SIZE, old, SIZE / 2), SKETCH_VALUES / 4, SKETCH_VALUES * 3 / 4);
	assert_int_equal(common_of(old, SIZE, other, SIZE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_ascend_and_are_there_once),
		cmocka_unit_test(what_is_shorter_than_a_stretch_has_none),
		cmocka_unit_test(what_repeats_itself_has_few),
		cmocka_unit_test(only_the_bytes_of_a_stretch_count),
		cmocka_unit_test(what_was_moved_and_changed_has_most_in_common),
		cmocka_unit_test(a_half_has_about_half_in_common_and_others_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
