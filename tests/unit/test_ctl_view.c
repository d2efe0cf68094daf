/*
 * view: what otactl prints.
 */
#include "otaclient/ctl/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"

static char *text;
static size_t len;

static FILE *begin(void)
{
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	return f;
}

static void assert_printed(FILE *f, const char *want)
{
	fclose(f);
	assert_string_equal(text, want);
	free(text);
}

static struct wire_status_ecu healthy(const char *id)
{
	return (struct wire_status_ecu){.ecu_id = id,
		.firmware_version = "1.0",
		.otaclient_version = "4.0.0",
		.release_name = "",
		.release_id = "",
		.image_id = "",
		.ota_status = STATUS_SUCCESS,
		.failure_reason = "",
		.failure_traceback = ""};
}

static struct wire_status_ecu downloading(const char *id)
{
	struct wire_status_ecu e = healthy(id);

	e.ota_status = STATUS_UPDATING;
	e.update = (struct update_stats){.version = "2.0",
		.phase = PHASE_DOWNLOADING_OTA_FILES,
		.total_files_size = 40 << 20,
		.processed_files_size = 10 << 20,
		.total_download_files_num = 9,
		.total_download_files_size = 20 << 20,
		.downloaded_files_num = 3,
		.downloaded_files_size = 8 << 20,
		.downloaded_bytes = 4 << 20,
		.downloading_errors = 1};
	e.times.total_s = 75;
	return e;
}

static void an_ecu_is_a_block_and_a_silent_one_too(void **state)
{
	const char *available[] = {"main", "sub"};
	struct wire_status_ecu e = healthy("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1, .available = available, .n_available = 2};
	FILE *f = begin();

	(void)state;
	view_status(f, &s);
	assert_printed(f, "main\n"
			  "  status            SUCCESS\n"
			  "  firmware version  1.0\n"
			  "  client version    4.0.0\n"
			  "\n"
			  "sub\n"
			  "  status            has not reported\n");
}

static void an_update_shows_how_far_it_is(void **state)
{
	struct wire_status_ecu e = downloading("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	FILE *f = begin();

	(void)state;
	view_status(f, &s);
	assert_printed(f, "main\n"
			  "  status            UPDATING\n"
			  "  firmware version  1.0\n"
			  "  client version    4.0.0\n"
			  "  new version       2.0\n"
			  "  phase             DOWNLOADING_OTA_FILES\n"
			  "  in place          25 %, 10.0 MiB of 40.0 MiB\n"
			  "  downloaded        4.0 MiB, 3 of 9 files\n"
			  "  download errors   1\n"
			  "  running for       1 min 15 s\n");
}

static void a_failure_shows_reason_and_type(void **state)
{
	struct wire_status_ecu e = healthy("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	FILE *f = begin();

	(void)state;
	e.ota_status = STATUS_FAILURE;
	e.failure_type = API_UNRECOVERABLE;
	e.failure_reason = "E307: No space";
	e.firmware_version = "";
	view_status(f, &s);
	assert_printed(f, "main\n"
			  "  status            FAILURE\n"
			  "  firmware version  not known\n"
			  "  client version    4.0.0\n"
			  "  failure           E307: No space\n"
			  "  failure type      UNRECOVERABLE\n");
}

static void an_ecu_cannot_send_the_terminal_orders(void **state)
{
	FILE *f = begin();

	(void)state;
	view_text(f, "a\033[2Jb\r\n\xc2\x9b"
		     "c \xc3\xa9");
	assert_printed(f, "a?[2Jb???c \xc3\xa9");
}

static void numbers_of_a_newer_peer_are_unknown(void **state)
{
	struct wire_status_ecu e = healthy("main");
	FILE *f = begin();

	(void)state;
	e.ota_status = 42;
	view_progress(f, &e, NULL, 0);
	assert_printed(f, "main: UNKNOWN");
	assert_string_equal(view_result_name(API_UPDATE, 7), "UNKNOWN");
	assert_string_equal(view_result_name(API_ABORT, 1), "ABORT_FAILURE");
}

static void a_plain_line_has_no_bar(void **state)
{
	struct wire_status_ecu e = downloading("main");
	struct view_rate rate = {0};
	FILE *f = begin();

	(void)state;
	view_rate_look(&rate, 2 << 20, 1000);
	view_rate_look(&rate, 4 << 20, 3000);
	view_progress(f, &e, &rate, 0);
	/* 12 MiB of files are missing; 1 MiB/s on the wire has made 2 MiB/s of files so far */
	assert_printed(f, "main: DOWNLOADING_OTA_FILES 25 %, 10.0 MiB of 40.0 MiB, 1.0 MiB/s, 6 s left");
}

static void a_bar_is_cut_to_the_terminal(void **state)
{
	struct wire_status_ecu e = downloading("m\xc3\xa4in");
	FILE *f = begin();

	(void)state;
	view_progress(f, &e, NULL, 55);
	assert_printed(f, "m\xc3\xa4in: DOWNLOADING_OTA_FILES [#####...............] 25 %");
}

static void the_percentage_stays_between_0_and_100(void **state)
{
	(void)state;
	assert_int_equal(view_percent(&(struct update_stats){0}), 0);
	assert_int_equal(view_percent(&(struct update_stats){.total_files_size = 3,
				 .processed_files_size = 2}),
		66);
	assert_int_equal(view_percent(&(struct update_stats){.total_files_size = 3,
				 .processed_files_size = 9}),
		100);
	assert_int_equal(view_percent(&(struct update_stats){.total_files_size = UINT64_MAX,
				 .processed_files_size = UINT64_MAX / 2}),
		50);
}

static void a_rate_starts_over_with_a_new_update(void **state)
{
	struct view_rate rate = {0};

	(void)state;
	view_rate_look(&rate, 1000, 1000);
	view_rate_look(&rate, 3000, 2000);
	assert_true(rate.bytes_per_s > 1999 && rate.bytes_per_s < 2001);
	view_rate_look(&rate, 10, 3000);
	assert_true(rate.bytes_per_s < 1);
}

static void json_has_the_fields_of_the_api(void **state)
{
	const char *available[] = {"main", "s\"b"};
	struct wire_status_ecu e = healthy("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1, .available = available, .n_available = 2};
	FILE *f = begin();

	(void)state;
	view_status_json(f, &s);
	assert_printed(f,
		"{\"available_ecu_ids\": [\"main\", \"s\\\"b\"], \"ecus\": [{\"ecu_id\": \"main\", "
		"\"firmware_version\": \"1.0\", \"otaclient_version\": \"4.0.0\", "
		"\"release_name\": \"\", \"release_id\": \"\", \"image_id\": \"\", "
		"\"ota_status\": \"SUCCESS\", \"failure_type\": \"NO_FAILURE\", "
		"\"failure_reason\": \"\", \"failure_traceback\": \"\", "
		"\"update_status\": null}]}\n");
}

static void an_answer_is_one_line_per_ecu(void **state)
{
	struct wire_answer_ecu e[] = {{"main", API_NO_FAILURE, ""},
		{"sub", API_UNRECOVERABLE, "The URL has no host"}};
	struct wire_answer a = {.ecus = e, .n_ecus = 2};
	FILE *f = begin();

	(void)state;
	view_answer(f, API_UPDATE, &a);
	assert_printed(f,
		"main: accepted\nsub: refused (UNRECOVERABLE): The URL has no host\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ecu_is_a_block_and_a_silent_one_too),
		cmocka_unit_test(an_update_shows_how_far_it_is),
		cmocka_unit_test(a_failure_shows_reason_and_type),
		cmocka_unit_test(an_ecu_cannot_send_the_terminal_orders),
		cmocka_unit_test(numbers_of_a_newer_peer_are_unknown),
		cmocka_unit_test(a_plain_line_has_no_bar),
		cmocka_unit_test(a_bar_is_cut_to_the_terminal),
		cmocka_unit_test(the_percentage_stays_between_0_and_100),
		cmocka_unit_test(a_rate_starts_over_with_a_new_update),
		cmocka_unit_test(json_has_the_fields_of_the_api),
		cmocka_unit_test(an_answer_is_one_line_per_ecu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
