/*
 * test_http_answer: what the fields of an answer say about its body.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/net/http_answer.h"

static struct http_answer answer_of(const char *line)
{
	struct http_answer a;
	struct http_field field;

	http_answer_init(&a);
	if (http_field_split(line, strlen(line), &field))
		http_answer_add(&a, &field);
	return a;
}

static void a_line_is_a_name_and_a_value(void **state)
{
	struct http_field f;

	assert_true(http_field_split("Name:  a value \t\r\n", 18, &f));
	assert_string_equal(f.name, "Name");
	assert_string_equal(f.value, "a value");
	assert_true(http_field_split("Name:", 5, &f));
	assert_string_equal(f.value, "");
	assert_true(http_field_split("a: b: c", 7, &f));
	assert_string_equal(f.value, "b: c");
}

static void what_is_no_field_is_left_out(void **state)
{
	static char long_line[HTTP_FIELD_MAX + 1];
	struct http_field f;

	assert_false(http_field_split("", 0, &f));
	assert_false(http_field_split("\r\n", 2, &f));
	assert_false(http_field_split("no colon", 8, &f));
	assert_false(http_field_split(": value", 7, &f));
	assert_false(http_field_split("name : value", 12, &f));
	assert_false(http_field_split("name: a\0b", 9, &f));
	assert_false(http_field_split("name: a\rb: c\r\n", 15, &f));
	assert_false(http_field_split("name: a\nb", 9, &f));
	assert_false(http_field_split("na\x01me: a", 9, &f));
	assert_false(http_field_split("name: \x7f", 7, &f));
	assert_true(http_field_split("name: a\tb", 9, &f));
	assert_true(http_field_split("name: \xe9", 7, &f));
	memset(long_line, 'a', sizeof(long_line));
	long_line[4] = ':';
	assert_false(http_field_split(long_line, HTTP_FIELD_MAX, &f));
	assert_true(http_field_split(long_line, HTTP_FIELD_MAX - 1, &f));
}

static void a_length_is_a_number_and_nothing_else(void **state)
{
	assert_int_equal(answer_of("Content-Length: 12").length_bytes, 12);
	assert_int_equal(answer_of("content-length: 0").length_bytes, 0);
	assert_int_equal(
		answer_of("Content-Length: 18446744073709551614").length_bytes, UINT64_MAX - 1);
	assert_true(answer_of("Content-Length: -1").length_bytes == HTTP_LENGTH_UNKNOWN);
	assert_true(answer_of("Content-Length: 1 2").length_bytes == HTTP_LENGTH_UNKNOWN);
	assert_true(answer_of("Content-Length: 0x10").length_bytes == HTTP_LENGTH_UNKNOWN);
	assert_true(answer_of("Content-Length: 18446744073709551616").length_bytes ==
		    HTTP_LENGTH_UNKNOWN);
	assert_true(answer_of("Content-Length:").length_bytes == HTTP_LENGTH_UNKNOWN);
}

static void a_range_says_where_and_of_how_much(void **state)
{
	struct http_answer a = answer_of("Content-Range: bytes 10-99/100");

	assert_true(a.has_range);
	assert_int_equal(a.range_first, 10);
	assert_int_equal(a.range_last, 99);
	assert_int_equal(a.range_total, 100);
	a = answer_of("content-range: BYTES 0-0/*");
	assert_true(a.has_range);
	assert_true(a.range_total == HTTP_LENGTH_UNKNOWN);
}

static void a_range_that_cannot_be_is_none(void **state)
{
	static const char *const lines[] = {
		"Content-Range: bytes 10-9/100",
		"Content-Range: bytes 0-100/100",
		"Content-Range: bytes */100",
		"Content-Range: bytes 0-9",
		"Content-Range: bytes 0-9/100 ,x",
		"Content-Range: bytes 0-9/1x",
		"Content-Range: bytes -9/100",
		"Content-Range: items 0-9/100",
		"Content-Range: bytes 0-9/99999999999999999999",
		"Content-Range: ",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (answer_of(lines[i]).has_range)
			fail_msg("%s was taken", lines[i]);
}

static void only_a_strong_etag_names_the_bytes(void **state)
{
	struct http_answer a = answer_of("ETag: \"abc\"");
	struct http_field f;

	assert_string_equal(http_answer_validator(&a), "\"abc\"");
	a = answer_of("ETag: W/\"abc\"");
	assert_string_equal(http_answer_validator(&a), "");
	assert_true(http_field_split("Last-Modified: Sat", 18, &f));
	http_answer_add(&a, &f);
	assert_string_equal(http_answer_validator(&a), "Sat");
	assert_true(http_field_split("ETag: \"x\"", 9, &f));
	http_answer_add(&a, &f);
	assert_string_equal(http_answer_validator(&a), "\"x\"");
}

static void an_overlong_etag_counts_as_none(void **state)
{
	char line[HTTP_VALIDATOR_MAX + 16] = "ETag: \"";
	struct http_answer a;

	memset(line + 7, 'x', HTTP_VALIDATOR_MAX);
	a = answer_of(line);
	assert_string_equal(http_answer_validator(&a), "");
}

static void codings_and_refused_ranges_are_noted(void **state)
{
	assert_true(answer_of("Content-Encoding: gzip").encoded);
	assert_false(answer_of("Content-Encoding: identity").encoded);
	assert_false(answer_of("Content-Encoding:").encoded);
	assert_true(answer_of("Accept-Ranges: none").refuses_ranges);
	assert_false(answer_of("Accept-Ranges: bytes").refuses_ranges);
}

static void a_chunked_body_is_as_long_as_its_chunks(void **state)
{
	struct http_answer a = answer_of("Content-Length: 12");
	struct http_field f;

	assert_int_equal(http_answer_length(&a), 12);
	assert_true(http_field_split("Transfer-Encoding: chunked", 26, &f));
	http_answer_add(&a, &f);
	assert_true(http_answer_length(&a) == HTTP_LENGTH_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_a_name_and_a_value),
		cmocka_unit_test(what_is_no_field_is_left_out),
		cmocka_unit_test(a_length_is_a_number_and_nothing_else),
		cmocka_unit_test(a_range_says_where_and_of_how_much),
		cmocka_unit_test(a_range_that_cannot_be_is_none),
		cmocka_unit_test(only_a_strong_etag_names_the_bytes),
		cmocka_unit_test(an_overlong_etag_counts_as_none),
		cmocka_unit_test(codings_and_refused_ranges_are_noted),
		cmocka_unit_test(a_chunked_body_is_as_long_as_its_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
