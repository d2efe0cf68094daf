/*
 * arena: memory that lives and dies together.
 */
#include <stdalign.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/cleanup.h"

static void memory_is_zeroed_and_aligned_for_any_type(void **state)
{
	AUTO_ARENA struct arena a = {0};

	for (size_t size = 0; size < 600; size++) {
		unsigned char *p = arena_alloc(&a, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
}

static void pieces_do_not_overlap(void **state)
{
	AUTO_ARENA struct arena a = {0};
	char *texts[3000], want[16];

	for (int i = 0; i < 3000; i++) {
		snprintf(want, sizeof(want), "%d", i);
		texts[i] = arena_strndup(&a, want, strlen(want));
		assert_non_null(texts[i]);
		*(uint64_t *)arena_alloc(&a, sizeof(uint64_t)) = UINT64_MAX;
	}
	for (int i = 0; i < 3000; i++) {
		snprintf(want, sizeof(want), "%d", i);
		assert_string_equal(texts[i], want);
	}
}

static void a_piece_may_be_larger_than_any_block(void **state)
{
	AUTO_ARENA struct arena a = {0};
	char *small = arena_strndup(&a, "small", 5);
	char *large = arena_alloc(&a, 3 << 20);

	assert_non_null(large);
	memset(large, 'x', 3 << 20);
	assert_string_equal(small, "small");
	assert_string_equal(arena_strndup(&a, "after", 3), "aft");
}

static void a_size_that_cannot_be_is_refused(void **state)
{
	AUTO_ARENA struct arena a = {0};

	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 8));
	assert_null(arena_strndup(&a, "x", SIZE_MAX));
	assert_non_null(arena_alloc(&a, 1));
	assert_null(arena_alloc(&a, SIZE_MAX - 8));
	assert_int_equal(a.used_bytes, 1);
}

static void what_is_used_is_counted(void **state)
{
	struct arena a = {0};

	assert_non_null(arena_alloc(&a, 100));
	assert_non_null(arena_strndup(&a, "abc", 3));
	assert_int_equal(a.used_bytes, 104);
	arena_done(&a);
	assert_int_equal(a.used_bytes, 0);
	assert_null(a.head);
	arena_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_zeroed_and_aligned_for_any_type),
		cmocka_unit_test(pieces_do_not_overlap),
		cmocka_unit_test(a_piece_may_be_larger_than_any_block),
		cmocka_unit_test(a_size_that_cannot_be_is_refused),
		cmocka_unit_test(what_is_used_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
