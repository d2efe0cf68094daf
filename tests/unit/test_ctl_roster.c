/*
 * roster: what otactl knows of ECUs that are silent.
 */
#include "otaclient/ctl/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"

static struct wire_status_ecu entry(const char *id, int status, enum update_phase phase)
{
	return (struct wire_status_ecu){.ecu_id = id,
		.firmware_version = "1.0",
		.ota_status = status,
		.failure_reason = "",
		.update = {.phase = phase}};
}

/* "main" is asked, and speaks for "sub" too. */
static void look(struct roster *r, struct wire_status_ecu *entries, size_t n, uint64_t at_s)
{
	const char *available[] = {"main", "sub"};
	struct wire_status s = {
		.ecus = entries, .n_ecus = n, .available = available, .n_available = 2};

	assert_int_equal(roster_look(r, &s, at_s * 1000), 0);
}

static void every_ecu_of_the_vehicle_is_listed_once(void **state)
{
	struct wire_status_ecu e[] = {entry("main", STATUS_SUCCESS, 0),
		entry("deep", STATUS_FAILURE, 0), entry("main", STATUS_FAILURE, 0)};
	AUTO_ROSTER struct roster r = {0};

	(void)state;
	look(&r, e, 3, 1);
	look(&r, e, 3, 2);
	assert_int_equal(r.n_ecus, 3);
	assert_string_equal(r.ecus[0].id, "main");
	assert_string_equal(r.ecus[1].id, "sub");
	assert_string_equal(r.ecus[2].id, "deep");
	assert_int_equal(r.ecus[0].ota_status, STATUS_SUCCESS); /* of two entries the first */
	assert_int_equal(roster_state(&r, &r.ecus[0]), ROSTER_REPORTS);
	assert_int_equal(roster_state(&r, &r.ecus[1]), ROSTER_NOT_REPORTED);
	assert_int_equal(roster_silent_s(&r.ecus[1], 6000), 5);
}

static void an_ecu_that_was_about_to_restart_is_restarting(void **state)
{
	static const enum update_phase phases[] = {
		PHASE_PROCESSING_POSTUPDATE, PHASE_FINALIZING_UPDATE};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		struct wire_status_ecu e[] = {
			entry("main", STATUS_SUCCESS, 0), entry("sub", STATUS_UPDATING, phases[i])};
		AUTO_ROSTER struct roster r = {0};

		look(&r, e, 2, 1);
		look(&r, e, 1, 11);
		assert_int_equal(roster_state(&r, &r.ecus[1]), ROSTER_RESTARTING);
		assert_int_equal(roster_silent_s(&r.ecus[1], 11000), 10);
		e[1] = entry("sub", STATUS_SUCCESS, 0);
		look(&r, e, 2, 12);
		assert_int_equal(roster_state(&r, &r.ecus[1]), ROSTER_REPORTS);
		assert_int_equal(roster_silent_s(&r.ecus[1], 12000), 0);
	}
}

static void an_ecu_that_vanishes_from_its_work_is_silent(void **state)
{
	struct wire_status_ecu e[] = {entry("main", STATUS_ROLLBACKING, 0),
		entry("sub", STATUS_UPDATING, PHASE_DOWNLOADING_OTA_FILES)};
	AUTO_ROSTER struct roster r = {0};

	(void)state;
	look(&r, e, 2, 1);
	look(&r, e, 1, 2);
	assert_int_equal(roster_state(&r, &r.ecus[1]), ROSTER_SILENT);
	assert_int_equal(r.ecus[1].update.phase, PHASE_DOWNLOADING_OTA_FILES);
	assert_int_equal(roster_look(&r, NULL, 3000), 0);
	assert_int_equal(roster_state(&r, &r.ecus[0]), ROSTER_RESTARTING);
}

static void who_was_silent_before_the_asked_ecu_is_so_still(void **state)
{
	struct wire_status_ecu e[] = {entry("main", STATUS_UPDATING, PHASE_FINALIZING_UPDATE),
		entry("sub", STATUS_UPDATING, PHASE_FINALIZING_UPDATE),
		entry("deep", STATUS_SUCCESS, 0)};
	AUTO_ROSTER struct roster r = {0};

	(void)state;
	look(&r, e, 3, 1);
	e[1] = e[2];
	look(&r, e, 2, 2);
	for (uint64_t t = 3000; t < 6000; t += 1000) {
		roster_look(&r, NULL, t);
		assert_int_equal(roster_state(&r, &r.ecus[1]), ROSTER_RESTARTING);
		assert_int_equal(roster_state(&r, &r.ecus[2]), ROSTER_NOT_KNOWN);
	}
	look(&r, e, 2, 6);
	assert_int_equal(roster_state(&r, &r.ecus[2]), ROSTER_REPORTS);
}

static void a_peer_cannot_make_it_grow_without_end(void **state)
{
	struct wire_status_ecu *e = calloc(WIRE_ECUS_MAX, sizeof(*e));
	AUTO_ROSTER struct roster r = {0};
	char ids[WIRE_ECUS_MAX][400];

	(void)state;
	assert_non_null(e);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < WIRE_ECUS_MAX; i++) {
			memset(ids[i], 'x', sizeof(ids[i]));
			snprintf(ids[i], sizeof(ids[i]), "%u.%u", round, i);
			e[i] = entry(ids[i], STATUS_SUCCESS, 0);
		}
		memset(ids[0], 'x',
			sizeof(ids[0]) - 1); /* longer than it keeps, and still one ECU */
		ids[0][sizeof(ids[0]) - 1] = '\0';
		look(&r, e, WIRE_ECUS_MAX, 1);
	}
	assert_int_equal(r.n_ecus, WIRE_ECUS_MAX);
	free(e);
}

static void only_those_who_are_followed_are_listed_on_demand(void **state)
{
	struct wire_status_ecu e[] = {
		entry("main", STATUS_SUCCESS, 0), entry("sub", STATUS_SUCCESS, 0)};
	AUTO_ROSTER struct roster r = {.only_listed = true};

	(void)state;
	assert_int_equal(roster_add(&r, "sub", 1000), 0);
	look(&r, e, 2, 2);
	assert_int_equal(r.n_ecus, 1);
	assert_string_equal(r.ecus[0].id, "sub");
}

static void a_stage_changes_with_what_a_log_should_tell(void **state)
{
	struct wire_status_ecu e[] = {entry("main", STATUS_UPDATING, PHASE_APPLYING_UPDATE)};
	AUTO_ROSTER struct roster r = {0};
	unsigned long stages[4];

	(void)state;
	look(&r, e, 1, 1);
	stages[0] = roster_stage(&r, &r.ecus[0]);
	e[0].update.processed_files_size = 10;
	look(&r, e, 1, 2);
	assert_int_equal(roster_stage(&r, &r.ecus[0]), stages[0]);
	e[0].update.phase = PHASE_FINALIZING_UPDATE;
	look(&r, e, 1, 3);
	stages[1] = roster_stage(&r, &r.ecus[0]);
	roster_look(&r, NULL, 4000);
	stages[2] = roster_stage(&r, &r.ecus[0]);
	e[0].ota_status = STATUS_SUCCESS;
	look(&r, e, 1, 5);
	stages[3] = roster_stage(&r, &r.ecus[0]);
	for (size_t i = 0; i < 4; i++) {
		assert_true(stages[i] != 0);
		for (size_t k = 0; k < i; k++)
			assert_true(stages[i] != stages[k]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_ecu_of_the_vehicle_is_listed_once),
		cmocka_unit_test(an_ecu_that_was_about_to_restart_is_restarting),
		cmocka_unit_test(an_ecu_that_vanishes_from_its_work_is_silent),
		cmocka_unit_test(who_was_silent_before_the_asked_ecu_is_so_still),
		cmocka_unit_test(a_peer_cannot_make_it_grow_without_end),
		cmocka_unit_test(only_those_who_are_followed_are_listed_on_demand),
		cmocka_unit_test(a_stage_changes_with_what_a_log_should_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
