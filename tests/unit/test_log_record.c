/*
 * log_record: a message as the line of JSON that a log server gets.
 */
#include "otaclient/log/log_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"

static struct log_entry entry = {
	.level = LOG_LEVEL_INFO,
	.file = "../otaclient/update/update_steps.c",
	.function = "log_plan",
	.line = 263,
};

static void line_is(const char *text, const char *want)
{
	AUTO_BUF struct buf line = {0};

	entry.text = text;
	assert_int_equal(log_record_line(&entry, 1790000000, &line), 0);
	assert_string_equal(buf_str(&line), want);
}

static void the_keys_stand_in_their_order(void **state)
{
	line_is("Plan: keep 3 contents", "{\"timestamp\":\"2026-09-21T14:13:20Z\",\"level\":"
					 "\"INFO\",\"logger\":\"otaclient.update_steps\","
					 "\"function\":\"log_plan\",\"line\":\"263\",\"message\":"
					 "\"Plan: keep 3 contents\"}");
}

static void quotes_and_other_languages_are_escaped(void **state)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	AUTO_BUF struct buf line = {0};
	struct ota_err err = {0};

	entry.text = "version \"1\\2\" \xe6\x97\xa5";
	assert_int_equal(log_record_line(&entry, 0, &line), 0);
	assert_non_null(strstr(buf_str(&line), "\"message\":\"version \\\"1\\\\2\\\" \\u65E5\"}"));
	assert_non_null(strstr(buf_str(&line), "\"1970-01-01T00:00:00Z\""));
	assert_int_equal(json_doc_parse(buf_str(&line), line.len_bytes, 4096, &doc, &err), 0);
	assert_string_equal(
		json_value_string(json_value_member(json_doc_root(doc), "message")), entry.text);
}

static void bytes_that_are_no_text_do_not_spoil_the_line(void **state)
{
	AUTO_BUF struct buf line = {0};

	entry.text = "name \xff cut \xe6\x97";
	assert_int_equal(log_record_line(&entry, 0, &line), 0);
	assert_non_null(strstr(buf_str(&line), "\"message\":\"name ? cut ??\"}"));
}

static void each_level_has_its_name(void **state)
{
	static const struct {
		enum log_level level;
		const char *name;
	} rows[] = {
		{LOG_LEVEL_ERROR,   "\"level\":\"ERROR\""  },
		{LOG_LEVEL_WARNING, "\"level\":\"WARNING\""},
		{LOG_LEVEL_INFO,    "\"level\":\"INFO\""   },
		{LOG_LEVEL_DEBUG,   "\"level\":\"DEBUG\""  },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct log_entry e = {
			.level = rows[i].level, .file = "main.c", .function = "main", .text = ""};
		AUTO_BUF struct buf line = {0};

		assert_int_equal(log_record_line(&e, 0, &line), 0);
		assert_non_null(strstr(buf_str(&line), rows[i].name));
		assert_non_null(strstr(buf_str(&line), "\"logger\":\"otaclient.main\""));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keys_stand_in_their_order),
		cmocka_unit_test(quotes_and_other_languages_are_escaped),
		cmocka_unit_test(bytes_that_are_no_text_do_not_spoil_the_line),
		cmocka_unit_test(each_level_has_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
