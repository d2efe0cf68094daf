/*
 * follow: when an update that otactl waits for counts as done, and when as failed.
 */
#include "otaclient/ctl/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"

static struct follow_ecu ecus[2];
static struct follow f;

static struct wire_status_ecu entry(const char *id, int status, const char *version, const char *reason)
{
	return (struct wire_status_ecu){.ecu_id = id,
		.firmware_version = version,
		.ota_status = status,
		.failure_reason = reason};
}

/* "main" runs 1.0 and has accepted 2.0 at 100 s; silence is borne for 60 s. */
static void start_wish(const char *version, int status, const char *reason)
{
	struct wire_status_ecu e = entry("main", status, "1.0", reason);
	struct wire_status before = {.ecus = &e, .n_ecus = 1};

	memset(ecus, 0, sizeof(ecus));
	ecus[0].ecu_id = "main";
	f = (struct follow){.version = version, .timeout_ms = 60000, .ecus = ecus, .n_ecus = 1};
	follow_start(&f, &before, 100000);
}

static void start(int status, const char *reason)
{
	start_wish("2.0", status, reason);
}

static void see(int status, const char *version, const char *reason, uint64_t at_s)
{
	struct wire_status_ecu e = entry("main", status, version, reason);
	struct wire_status now = {.ecus = &e, .n_ecus = 1};

	follow_see(&f, &now, at_s * 1000);
}

static void an_update_is_done_when_the_new_version_reports_success(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_UPDATING, "1.0", "", 101);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_SUCCESS, "2.0", "", 200);
	assert_int_equal(follow_state(&f), FOLLOW_DONE);
}

static void a_reboot_in_between_is_no_failure(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_UPDATING, "1.0", "", 101);
	follow_see(&f, NULL, 102000);
	follow_see(&f, NULL, 161000);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_SUCCESS, "2.0", "", 162);
	assert_int_equal(follow_state(&f), FOLLOW_DONE);
}

static void the_success_of_the_old_version_does_not_count(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_SUCCESS, "1.0", "", 101);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_UPDATING, "1.0", "", 109);
	see(STATUS_SUCCESS, "1.0", "", 300);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_string_equal(ecus[0].sentence,
		"main reports SUCCESS but runs version '1.0' instead of '2.0'");
}

static void an_update_that_never_begins_fails_after_a_while(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_SUCCESS, "1.0", "", 130);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_SUCCESS, "1.0", "", 131);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
}

static void an_ecu_that_is_heard_of_late_has_not_failed_by_being_idle(void **state)
{
	struct wire_status nobody = {0};

	(void)state;
	start(STATUS_INITIALIZED, "");
	follow_start(&f, &nobody, 100000);
	see(STATUS_INITIALIZED, "", "", 101);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_UPDATING, "", "", 103);
	see(STATUS_SUCCESS, "2.0", "", 200);
	assert_int_equal(follow_state(&f), FOLLOW_DONE);
}

static void an_ecu_that_is_heard_of_when_it_is_done_is_done(void **state)
{
	struct wire_status nobody = {0};

	(void)state;
	start(STATUS_INITIALIZED, "");
	follow_start(&f, &nobody, 100000);
	see(STATUS_SUCCESS, "2.0", "", 101);
	assert_int_equal(follow_state(&f), FOLLOW_DONE);
}

static void a_failure_gives_its_reason(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_FAILURE, "1.0", "E203: No such image", 101);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_string_equal(ecus[0].sentence, "The update of main failed: E203: No such image");
}

static void a_failure_from_before_is_not_this_one(void **state)
{
	(void)state;
	start(STATUS_FAILURE, "E100: Old");
	see(STATUS_FAILURE, "1.0", "E100: Old", 101);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_UPDATING, "1.0", "", 102);
	see(STATUS_FAILURE, "1.0", "E100: Old", 103);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
}

static void a_fallback_to_the_old_slot_has_no_reason(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_UPDATING, "1.0", "", 101);
	see(STATUS_FAILURE, "1.0", "", 200);
	assert_string_equal(ecus[0].sentence,
		"The update of main failed: it is back on its old slot, and gives no reason");
}

static void an_abort_ends_the_waiting(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_UPDATING, "1.0", "", 101);
	see(STATUS_ABORTING, "1.0", "", 102);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_ABORTED, "1.0", "", 103);
	assert_string_equal(ecus[0].sentence, "The update of main was aborted");
}

static void an_ecu_that_stays_silent_has_failed(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	see(STATUS_UPDATING, "1.0", "", 110);
	follow_see(&f, NULL, 170000);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	follow_see(&f, NULL, 170001);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_string_equal(ecus[0].sentence, "main has not answered for 60 s");
}

static void all_ecus_must_come_to_an_end(void **state)
{
	struct wire_status_ecu e[] = {entry("main", STATUS_UPDATING, "1.0", ""),
		entry("sub", STATUS_UPDATING, "1.0", "")};
	struct wire_status now = {.ecus = e, .n_ecus = 2};

	(void)state;
	start(STATUS_SUCCESS, "");
	ecus[1] = (struct follow_ecu){.ecu_id = "sub"};
	f.n_ecus = 2;
	follow_start(&f, &now, 100000);
	follow_see(&f, &now, 101000);
	e[0] = entry("main", STATUS_FAILURE, "1.0", "E100: x");
	follow_see(&f, &now, 102000);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	e[1] = entry("sub", STATUS_SUCCESS, "2.0", "");
	follow_see(&f, &now, 103000);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_int_equal(ecus[1].state, FOLLOW_DONE);
	assert_int_equal(follow_count(&f, FOLLOW_FAILED), 1);
	assert_int_equal(follow_elapsed_s(&f, &ecus[0]), 2);
	assert_int_equal(follow_total_s(&f), 3);
}

static void an_ecu_that_refuses_has_failed_from_the_start(void **state)
{
	(void)state;
	start(STATUS_SUCCESS, "");
	follow_refuse(&f, &ecus[0], "Another update is running");
	see(STATUS_SUCCESS, "2.0", "", 140);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_string_equal(ecus[0].reason, "refused: Another update is running");
	assert_string_equal(ecus[0].sentence, "Update of main refused: Another update is running");
	assert_int_equal(follow_elapsed_s(&f, &ecus[0]), 0);
}

static void a_rollback_is_done_when_the_other_version_runs(void **state)
{
	(void)state;
	start_wish(NULL, STATUS_SUCCESS, "");
	see(STATUS_SUCCESS, "1.0", "", 101);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_ROLLBACKING, "1.0", "", 102);
	follow_see(&f, NULL, 110000);
	assert_int_equal(follow_state(&f), FOLLOW_RUNNING);
	see(STATUS_SUCCESS, "0.9", "", 150);
	assert_int_equal(follow_state(&f), FOLLOW_DONE);
	assert_string_equal(ecus[0].version, "0.9");
	assert_int_equal(follow_elapsed_s(&f, &ecus[0]), 50);
	assert_int_equal(follow_total_s(&f), 50);
}

static void a_rollback_between_slots_of_one_version_is_done_when_it_was_seen(void **state)
{
	(void)state;
	start_wish(NULL, STATUS_SUCCESS, "");
	see(STATUS_ROLLBACKING, "1.0", "", 102);
	see(STATUS_SUCCESS, "1.0", "", 150);
	assert_int_equal(follow_state(&f), FOLLOW_DONE);
}

static void a_rollback_that_never_begins_fails_after_a_while(void **state)
{
	(void)state;
	start_wish(NULL, STATUS_SUCCESS, "");
	see(STATUS_SUCCESS, "1.0", "", 131);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_string_equal(ecus[0].sentence, "main reports SUCCESS but still runs version '1.0'");
}

static void a_rollback_that_fails_gives_its_reason(void **state)
{
	(void)state;
	start_wish(NULL, STATUS_SUCCESS, "");
	see(STATUS_ROLLBACKING, "1.0", "", 102);
	see(STATUS_ROLLBACK_FAILURE, "1.0", "E306: The other slot did not boot", 150);
	assert_int_equal(follow_state(&f), FOLLOW_FAILED);
	assert_string_equal(
		ecus[0].sentence, "The rollback of main failed: E306: The other slot did not boot");
	start_wish(NULL, STATUS_SUCCESS, "");
	see(STATUS_ROLLBACK_FAILURE, "1.0", "", 150);
	assert_string_equal(ecus[0].sentence,
		"The rollback of main failed: it has stayed on its slot, and gives no reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_update_is_done_when_the_new_version_reports_success),
		cmocka_unit_test(a_reboot_in_between_is_no_failure),
		cmocka_unit_test(the_success_of_the_old_version_does_not_count),
		cmocka_unit_test(an_update_that_never_begins_fails_after_a_while),
		cmocka_unit_test(an_ecu_that_is_heard_of_late_has_not_failed_by_being_idle),
		cmocka_unit_test(an_ecu_that_is_heard_of_when_it_is_done_is_done),
		cmocka_unit_test(a_failure_gives_its_reason),
		cmocka_unit_test(a_failure_from_before_is_not_this_one),
		cmocka_unit_test(a_fallback_to_the_old_slot_has_no_reason),
		cmocka_unit_test(an_abort_ends_the_waiting),
		cmocka_unit_test(an_ecu_that_stays_silent_has_failed),
		cmocka_unit_test(all_ecus_must_come_to_an_end),
		cmocka_unit_test(an_ecu_that_refuses_has_failed_from_the_start),
		cmocka_unit_test(a_rollback_is_done_when_the_other_version_runs),
		cmocka_unit_test(a_rollback_between_slots_of_one_version_is_done_when_it_was_seen),
		cmocka_unit_test(a_rollback_that_never_begins_fails_after_a_while),
		cmocka_unit_test(a_rollback_that_fails_gives_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
