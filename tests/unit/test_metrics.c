/*
 * metrics: the record of an update that came to its end, and of those that did not.
 */
#include "otaclient/update/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"

static struct status_snapshot now;
static struct metrics m;

static int setup(void **state)
{
	now = (struct status_snapshot){
		.known = true,
		.ota_status = STATUS_UPDATING,
		.firmware_version = "1.0",
		.update =
			{
				 .version = "2.0",
				 .start_unix_s = 1790000000,
				 .total_files_size = 5000000000,
				 .total_files_num = 30,
				 .total_download_files_num = 7,
				 .total_download_files_size = 700,
				 .downloaded_bytes = 650,
				 .downloading_errors = 2,
				 .phase_began_ms = {5000, 6000, 8999, 0, 15000, 25000, 35000},
				 },
	};
	m = (struct metrics){
		.now = &now,
		.ecu_id = "main",
		.session_id = "1790000000-2_0-0badcafe",
		.request_id = "1789999999-12345678",
		.standby_version = "0.9",
		.target_version = "2.0",
		.bootloader = "grub",
		.in_place = true,
		.proxy_keeps = true,
		.n_directories = 4,
		.n_symlinks = 5,
		.restarts = true,
		.now_ms = 45000,
	};
	return 0;
}

static void an_update_that_came_to_its_end(void **state)
{
	AUTO_BUF struct buf record = {0};

	assert_int_equal(metrics_record(&m, &record), 0);
	assert_string_equal(buf_str(&record),
		"{\"initializing_start_timestamp\":1790000000,"
		"\"processing_metadata_start_timestamp\":1790000001,"
		"\"delta_calculation_start_timestamp\":1790000003,"
		"\"download_start_timestamp\":0,"
		"\"apply_update_start_timestamp\":1790000010,"
		"\"post_update_start_timestamp\":1790000020,"
		"\"finalizing_update_start_timestamp\":1790000030,"
		"\"reboot_start_timestamp\":1790000040,"
		"\"ecu_id\":\"main\",\"request_id\":\"1789999999-12345678\","
		"\"session_id\":\"1790000000-2_0-0badcafe\","
		"\"current_firmware_version\":\"1.0\",\"standby_firmware_version\":\"0.9\","
		"\"target_firmware_version\":\"2.0\",\"otaclient_version\":\"" OTA_VERSION "\","
		"\"failure_type\":\"NO_FAILURE\",\"failure_reason\":\"\",\"failed_status\":\"\","
		"\"ota_image_format\":\"legacy\",\"bootloader_type\":\"grub\","
		"\"use_inplace_mode\":true,\"enable_local_ota_proxy_cache\":true,"
		"\"ota_image_total_files_size\":5000000000,\"ota_image_total_regulars_num\":30,"
		"\"ota_image_total_directories_num\":4,\"ota_image_total_symlinks_num\":5,"
		"\"delta_download_files_num\":7,\"delta_download_files_size\":700,"
		"\"downloaded_bytes\":650,\"downloaded_errors\":2}");
}

static void has(const char *part)
{
	AUTO_BUF struct buf record = {0};

	assert_int_equal(metrics_record(&m, &record), 0);
	if (!strstr(buf_str(&record), part))
		fail_msg("%s is not in %s", part, buf_str(&record));
}

static void a_failure_is_there_with_its_code_type_and_sentence(void **state)
{
	struct ota_err err = {
		.errnum = -5, .code = OTA_E_OTA_IMAGE_INVALID, .msg = "No \"regulars.txt\""};

	m.failure = &err;
	m.failed_status = STATUS_FAILURE;
	m.restarts = false;
	has("\"failure_type\":\"RECOVERABLE\",\"failure_reason\":\"E203: No \\\"regulars.txt\\\"\","
	    "\"failed_status\":\"FAILURE\"");
	has("\"reboot_start_timestamp\":0,");
	err = (struct ota_err){.errnum = -5, .code = OTA_E_BOOTCONTROL_PREUPDATE};
	m.failed_status = STATUS_ABORTED;
	has("\"failure_type\":\"UNRECOVERABLE\",\"failure_reason\":\"E303: ");
	has("\"failed_status\":\"ABORTED\"");
}

static void what_the_proxy_has_counted_comes_last(void **state)
{
	const struct proxy_counts counts = {.total_requests = 123, .local_hits = 102};

	m.proxy_counts = &counts;
	has("\"downloaded_errors\":2,\"cache_total_requests\":123,\"cache_local_hits\":102}");
}

static void an_update_that_has_not_begun_has_no_times(void **state)
{
	now.update = (struct update_stats){0};
	has("{\"initializing_start_timestamp\":0,");
	has("\"reboot_start_timestamp\":0,");
}

static void texts_from_outside_do_not_spoil_the_record(void **state)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	AUTO_BUF struct buf record = {0};
	struct ota_err err = {0};

	m.target_version = "2\",\"ecu_id\":\"x\n\xff";
	m.standby_version = "\xe6\x97\xa5";
	assert_int_equal(metrics_record(&m, &record), 0);
	assert_null(strchr(buf_str(&record), '\n'));
	assert_int_equal(json_doc_parse(buf_str(&record), record.len_bytes, 8192, &doc, &err), 0);
	assert_string_equal(
		json_value_string(json_value_member(json_doc_root(doc), "target_firmware_version")),
		"2\",\"ecu_id\":\"x\n?");
	assert_string_equal(
		json_value_string(json_value_member(json_doc_root(doc), "ecu_id")), "main");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_update_that_came_to_its_end, setup),
		cmocka_unit_test_setup(a_failure_is_there_with_its_code_type_and_sentence, setup),
		cmocka_unit_test_setup(what_the_proxy_has_counted_comes_last, setup),
		cmocka_unit_test_setup(an_update_that_has_not_begun_has_no_times, setup),
		cmocka_unit_test_setup(texts_from_outside_do_not_spoil_the_record, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
