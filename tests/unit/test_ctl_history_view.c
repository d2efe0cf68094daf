/*
 * history_view: the story of an update as lines, and as JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "otaclient/ctl/history_view.h"

static struct flight_record records[16];
static size_t n_records;

static struct flight_record *add(
	unsigned boot, const char *slot, unsigned kind, const char *subject, const char *text)
{
	struct flight_record *r = &records[n_records++];

	*r = (struct flight_record){.number = n_records,
		.kind = kind,
		.unix_s = 1700000000 + (int64_t)n_records,
		.boot_ms = n_records * 1500,
		.boot_id = {(uint8_t)boot}};
	snprintf(r->slot, sizeof(r->slot), "%s", slot);
	flight_record_put_subject(r, subject);
	flight_record_put_text(r, text);
	return r;
}

static char *shown(void (*view)(FILE *, const struct flight_record *, size_t))
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	view(f, records, n_records);
	fclose(f);
	return text;
}

static void a_story_is_a_line_for_each_record_under_each_start(void **state)
{
	AUTO_FREE char *text = NULL;

	n_records = 0;
	add(1, "ota-slot_a", FLIGHT_UPDATE_BEGINS, "2.0", "17-2.0-ab");
	add(1, "ota-slot_a", FLIGHT_STEP, "PROCESSING_METADATA", "fetch metadata");
	add(1, "ota-slot_a", FLIGHT_FLIP, "ota-slot_b", "");
	add(2, "ota-slot_b", FLIGHT_START, "commit", "status UPDATING");
	add(2, "ota-slot_b", FLIGHT_CHECK, "10-app", "");
	add(2, "ota-slot_b", FLIGHT_CHECK, "20-net", "exit 1: no route")->failed = true;
	add(2, "ota-slot_b", FLIGHT_KERNEL, "/dev/kmsg", "[ 1.0] one\n[ 2.0] two");
	add(3, "ota-slot_a", FLIGHT_FAILURE, "", "It failed")->code = 209;
	add(3, "ota-slot_a", 77, "later", "");
	text = shown(history_view);
	assert_string_equal(text,
		"start of the machine 01000000000000000000000000000000\n"
		"  2023-11-14 22:13:21Z       1.5 s  ota-slot_a   update begins   2.0  session "
		"17-2.0-ab\n"
		"  2023-11-14 22:13:22Z       3.0 s  ota-slot_a   step            fetch metadata  "
		"PROCESSING_METADATA\n"
		"  2023-11-14 22:13:23Z       4.5 s  ota-slot_a   flip            ota-slot_b\n"
		"start of the machine 02000000000000000000000000000000\n"
		"  2023-11-14 22:13:24Z       6.0 s  ota-slot_b   start           commit: status "
		"UPDATING\n"
		"  2023-11-14 22:13:25Z       7.5 s  ota-slot_b   check           10-app ok\n"
		"  2023-11-14 22:13:26Z       9.0 s  ota-slot_b   check           20-net failed: "
		"exit 1: no "
		"route\n"
		"  2023-11-14 22:13:27Z      10.5 s  ota-slot_b   kernel          /dev/kmsg\n"
		"          [ 1.0] one\n"
		"          [ 2.0] two\n"
		"start of the machine 03000000000000000000000000000000\n"
		"  2023-11-14 22:13:28Z      12.0 s  ota-slot_a   failure         E209: It failed\n"
		"  2023-11-14 22:13:29Z      13.5 s  ota-slot_a   ?               later\n");
}

static void an_empty_recorder_says_so(void **state)
{
	AUTO_FREE char *text = NULL, *json = NULL;

	n_records = 0;
	text = shown(history_view);
	assert_string_equal(text, "Nothing is recorded yet.\n");
	json = shown(history_view_json);
	assert_string_equal(json, "{\"records\": []}\n");
}

static void nothing_of_it_moves_the_cursor(void **state)
{
	AUTO_FREE char *text = NULL;

	n_records = 0;
	add(1,
		"a\xc2\x9b"
		"2J",
		FLIGHT_CHECK,
		"\xe2\x80\xae"
		"evil",
		"\xc2\x9b"
		"2J\nx");
	add(1, "a", FLIGHT_KERNEL, "k",
		"\xc2\x9b"
		"2J\n\nx")
		->unix_s = INT64_MAX;
	text = shown(history_view);
	assert_null(strstr(text, "\xc2\x9b"));
	assert_null(strstr(text, "\xe2\x80\xae"));
	assert_non_null(strstr(text, "  9223372036854775807 "));
}

static void scripts_get_every_field(void **state)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON_DOC struct json_doc *doc = NULL;

	n_records = 0;
	add(1, "ota-slot_b", FLIGHT_CHECK, "20-\"net\"", "exit 1:\nno route")->failed = true;
	add(1, "ota-slot_a", FLIGHT_FAILURE, "", "It failed")->code = 209;
	text = shown(history_view_json);
	assert_string_equal(text, "{\"records\": [{\"number\": 1, \"kind\": \"check\", \"slot\": "
				  "\"ota-slot_b\", \"unix_s\": "
				  "1700000001, \"since_start_ms\": 1500, \"boot_id\": "
				  "\"01000000000000000000000000000000\", "
				  "\"subject\": \"20-\\\"net\\\"\", \"failed\": true, \"code\": 0, "
				  "\"text\": \"exit 1:\\nno "
				  "route\"}, {\"number\": 2, \"kind\": \"failure\", \"slot\": "
				  "\"ota-slot_a\", \"unix_s\": "
				  "1700000002, \"since_start_ms\": 3000, \"boot_id\": "
				  "\"01000000000000000000000000000000\", "
				  "\"subject\": \"\", \"failed\": false, \"code\": 209, \"text\": "
				  "\"It failed\"}]}\n");
	assert_int_equal(json_doc_parse(text, strlen(text), 1 << 20, &doc, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_story_is_a_line_for_each_record_under_each_start),
		cmocka_unit_test(an_empty_recorder_says_so),
		cmocka_unit_test(nothing_of_it_moves_the_cursor),
		cmocka_unit_test(scripts_get_every_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
