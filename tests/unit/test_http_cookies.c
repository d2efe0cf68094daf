/*
 * test_http_cookies: which cookies an update request may bring, and the header value that they become.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/net/http.h"

static int cookies(const char *json, char **ret_header, struct ota_err *err)
{
	*err = (struct ota_err){0};
	return http_cookies_from_json(json, strlen(json), ret_header, err);
}

static void an_object_becomes_a_header_value(void **state)
{
	/* clang-format off */
	static const struct {
		const char *json, *header;
	} rows[] = {
		{"",                                      NULL},
		{"{}",                                    NULL},
		{"{\"a\": \"1\"}",                        "a=1"},
		{"{\"b\": \"2\", \"a\": \"1\"}",          "b=2; a=1"},
		{"{\"a\": \"\"}",                         "a="},
		{"{\"CloudFront-Policy\": \"eyJ~_-=/+\"}", "CloudFront-Policy=eyJ~_-=/+"},
		{"{\"a\": \"x y, \\\"z\\\"\"}",           "a=x y, \"z\""},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *header = NULL;
		struct ota_err err;

		if (cookies(rows[i].json, &header, &err) < 0)
			fail_msg("%s: %s", rows[i].json, err.msg);
		if (rows[i].header)
			assert_string_equal(header, rows[i].header);
		else
			assert_null(header);
	}
}

static void anything_else_is_refused_with_its_reason(void **state)
{
	/* clang-format off */
	static const struct {
		const char *json, *reason;
	} rows[] = {
		{"x",                             "are no JSON object"},
		{"[]",                            "are no JSON object"},
		{"\"a=1\"",                       "are no JSON object"},
		{"null",                          "are no JSON object"},
		{"{\"a\": \"1\"} x",              "are no JSON object"},
		{"{\"a\": \"1\", \"a\": \"2\"}",  "are no JSON object"},
		{"{\"a\": 1}",                    "The request's cookies are invalid: the value of \"a\" is no string"},
		{"{\"a\": null}",                 "the value of \"a\" is no string"},
		{"{\"a\": {\"b\": \"1\"}}",       "the value of \"a\" is no string"},
		{"{\"\": \"1\"}",                 "a name that no cookie may have"},
		{"{\"a b\": \"1\"}",              "a name that no cookie may have"},
		{"{\"a=b\": \"1\"}",              "a name that no cookie may have"},
		{"{\"a\\r\\nX\": \"1\"}",         "a name that no cookie may have"},
		{"{\"\xc3\xa9\": \"1\"}",         "a name that no cookie may have"},
		{"{\"a\": \"1\\r\\nX: 2\"}",      "The request's cookies are invalid: the value of \"a\" has a character that no cookie "
		                                  "may have"},
		{"{\"a\": \"1\\n\"}",             "the value of \"a\" has a character"},
		{"{\"a\": \"1; b=2\"}",           "the value of \"a\" has a character"},
		{"{\"a\": \" 1\"}",               "the value of \"a\" has a character"},
		{"{\"a\": \"1\\t2\"}",            "the value of \"a\" has a character"},
		{"{\"a\": \"\xc3\xa9\"}",         "the value of \"a\" has a character"},
		{"{\"a\": \"\\u007f\"}",          "the value of \"a\" has a character"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *header = NULL;
		struct ota_err err;

		if (cookies(rows[i].json, &header, &err) != -EINVAL)
			fail_msg("%s was taken", rows[i].json);
		assert_null(header);
		assert_int_equal(err.code, OTA_E_INVALID_REQUEST);
		assert_int_equal(err.errnum, -EINVAL);
		if (!strstr(err.msg, rows[i].reason))
			fail_msg("%s: %s", rows[i].json, err.msg);
	}
}

static void secrets_stay_out_of_sentences(void **state)
{
	char *header = NULL;
	struct ota_err err;

	assert_int_equal(cookies("{\"key\": \"secret;\"}", &header, &err), -EINVAL);
	assert_null(strstr(err.msg, "secret"));
}

static void more_than_a_server_takes_is_refused(void **state)
{
	AUTO_BUF struct buf json = {0};
	char *header = NULL;
	struct ota_err err;

	buf_puts(&json, "{\"a\": \"");
	for (unsigned i = 0; i < 16 * 1024; i++)
		buf_puts(&json, "x");
	buf_puts(&json, "\"}");
	assert_int_equal(cookies(buf_str(&json), &header, &err), -EINVAL);
	assert_string_equal(err.msg, "The request's cookies are longer than 16384 bytes");
	assert_null(header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_object_becomes_a_header_value),
		cmocka_unit_test(anything_else_is_refused_with_its_reason),
		cmocka_unit_test(secrets_stay_out_of_sentences),
		cmocka_unit_test(more_than_a_server_takes_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
