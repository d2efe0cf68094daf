/*
 * test_utf8: what is UTF-8, and how a name is shown in a sentence, whatever is in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/image/utf8.h"

/* The longest run of eight ASCII bytes is skipped at once, so each text is tried at every place. */
static bool is_valid_everywhere(const char *s, size_t len)
{
	bool valid = utf8_is_valid(s, len);
	char text[64];

	for (size_t at = 0; at < 20; at++) {
		memset(text, 'a', sizeof(text));
		memcpy(text + at, s, len);
		assert_int_equal(utf8_is_valid(text, sizeof(text)), valid);
		assert_int_equal(utf8_is_valid(text, at + len), valid);
	}
	return valid;
}

static void every_character_is_valid_and_its_pieces_are_not(void **state)
{
	static const char *const characters[] = {"\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf"};

	for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++) {
		size_t len = strlen(characters[i]);

		assert_true(is_valid_everywhere(characters[i], len));
		for (size_t cut = 1; cut < len; cut++) {
			assert_false(is_valid_everywhere(characters[i], cut));
			assert_false(is_valid_everywhere(characters[i] + cut, len - cut));
		}
	}
	assert_true(utf8_is_valid("", 0));
}

static void forms_that_decoders_disagree_about_are_refused(void **state)
{
	assert_false(is_valid_everywhere("\xc0\x80", 2));         /* NUL, overlong */
	assert_false(is_valid_everywhere("\xc1\xbf", 2));         /* overlong */
	assert_false(is_valid_everywhere("\xe0\x9f\xbf", 3));     /* overlong */
	assert_false(is_valid_everywhere("\xf0\x8f\xbf\xbf", 4)); /* overlong */
	assert_false(is_valid_everywhere("\xed\xa0\x80", 3));     /* a surrogate */
	assert_false(is_valid_everywhere("\xf4\x90\x80\x80", 4)); /* beyond the last character */
	assert_false(is_valid_everywhere("\xf5\x80\x80\x80", 4));
	assert_false(is_valid_everywhere("\xff", 1));
}

static void shows(const char *s, size_t len, const char *shown)
{
	char buf[UTF8_SHOW_MAX];

	assert_ptr_equal(utf8_show(s, len, buf), buf);
	assert_string_equal(buf, shown);
}

static void what_is_no_text_is_shown_as_bytes(void **state)
{
	shows("", 0, "");
	shows("/a b'\\", 6, "/a b'\\");
	shows("\xe6\x97\xa5\xff\n\0\x7f\x1b[m", 10, "\xe6\x97\xa5\\xFF\\x0A\\x00\\x7F\\x1B[m");
}

static void a_long_name_is_shown_by_its_ends(void **state)
{
	char name[4000], shown[UTF8_SHOW_MAX];

	memset(name, 'm', sizeof(name));
	memcpy(name, "/start", 6);
	memcpy(name + sizeof(name) - 3, "end", 3);
	utf8_show(name, sizeof(name), shown);
	assert_memory_equal(shown, "/start", 6);
	assert_non_null(strstr(shown, "m...m"));
	assert_string_equal(shown + strlen(shown) - 3, "end");
}

static void whatever_is_shown_is_short_text(void **state)
{
	uint32_t seed = 1;
	char name[400], shown[UTF8_SHOW_MAX];

	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < sizeof(name); i++) {
			seed = seed * 1664525 + 1013904223;
			name[i] = (char)(seed >> 24);
		}
		utf8_show(name, seed % sizeof(name), shown);
		assert_true(strlen(shown) < UTF8_SHOW_MAX);
		assert_true(utf8_is_valid(shown, strlen(shown)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_character_is_valid_and_its_pieces_are_not),
		cmocka_unit_test(forms_that_decoders_disagree_about_are_refused),
		cmocka_unit_test(what_is_no_text_is_shown_as_bytes),
		cmocka_unit_test(a_long_name_is_shown_by_its_ends),
		cmocka_unit_test(whatever_is_shown_is_short_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
