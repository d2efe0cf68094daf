/*
 * status: what everyone who asks is told, over the life of an update.
 */
#include "otaclient/status/status.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

static uint64_t fake_ms;

static uint64_t fake_monotonic_ms(void)
{
	return fake_ms;
}

static int64_t fake_unix_s(void)
{
	return 1790000000;
}

static const struct clock_ops fake_clock = {
	.monotonic_ms = fake_monotonic_ms,
	.unix_s = fake_unix_s,
};

static int setup(void **state)
{
	fake_ms = 5000;
	clock_set_ops(&fake_clock);
	*state = status_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	status_free(*state);
	clock_set_ops(NULL);
	return 0;
}

static void nothing_is_known_before_the_boot_controller_has_started(void **state)
{
	struct status_snapshot now;

	status_get(*state, &now);
	assert_false(now.known);
	assert_string_equal(now.firmware_version, "");
}

static void what_booted_is_shown(void **state)
{
	struct release_detail release = {"spring", "r-7", "i-9"};
	struct status_snapshot now;

	status_set_booted(*state, STATUS_SUCCESS, "1.2.3", &release);
	status_get(*state, &now);
	assert_true(now.known);
	assert_int_equal(now.ota_status, STATUS_SUCCESS);
	assert_string_equal(now.firmware_version, "1.2.3");
	assert_string_equal(now.release.release_id, "r-7");
	assert_false(now.has_failure);
}

static void a_machine_without_a_stored_status_is_initialized(void **state)
{
	struct status_snapshot now;

	status_set_booted(*state, STATUS_NONE, "", NULL);
	status_get(*state, &now);
	assert_true(now.known);
	assert_int_equal(now.ota_status, STATUS_INITIALIZED);
}

static void a_failure_shows_code_and_sentence_until_the_next_update_begins(void **state)
{
	struct status_snapshot now;
	struct ota_err err = {0};

	ota_err_set(
		&err, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE, "The image needs 9 MiB, the slot has 8");
	status_set_failure(*state, STATUS_FAILURE, &err);
	status_get(*state, &now);
	assert_int_equal(now.ota_status, STATUS_FAILURE);
	assert_true(now.has_failure);
	assert_false(now.failure_is_recoverable);
	assert_string_equal(now.failure_reason, "E307: The image needs 9 MiB, the slot has 8");

	status_begin_update(*state, "2.0");
	status_get(*state, &now);
	assert_int_equal(now.ota_status, STATUS_UPDATING);
	assert_false(now.has_failure);
	assert_string_equal(now.failure_reason, "");
}

static void a_failure_of_the_start_is_a_status_too(void **state)
{
	struct status_snapshot now;
	struct ota_err err = {0};

	ota_err_set(&err, -ENODEV, OTA_E_BOOTCONTROL_STARTUP, "No standby partition");
	status_set_failure(*state, STATUS_FAILURE, &err);
	status_get(*state, &now);
	assert_true(now.known);
	assert_string_equal(now.failure_reason, "E302: No standby partition");
}

static void a_failure_without_a_sentence_shows_the_code_text(void **state)
{
	struct status_snapshot now;
	struct ota_err err = {.errnum = -EIO, .code = OTA_E_NETWORK};

	status_set_failure(*state, STATUS_FAILURE, &err);
	status_get(*state, &now);
	assert_true(now.failure_is_recoverable);
	assert_string_equal(now.failure_reason, "E100: the network or the server failed");
}

static void a_remark_stays_until_the_next_update_begins(void **state)
{
	struct status_snapshot now;

	status_set_booted(*state, STATUS_SUCCESS, "1", NULL);
	status_begin_update(*state, "2");
	status_set_remark(*state, "The sun shines");
	status_get(*state, &now);
	assert_int_equal(now.ota_status, STATUS_UPDATING);
	assert_false(now.has_failure);
	assert_string_equal(now.failure_reason, "The sun shines");
	status_begin_update(*state, "3");
	status_get(*state, &now);
	assert_string_equal(now.failure_reason, "");
}

static void count_one_file(struct update_stats *u, const void *arg)
{
	u->processed_files_num++;
	u->processed_files_size += *(const uint64_t *)arg;
}

static void a_new_update_starts_counting_from_zero(void **state)
{
	const uint64_t size_bytes = 4096;
	struct status_snapshot now;

	status_begin_update(*state, "2.0");
	status_change(*state, count_one_file, &size_bytes);
	status_get(*state, &now);
	assert_int_equal(now.update.processed_files_num, 1);
	assert_int_equal(now.update.processed_files_size, 4096);
	assert_string_equal(now.update.version, "2.0");
	assert_int_equal(now.update.start_unix_s, 1790000000);

	status_begin_update(*state, "2.1");
	status_get(*state, &now);
	assert_int_equal(now.update.processed_files_num, 0);
	assert_int_equal(now.update.phase, PHASE_INITIALIZING);
	assert_string_equal(now.update.version, "2.1");
}

static void a_phase_of_several_steps_begins_once(void **state)
{
	struct status_snapshot now;

	status_begin_update(*state, "2.0");
	fake_ms = 6000;
	status_set_phase(*state, PHASE_PROCESSING_METADATA);
	fake_ms = 9000;
	status_set_phase(*state, PHASE_PROCESSING_METADATA);
	status_get(*state, &now);
	assert_int_equal(now.update.phase_began_ms[PHASE_PROCESSING_METADATA], 6000);
}

static void each_stage_ends_where_the_next_begins(void **state)
{
	struct status_snapshot now;
	struct update_times t;

	status_begin_update(*state, "2.0");
	fake_ms = 10000;
	status_set_phase(*state, PHASE_CALCULATING_DELTA);
	status_get(*state, &now);
	update_stats_times(&now.update, 13999, &t);
	assert_int_equal(t.total_s, 8);
	assert_int_equal(t.delta_s, 3);
	assert_int_equal(t.download_s, 0);
	assert_int_equal(t.apply_s, 0);

	fake_ms = 14000;
	status_set_phase(*state, PHASE_DOWNLOADING_OTA_FILES);
	fake_ms = 20000;
	status_set_phase(*state, PHASE_APPLYING_UPDATE);
	fake_ms = 21000;
	status_set_phase(*state, PHASE_PROCESSING_POSTUPDATE);
	status_get(*state, &now);
	update_stats_times(&now.update, 60000, &t);
	assert_int_equal(t.total_s, 55);
	assert_int_equal(t.delta_s, 4);
	assert_int_equal(t.download_s, 6);
	assert_int_equal(t.apply_s, 1);
}

static void a_stage_that_is_skipped_takes_no_time_and_ends_the_one_before(void **state)
{
	struct status_snapshot now;
	struct update_times t;

	status_begin_update(*state, "2.0");
	status_set_phase(*state, PHASE_CALCULATING_DELTA);
	fake_ms = 7000;
	status_set_phase(*state, PHASE_APPLYING_UPDATE);
	status_get(*state, &now);
	update_stats_times(&now.update, 8500, &t);
	assert_int_equal(t.delta_s, 2);
	assert_int_equal(t.download_s, 0);
	assert_int_equal(t.apply_s, 1);
}

static void times_are_never_negative(void **state)
{
	struct status_snapshot now;
	struct update_times t;

	status_begin_update(*state, "2.0");
	status_set_phase(*state, PHASE_CALCULATING_DELTA);
	status_get(*state, &now);
	update_stats_times(&now.update, 1, &t);
	assert_int_equal(t.total_s, 0);
	assert_int_equal(t.delta_s, 0);
}

static void a_version_that_is_too_long_is_cut_between_characters(void **state)
{
	char version[STATUS_VERSION_MAX + 8];
	struct status_snapshot now;

	memset(version, 'x', sizeof(version));
	memcpy(version + STATUS_VERSION_MAX - 2, "\xc3\xa9", 3); /* é across the limit */
	status_set_booted(*state, STATUS_SUCCESS, version, NULL);
	status_get(*state, &now);
	assert_int_equal(strlen(now.firmware_version), STATUS_VERSION_MAX - 2);
}

static void count_both(struct update_stats *u, const void *arg)
{
	u->kept_files++;
	u->kept_bytes += 10;
}

static void *count_many(void *arg)
{
	for (int i = 0; i < 20000; i++)
		status_change(arg, count_both, NULL);
	return NULL;
}

static void a_copy_taken_in_the_middle_of_work_is_consistent(void **state)
{
	struct status_snapshot now;
	pthread_t worker;

	assert_int_equal(pthread_create(&worker, NULL, count_many, *state), 0);
	do {
		status_get(*state, &now);
		assert_int_equal(now.update.kept_bytes, now.update.kept_files * 10);
	} while (now.update.kept_files < 20000);
	pthread_join(worker, NULL);
}

static void names_are_those_of_the_api(void **state)
{
	(void)state;
	assert_string_equal(
		update_phase_name(PHASE_DOWNLOADING_OTA_FILES), "DOWNLOADING_OTA_FILES");
	assert_string_equal(update_phase_name(PHASE_COUNT), "");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static void a_rollback_begins_without_the_failure_before_it(void **state)
{
	struct status_snapshot now;
	struct ota_err err = {0};

	ota_err_set(&err, -EIO, OTA_E_NETWORK, "The server is gone");
	status_set_failure(*state, STATUS_FAILURE, &err);
	status_begin_rollback(*state);
	status_get(*state, &now);
	assert_int_equal(now.ota_status, STATUS_ROLLBACKING);
	assert_false(now.has_failure);
	assert_string_equal(now.failure_reason, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(nothing_is_known_before_the_boot_controller_has_started),
		CASE(what_booted_is_shown),
		CASE(a_machine_without_a_stored_status_is_initialized),
		CASE(a_failure_shows_code_and_sentence_until_the_next_update_begins),
		CASE(a_rollback_begins_without_the_failure_before_it),
		CASE(a_failure_of_the_start_is_a_status_too),
		CASE(a_failure_without_a_sentence_shows_the_code_text),
		CASE(a_remark_stays_until_the_next_update_begins),
		CASE(a_new_update_starts_counting_from_zero),
		CASE(a_phase_of_several_steps_begins_once),
		CASE(each_stage_ends_where_the_next_begins),
		CASE(a_stage_that_is_skipped_takes_no_time_and_ends_the_one_before),
		CASE(times_are_never_negative),
		CASE(a_version_that_is_too_long_is_cut_between_characters),
		CASE(a_copy_taken_in_the_middle_of_work_is_consistent),
		CASE(names_are_those_of_the_api),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
