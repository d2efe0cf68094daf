/*
 * test_json: what a JSON text from outside may be, and how its values are read.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/codec/json.h"

static int parse(const char *text, struct json_doc **ret_doc, struct ota_err *err)
{
	return json_doc_parse(text, strlen(text), 1000, ret_doc, err);
}

static void values_are_found_in_arrays_and_objects(void **state)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	const struct json_value *root, *object;
	int64_t number = 0;

	assert_int_equal(parse("[1, {\"a\": \"text\", \"b\": -7}, null]", &doc, NULL), 0);
	root = json_doc_root(doc);
	assert_true(json_value_is_array(root));
	assert_int_equal(json_value_count(root), 3);
	object = json_value_at(root, 1);
	assert_true(json_value_is_object(object));
	assert_int_equal(json_value_count(object), 2);
	assert_string_equal(json_value_string(json_value_member(object, "a")), "text");
	assert_int_equal(json_value_integer(json_value_member(object, "b"), &number), 0);
	assert_int_equal(number, -7);
}

static void a_value_of_another_type_is_no_crash(void **state)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	const struct json_value *root;
	int64_t number = 5;

	assert_int_equal(parse("[\"x\", 1.5, true]", &doc, NULL), 0);
	root = json_doc_root(doc);
	assert_false(json_value_is_object(root));
	assert_null(json_value_member(root, "a"));
	assert_null(json_value_string(root));
	assert_null(json_value_at(root, 3));
	assert_null(json_value_at(json_value_at(root, 0), 0));
	assert_null(json_value_member(NULL, "a"));
	assert_null(json_value_string(NULL));
	assert_int_equal(json_value_count(NULL), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(json_value_integer(json_value_at(root, i), &number), -EINVAL);
	assert_int_equal(number, 5);
}

static int collect(void *ctx, const char *key, const struct json_value *value)
{
	struct buf *out = ctx;

	buf_printf(out, "%s=%s;", key, json_value_string(value));
	return strcmp(key, "stop") == 0 ? 42 : 0;
}

static void members_come_in_order_until_the_caller_has_enough(void **state)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	AUTO_BUF struct buf seen = {0};

	assert_int_equal(
		parse("{\"z\": \"1\", \"a\": \"2\", \"stop\": \"3\", \"b\": \"4\"}", &doc, NULL),
		0);
	assert_int_equal(json_value_each_member(json_doc_root(doc), collect, &seen), 42);
	assert_string_equal(buf_str(&seen), "z=1;a=2;stop=3;");
	assert_int_equal(json_value_each_member(NULL, collect, &seen), 0);
}

static void bad_texts_are_refused_with_the_place(void **state)
{
	static const struct {
		const char *text, *reason;
	} bad[] = {
		{"",			  "The text is no valid JSON in line 1, column 0: '[' or '{' expected"},
		{"[1] 2",                     "end of file expected"                                              },
		{"[1,\n ]",                   "line 2, column 2"						  },
		{"{\"a\": 1, \"a\": 2}",      "duplicate object key"                                              },
		{"[\"\\u0000\"]",             "NUL"							       },
		{"[\"\xff\"]",                "unable to decode byte 0xff"                                        },
		{"[\"\\ud800\"]",             "invalid Unicode"						   },
		{"[99999999999999999999999]", "too big integer"                                                   },
		{"{'a': 1}",                  "string or '}' expected"                                            },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct json_doc *doc = NULL;
		struct ota_err err = {0};

		assert_int_equal(parse(bad[i].text, &doc, &err), -EBADMSG);
		assert_null(doc);
		assert_int_equal(err.code, OTA_E_UNSPECIFIC);
		if (!strstr(err.msg, bad[i].reason))
			fail_msg("%s does not say: %s", err.msg, bad[i].reason);
	}
}

static void size_and_depth_are_bounded(void **state)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	struct json_doc *none = NULL;
	AUTO_BUF struct buf text = {0};
	struct ota_err err = {0};

	assert_int_equal(json_doc_parse("[1, 2]", 6, 5, &none, &err), -EFBIG);
	assert_string_equal(err.msg, "The JSON text has 6 bytes, more than the 5 allowed");

	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		buf_puts(&text, "[");
	buf_puts(&text, "\"[[[ \\\" {{{\", [], {}");
	text.len_bytes -= sizeof(", [], {}") - 1;
	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		buf_puts(&text, "]");
	assert_int_equal(parse(buf_str(&text), &doc, &err), 0);

	assert_int_equal(parse("[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]", &none, &err), -EBADMSG);
	assert_string_equal(err.msg, "The JSON text is nested deeper than 16 levels");
}

static void strings_are_written_in_ascii(void **state)
{
	AUTO_BUF struct buf out = {0};

	assert_int_equal(json_put_string(&out, "a\"b\\c\n\xc3\xa9\xf0\x9f\x9a\x97", 12), 0);
	assert_string_equal(buf_str(&out), "\"a\\\"b\\\\c\\n\\u00E9\\uD83D\\uDE97\"");
	assert_int_equal(json_put_string(&out, "\xff", 1), -EBADMSG);
	assert_int_equal(out.data[out.len_bytes - 1], '"');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_found_in_arrays_and_objects),
		cmocka_unit_test(a_value_of_another_type_is_no_crash),
		cmocka_unit_test(members_come_in_order_until_the_caller_has_enough),
		cmocka_unit_test(bad_texts_are_refused_with_the_place),
		cmocka_unit_test(size_and_depth_are_bounded),
		cmocka_unit_test(strings_are_written_in_ascii),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
