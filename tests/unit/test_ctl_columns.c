/*
 * columns: text from outside on a terminal.
 */
#include "otaclient/ctl/columns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "tests/unit/printed.h"

static void an_ecu_cannot_send_the_terminal_orders(void **state)
{
	FILE *f = print_begin();

	(void)state;
	columns_print(f, "a\033[2Jb\r\n\xc2\x9b"
			 "c \xc3\xa9");
	assert_printed(f, "a?[2Jb???c \xc3\xa9");
}

static void what_turns_or_hides_text_is_not_printed(void **state)
{
	FILE *f = print_begin();

	(void)state;
	columns_print(f, "a\xe2\x80\xae" /* right to left */
			 "b\xe2\x80\x8b" /* no width */
			 "c\xe2\x80\xa8" /* new line */
			 "d\xef\xbb\xbf" /* byte order */
			 "e");
	assert_printed(f, "a?b?c?d?e");
}

static void what_is_not_utf8_is_one_column_a_byte(void **state)
{
	static const char *const bad[] = {
		"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
	static const char *const shown[] = {"?", "?", "??", "???", "????", "??"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		FILE *f = print_begin();

		columns_print(f, bad[i]);
		assert_int_equal(columns_of(bad[i]), strlen(shown[i]));
		assert_printed(f, shown[i]);
	}
}

static void characters_are_as_wide_as_they_are_shown(void **state)
{
	(void)state;
	assert_int_equal(columns_of(""), 0);
	assert_int_equal(columns_of("m\xc3\xa4in"), 4);
	assert_int_equal(columns_of("e\xcc\x81"), 1);                /* with a combining accent */
	assert_int_equal(columns_of("\xe8\xbb\x8a\xe4\xb8\xa1"), 4); /* two ideographs */
	assert_int_equal(columns_of("\xf0\x9f\x9a\x97"), 2);         /* a car */
}

static void a_text_is_cut_between_characters(void **state)
{
	FILE *f = print_begin();

	(void)state;
	assert_int_equal(columns_print_cut(f, "camera", 6), 6);
	assert_int_equal(columns_print_cut(f, "camera", 5), 5);
	assert_int_equal(columns_print_cut(f, "camera", 1), 1);
	assert_int_equal(columns_print_cut(f, "camera", 0), 0);
	/* an ideograph has no room in what is left */
	assert_int_equal(columns_print_cut(f, "\xe8\xbb\x8a\xe4\xb8\xa1", 3), 3);
	assert_int_equal(columns_print_cut(f, "\xe8\xbb\x8a\xe4\xb8\xa1", 2), 1);
	assert_printed(f, "cameracame\xe2\x80\xa6\xe2\x80\xa6\xe8\xbb\x8a\xe2\x80\xa6\xe2\x80\xa6");
}

static void cells_are_filled_up(void **state)
{
	FILE *f = print_begin();

	(void)state;
	columns_print_left(f, "ab", 4);
	columns_print_right(f, "\xe8\xbb\x8a", 4);
	columns_print_right(f, "abcdef", 4);
	columns_print_left(f, "\xe8\xbb\x8a\xe4\xb8\xa1", 2);
	assert_printed(f, "ab    \xe8\xbb\x8a"
			  "abc\xe2\x80\xa6\xe2\x80\xa6 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ecu_cannot_send_the_terminal_orders),
		cmocka_unit_test(what_turns_or_hides_text_is_not_printed),
		cmocka_unit_test(what_is_not_utf8_is_one_column_a_byte),
		cmocka_unit_test(characters_are_as_wide_as_they_are_shown),
		cmocka_unit_test(a_text_is_cut_between_characters),
		cmocka_unit_test(cells_are_filled_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
