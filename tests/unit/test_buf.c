/*
 * buf: bytes are appended, and a NUL is always behind them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"

static void an_empty_buffer_is_the_empty_string(void **state)
{
	AUTO_BUF struct buf b = {0};

	assert_string_equal(buf_str(&b), "");
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_string_equal(buf_str(&b), "");
	assert_int_equal(b.len_bytes, 0);
}

static void everything_appended_is_there_in_order(void **state)
{
	AUTO_BUF struct buf b = {0};

	assert_int_equal(buf_puts(&b, "one "), 0);
	assert_int_equal(buf_printf(&b, "%d %s", 2, "three"), 0);
	assert_int_equal(buf_append(&b, "\0x", 2), 0);
	assert_int_equal(b.len_bytes, 13);
	assert_memory_equal(b.data, "one 2 three\0x", 14);
}

static void it_grows_beyond_any_first_size(void **state)
{
	AUTO_BUF struct buf b = {0};

	for (int i = 0; i < 10000; i++)
		assert_int_equal(buf_printf(&b, "%04d", i), 0);
	assert_int_equal(b.len_bytes, 40000);
	assert_memory_equal(b.data + 4 * 9998, "99989999", 9);
}

static void a_size_that_cannot_be_leaves_it_as_it_was(void **state)
{
	AUTO_BUF struct buf b = {0};

	assert_int_equal(buf_puts(&b, "x"), 0);
	assert_int_equal(buf_append(&b, "y", SIZE_MAX / 2), -ENOMEM);
	assert_int_equal(buf_append(&b, "y", SIZE_MAX), -ENOMEM);
	assert_int_equal(b.len_bytes, 1);
	assert_string_equal(buf_str(&b), "x");
}

static void done_leaves_an_empty_buffer(void **state)
{
	struct buf b = {0};

	assert_int_equal(buf_puts(&b, "x"), 0);
	buf_done(&b);
	assert_string_equal(buf_str(&b), "");
	buf_done(&b);
	assert_int_equal(b.cap_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_is_the_empty_string),
		cmocka_unit_test(everything_appended_is_there_in_order),
		cmocka_unit_test(it_grows_beyond_any_first_size),
		cmocka_unit_test(a_size_that_cannot_be_leaves_it_as_it_was),
		cmocka_unit_test(done_leaves_an_empty_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
