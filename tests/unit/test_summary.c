/*
 * summary: what the states of all ECUs mean together.
 */
#include "otaclient/tree/summary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/status/status.h"

enum {
	NOW = 10 * TREE_LOST_MS,
};

static const char *const available[] = {"main", "p1", "p2"};
static const struct summary_scope scope = {"main", available, ARRAY_SIZE(available)};

static struct summary_ecu ecu(const char *id, enum ota_status status)
{
	return (struct summary_ecu){
		.ecu_id = id, .known = true, .reported_ms = NOW, .ota_status = (int)status};
}

static struct summary_ecu updating(const char *id, int phase)
{
	struct summary_ecu e = ecu(id, STATUS_UPDATING);

	e.phase = phase;
	return e;
}

static struct summary summary_of(const struct summary_ecu *ecus, size_t n)
{
	struct summary s;

	summary_make(&scope, ecus, n, NOW, &s);
	return s;
}

static void each_status_has_its_state(void **state)
{
	static const struct {
		int status;
		enum summary_state state;
	} rows[] = {
		{STATUS_INITIALIZED,      SUMMARY_OTHER    },
		{STATUS_SUCCESS,          SUMMARY_SUCCESS  },
		{STATUS_FAILURE,          SUMMARY_FAILED   },
		{STATUS_UPDATING,         SUMMARY_IN_UPDATE},
		{STATUS_ROLLBACKING,      SUMMARY_OTHER    },
		{STATUS_ROLLBACK_FAILURE, SUMMARY_OTHER    },
		{STATUS_CLIENT_UPDATING,  SUMMARY_IN_UPDATE},
		{STATUS_ABORTING,         SUMMARY_IN_UPDATE},
		{STATUS_ABORTED,          SUMMARY_OTHER    },
		{4711,                    SUMMARY_OTHER    },
		{-1,		      SUMMARY_OTHER    },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct summary_ecu e = ecu("p1", rows[i].status);

		assert_int_equal(summary_state_of(&e, NOW), rows[i].state);
	}
}

static void all_are_done_when_each_listed_ecu_is(void **state)
{
	struct summary_ecu ecus[] = {
		ecu("main", STATUS_SUCCESS), ecu("p1", STATUS_SUCCESS), ecu("p2", STATUS_SUCCESS)};
	struct summary s = summary_of(ecus, 3);

	(void)state;
	assert_true(s.all_success);
	assert_false(s.in_update || s.child_in_update || s.needs_network);
	assert_int_equal(s.n[SUMMARY_SUCCESS], 3);
	/* one that has never been heard of is missing */
	assert_false(summary_of(ecus, 2).all_success);
	/* one that is lost, failed or not known to have been updated */
	ecus[2].reported_ms = NOW - TREE_LOST_MS - 1;
	assert_false(summary_of(ecus, 3).all_success);
	ecus[2] = ecu("p2", STATUS_INITIALIZED);
	assert_false(summary_of(ecus, 3).all_success);
	ecus[2].known = false;
	assert_int_equal(summary_of(ecus, 3).n[SUMMARY_SILENT], 1);
	assert_false(summary_of(ecus, 3).all_success);
}

static void ecus_that_are_not_listed_count_for_nothing(void **state)
{
	struct summary_ecu ecus[] = {ecu("main", STATUS_SUCCESS), ecu("p1", STATUS_SUCCESS),
		ecu("p2", STATUS_SUCCESS), updating("stranger", PHASE_CALCULATING_DELTA)};
	struct summary s = summary_of(ecus, 4);

	(void)state;
	assert_true(s.all_success);
	assert_false(s.in_update || s.child_in_update || s.needs_network || s.child_needs_network);
}

/* An ECU in the middle, which no agent asks, usually has no list: it is responsible for all that is below it. */
static void without_a_list_every_ecu_counts(void **state)
{
	static const char *const itself[] = {"middle"};
	const struct summary_scope middle = {"middle", itself, 1}, none = {"middle", NULL, 0};
	struct summary_ecu ecus[] = {
		ecu("middle", STATUS_SUCCESS), updating("s1", PHASE_CALCULATING_DELTA)};
	struct summary s;

	(void)state;
	summary_make(&middle, ecus, 2, NOW, &s);
	assert_true(s.child_in_update && s.child_needs_network);
	assert_false(s.all_success);
	summary_make(&none, ecus, 2, NOW, &s);
	assert_true(s.child_in_update && s.child_needs_network);
	ecus[1] = ecu("s1", STATUS_SUCCESS);
	summary_make(&middle, ecus, 2, NOW, &s);
	assert_true(s.all_success);
	assert_true(summary_counts(&middle, "s9"));
	assert_false(summary_counts(&scope, "s9"));
}

static void an_update_here_is_none_of_a_child(void **state)
{
	struct summary_ecu ecus[] = {
		updating("main", PHASE_DOWNLOADING_OTA_FILES), ecu("p1", STATUS_SUCCESS)};
	struct summary s = summary_of(ecus, 2);

	(void)state;
	assert_true(s.in_update && s.needs_network);
	assert_false(s.child_in_update || s.child_needs_network || s.all_success);
	ecus[1] = updating("p1", PHASE_DOWNLOADING_OTA_FILES);
	s = summary_of(ecus, 2);
	assert_true(s.child_in_update && s.child_needs_network);
}

static void the_network_is_needed_until_all_is_downloaded(void **state)
{
	(void)state;
	for (int phase = PHASE_INITIALIZING; phase <= PHASE_DOWNLOADING_OTA_CLIENT; phase++) {
		struct summary_ecu e = updating("p1", phase);

		assert_true(summary_of(&e, 1).child_in_update);
		assert_int_equal(summary_of(&e, 1).child_needs_network,
			phase <= PHASE_DOWNLOADING_OTA_FILES);
	}
	/* only for an update of the whole */
	for (int i = 0; i < 2; i++) {
		struct summary_ecu e = ecu("p1", i ? STATUS_ABORTING : STATUS_CLIENT_UPDATING);

		assert_true(summary_of(&e, 1).child_in_update);
		assert_false(summary_of(&e, 1).needs_network);
	}
	/* numbers that only a newer or a lying peer knows */
	for (int i = 0; i < 2; i++) {
		struct summary_ecu e = updating("p1", i ? INT32_MAX : INT32_MIN);

		assert_false(summary_of(&e, 1).needs_network);
	}
}

static void a_silent_ecu_is_waited_for_until_it_is_lost(void **state)
{
	struct summary_ecu e = updating("p1", PHASE_APPLYING_UPDATE);

	(void)state;
	e.reported_ms = NOW - TREE_LOST_MS;
	assert_true(summary_of(&e, 1).child_in_update);
	e.reported_ms--;
	assert_false(summary_of(&e, 1).child_in_update);
	assert_int_equal(summary_of(&e, 1).n[SUMMARY_LOST], 1);
	/* a report that seems to come from the future is a new one */
	e.reported_ms = NOW + 1;
	assert_true(summary_of(&e, 1).child_in_update);
}

static void an_accepted_request_counts_before_it_shows(void **state)
{
	struct summary_ecu e = ecu("p1", STATUS_SUCCESS);
	struct summary s;

	(void)state;
	e.accepted = true;
	s = summary_of(&e, 1);
	assert_true(s.child_in_update && s.child_needs_network);
	e.known = false;
	s = summary_of(&e, 1);
	assert_true(s.child_in_update && s.child_needs_network);
}

static void nobody_is_no_success(void **state)
{
	(void)state;
	assert_false(summary_of(NULL, 0).all_success);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_status_has_its_state),
		cmocka_unit_test(all_are_done_when_each_listed_ecu_is),
		cmocka_unit_test(ecus_that_are_not_listed_count_for_nothing),
		cmocka_unit_test(without_a_list_every_ecu_counts),
		cmocka_unit_test(an_update_here_is_none_of_a_child),
		cmocka_unit_test(the_network_is_needed_until_all_is_downloaded),
		cmocka_unit_test(a_silent_ecu_is_waited_for_until_it_is_lost),
		cmocka_unit_test(an_accepted_request_counts_before_it_shows),
		cmocka_unit_test(nobody_is_no_success),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
