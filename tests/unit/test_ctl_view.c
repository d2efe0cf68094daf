/*
 * view: what otactl prints of an answer, for people and as JSON.
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
#include "otaclient/ctl/view_json.h"
#include "tests/unit/printed.h"

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
	FILE *f = print_begin();

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
	FILE *f = print_begin();

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

static void an_update_that_has_a_plan_says_what_it_comes_to(void **state)
{
	struct wire_status_ecu e = downloading("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	FILE *f = print_begin();

	(void)state;
	e.update.total_download_bytes = 12 << 20;
	e.update.total_write_bytes = 30 << 20;
	e.update.remaining_s = 190;
	view_status(f, &s);
	fclose(f);
	assert_non_null(
		strstr(printed, "  downloaded        4.0 MiB of up to 12.0 MiB, 3 of 9 files\n"
				"  to write          30.0 MiB\n"));
	assert_non_null(strstr(printed, "  running for       1 min 15 s\n"
					"  remaining         about 3 min 10 s\n"));
	free(printed);
	f = print_begin();
	view_json_status(f, &s);
	fclose(f);
	assert_non_null(
		strstr(printed, "\"total_download_bytes\": 12582912, "
				"\"total_write_bytes\": 31457280, \"remaining_seconds\": 190, "
				"\"total_elapsed_time\": 75"));
	free(printed);
}

static void a_failure_shows_reason_and_type(void **state)
{
	struct wire_status_ecu e = healthy("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	FILE *f = print_begin();

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

static void a_remark_on_what_goes_on_is_no_failure(void **state)
{
	struct wire_status_ecu e = healthy("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	static const int going_on[] = {STATUS_UPDATING, STATUS_ROLLBACKING};

	(void)state;
	e.failure_reason = "Not waiting any longer, after 2 s, for p1";
	for (size_t i = 0; i < ARRAY_SIZE(going_on); i++) {
		FILE *f = print_begin();

		e.ota_status = going_on[i];
		view_status(f, &s);
		fclose(f);
		assert_non_null(strstr(printed,
			"\n  remark            Not waiting any longer, after 2 s, for p1\n"));
		assert_null(strstr(printed, "failure"));
		free(printed);
	}
}

static void numbers_of_a_newer_peer_are_unknown(void **state)
{
	(void)state;
	assert_string_equal(view_status_name(42), "UNKNOWN");
	assert_string_equal(view_phase_name((enum update_phase)42), "UNKNOWN");
	assert_string_equal(view_result_name(API_UPDATE, 7), "UNKNOWN");
	assert_string_equal(view_result_name(API_ABORT, 1), "ABORT_FAILURE");
}

static void json_has_the_fields_of_the_api(void **state)
{
	const char *available[] = {"main", "s\"b"};
	struct wire_status_ecu e = healthy("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1, .available = available, .n_available = 2};
	FILE *f = print_begin();

	(void)state;
	view_json_status(f, &s);
	assert_printed(f,
		"{\"available_ecu_ids\": [\"main\", \"s\\\"b\"], \"ecus\": [{\"ecu_id\": \"main\", "
		"\"firmware_version\": \"1.0\", \"otaclient_version\": \"4.0.0\", "
		"\"release_name\": \"\", \"release_id\": \"\", \"image_id\": \"\", "
		"\"ota_status\": \"SUCCESS\", \"failure_type\": \"NO_FAILURE\", "
		"\"failure_reason\": \"\", \"failure_traceback\": \"\", "
		"\"update_status\": null}]}\n");
}

static void json_of_an_update_has_its_figures(void **state)
{
	struct wire_status_ecu e = downloading("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	FILE *f = print_begin();

	(void)state;
	view_json_status(f, &s);
	fclose(f);
	assert_non_null(strstr(printed, "\"update_status\": {\"update_firmware_version\": \"2.0\", "
					"\"phase\": \"DOWNLOADING_OTA_FILES\", "
					"\"total_files_size_uncompressed\": 41943040"));
	assert_non_null(strstr(printed, "\"total_elapsed_time\": 75"));
	free(printed);
}

static void a_look_as_json_names_the_silent_ecus_and_why(void **state)
{
	AUTO_ROSTER struct roster r = {0};
	struct wire_status_ecu e = downloading("main");
	struct wire_status s = {.ecus = &e, .n_ecus = 1};
	FILE *f = print_begin();

	(void)state;
	roster_look(&r, &s, 1000);
	roster_look(&r, NULL, 5000);
	view_json_look(f, &(struct wire_status){0}, &r, "nobody \"there\"", true, 5000);
	assert_printed(f,
		"{\"available_ecu_ids\": [], \"ecus\": [], \"silent\": [{\"ecu_id\": \"main\", "
		"\"state\": \"SILENT\", \"silent_s\": 4}], "
		"\"error\": \"nobody \\\"there\\\"\"}\n");
	f = print_begin();
	roster_look(&r, &s, 6000);
	view_json_look(f, &s, &r, NULL, false, 6000);
	fclose(f);
	assert_non_null(strstr(printed, "\"total_elapsed_time\": 0"));
	assert_non_null(strstr(printed, "], \"silent\": [], \"error\": null}\n"));
	free(printed);
}

static void the_end_of_a_wait_as_json_has_a_result_per_ecu(void **state)
{
	struct follow_ecu ecus[] = {
		{.ecu_id = "main",        .state = FOLLOW_DONE, .ended_ms = 9000},
		{ .ecu_id = "sub", .state = FOLLOW_FAILED,  .reason = "aborted", .ended_ms = 5000}
        };
	struct follow follow = {.version = "2.0", .accepted_ms = 1000, .ecus = ecus, .n_ecus = 2};
	FILE *f = print_begin();

	(void)state;
	view_json_end(f, &(struct wire_status){0}, &follow);
	assert_printed(f, "{\"available_ecu_ids\": [], \"ecus\": [], \"results\": ["
			  "{\"ecu_id\": \"main\", \"result\": \"DONE\", \"message\": \"\", "
			  "\"elapsed_s\": 8}, {\"ecu_id\": \"sub\", \"result\": \"FAILED\", "
			  "\"message\": \"aborted\", \"elapsed_s\": 4}]}\n");
}

static void an_answer_is_one_line_per_ecu(void **state)
{
	struct wire_answer_ecu e[] = {{"main", API_NO_FAILURE, ""},
		{"sub", API_UNRECOVERABLE, "The URL has no host"}};
	struct wire_answer a = {.ecus = e, .n_ecus = 2};
	FILE *f = print_begin();

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
		cmocka_unit_test(an_update_that_has_a_plan_says_what_it_comes_to),
		cmocka_unit_test(a_failure_shows_reason_and_type),
		cmocka_unit_test(a_remark_on_what_goes_on_is_no_failure),
		cmocka_unit_test(numbers_of_a_newer_peer_are_unknown),
		cmocka_unit_test(json_has_the_fields_of_the_api),
		cmocka_unit_test(json_of_an_update_has_its_figures),
		cmocka_unit_test(a_look_as_json_names_the_silent_ecus_and_why),
		cmocka_unit_test(the_end_of_a_wait_as_json_has_a_result_per_ecu),
		cmocka_unit_test(an_answer_is_one_line_per_ecu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
