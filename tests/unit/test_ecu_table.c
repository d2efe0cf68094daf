/*
 * ecu_table: what is kept of what children say, and for how long.
 */
#include "otaclient/tree/ecu_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/config/ecu_info.h"

enum {
	T0 = 5000,
};

static const char *const available[] = {"main", "p1", "p2", "g1"};
static const char *const children[] = {"p1", "p2"};
static const struct ecu_table_config config = {
	.scope = {"main", available, ARRAY_SIZE(available)},
	.children = children,
	.n_children = ARRAY_SIZE(children),
};

static void add(
	struct wire_status *said, const char *id, enum ota_status status, const char *version)
{
	struct wire_status_ecu e = {
		.ecu_id = id, .ota_status = (int)status, .firmware_version = version};

	assert_int_equal(wire_status_add(said, &e), 0);
}

/* One entry, as the child says it. */
static void say(
	struct ecu_table *t, size_t child, const char *id, enum ota_status status, uint64_t now_ms)
{
	AUTO_WIRE_STATUS struct wire_status said = {0};

	add(&said, id, status, "1");
	ecu_table_store(t, child, &said, now_ms);
}

/* What Status shows: "p1 p2 ". */
static char *shown(const struct ecu_table *t, uint64_t now_ms)
{
	AUTO_WIRE_STATUS struct wire_status answer = {0};
	AUTO_BUF struct buf text = {0};

	assert_int_equal(ecu_table_export(t, now_ms, &answer), 0);
	for (size_t i = 0; i < answer.n_ecus; i++)
		assert_int_equal(buf_printf(&text, "%s ", answer.ecus[i].ecu_id), 0);
	return strdup(buf_str(&text));
}

static void assert_shown(const struct ecu_table *t, uint64_t now_ms, const char *ids)
{
	AUTO_FREE char *now = shown(t, now_ms);

	assert_string_equal(now, ids);
}

static struct summary summary_at(struct ecu_table *t, uint64_t now_ms)
{
	const struct summary_ecu own = {.ecu_id = "main",
		.known = true,
		.reported_ms = now_ms,
		.ota_status = STATUS_SUCCESS};
	struct summary s;

	ecu_table_summary(t, &own, now_ms, &s);
	return s;
}

static void reports_are_shown_in_the_order_of_first_contact(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	assert_shown(t, T0, "");
	say(t, 1, "p2", STATUS_SUCCESS, T0);
	say(t, 1, "g1", STATUS_SUCCESS, T0);
	say(t, 0, "p1", STATUS_SUCCESS, T0);
	assert_shown(t, T0, "p2 g1 p1 ");
	say(t, 0, "p1", STATUS_FAILURE, T0 + 1);
	say(t, 1, "p2", STATUS_SUCCESS, T0 + 1);
	assert_shown(t, T0 + 1, "p2 g1 p1 ");
}

static void every_field_is_handed_up(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	AUTO_WIRE_STATUS struct wire_status said = {0}, answer = {0};
	struct wire_status_ecu e = {
		.ecu_id = "p1",
		.firmware_version = "f",
		.otaclient_version = "o",
		.release_name = "n",
		.release_id = "r",
		.image_id = "i",
		.ota_status = 77,
		.failure_type = 2,
		.failure_reason = "E313: x",
		.failure_traceback = "t",
		.update = {.version = "9", .phase = PHASE_APPLYING_UPDATE, .downloaded_bytes = 12},
		.times = { 1,             2,                              3,                      4}
        };
	const struct wire_status_ecu *got;

	(void)state;
	assert_int_equal(wire_status_add(&said, &e), 0);
	ecu_table_store(t, 0, &said, T0);
	wire_status_done(&said);
	assert_int_equal(ecu_table_export(t, T0, &answer), 0);
	got = &answer.ecus[0];
	assert_string_equal(got->firmware_version, "f");
	assert_string_equal(got->otaclient_version, "o");
	assert_string_equal(got->release_name, "n");
	assert_string_equal(got->release_id, "r");
	assert_string_equal(got->image_id, "i");
	assert_string_equal(got->failure_reason, "E313: x");
	assert_string_equal(got->failure_traceback, "t");
	assert_int_equal(got->ota_status, 77);
	assert_int_equal(got->failure_type, 2);
	assert_memory_equal(&got->update, &e.update, sizeof(e.update));
	assert_memory_equal(&got->times, &e.times, sizeof(e.times));
}

static void a_child_speaks_neither_for_us_nor_for_its_neighbour(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	say(t, 0, "main", STATUS_FAILURE, T0);
	say(t, 0, "p2", STATUS_UPDATING, T0);
	say(t, 0, "", STATUS_UPDATING, T0);
	ecu_table_accept(t, 0, "main", T0);
	ecu_table_accept(t, 0, "p2", T0);
	assert_shown(t, T0, "");
	assert_false(summary_at(t, T0).child_in_update);
	assert_int_equal(summary_at(t, T0).n[SUMMARY_FAILED], 0);
	assert_false(ecu_table_has_answered(t, 1));
	say(t, 1, "p2", STATUS_SUCCESS, T0);
	assert_true(ecu_table_has_answered(t, 1));
	assert_false(ecu_table_has_answered(t, 0));
}

static void an_ecu_below_has_one_speaker_until_that_falls_silent(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	say(t, 0, "g1", STATUS_UPDATING, T0);
	say(t, 1, "g1", STATUS_SUCCESS, T0 + 1);
	assert_true(ecu_table_is_below(t, 0, "g1"));
	assert_false(ecu_table_is_below(t, 1, "g1"));
	assert_true(summary_at(t, T0 + 1).child_in_update);
	/* it was moved to another parent */
	say(t, 1, "g1", STATUS_SUCCESS, T0 + 3 * TREE_POLL_IDLE_MS + 1);
	assert_true(ecu_table_is_below(t, 1, "g1"));
	assert_false(ecu_table_is_below(t, 0, "g1"));
	assert_false(summary_at(t, T0 + 3 * TREE_POLL_IDLE_MS + 1).child_in_update);
}

static void only_reported_ecus_are_known_to_be_below(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	assert_true(ecu_table_is_below(t, 0, "p1"));
	assert_false(ecu_table_is_below(t, 0, "p2"));
	assert_false(ecu_table_is_below(t, 0, "g1"));
	assert_false(ecu_table_is_below(t, 0, "main"));
	ecu_table_accept(t, 0, "g1", T0);
	assert_false(ecu_table_is_below(t, 0, "g1"));
}

static void an_ecu_that_misses_three_polls_is_left_out(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	say(t, 0, "p1", STATUS_UPDATING, T0);
	assert_shown(t, T0 + 3 * TREE_POLL_IDLE_MS, "p1 ");
	assert_shown(t, T0 + 3 * TREE_POLL_IDLE_MS + 1, "");
	/* what it was doing is not forgotten */
	assert_true(summary_at(t, T0 + 3 * TREE_POLL_IDLE_MS + 1).child_in_update);
	say(t, 0, "p1", STATUS_SUCCESS, T0 + 60000);
	assert_shown(t, T0 + 60000, "p1 ");
	ecu_table_set_interval(t, TREE_POLL_ACTIVE_MS);
	/* a faster beat does not make the last report late */
	assert_shown(t, T0 + 60000 + TREE_POLL_IDLE_MS, "p1 ");
	say(t, 0, "p1", STATUS_SUCCESS, T0 + 80000);
	assert_shown(t, T0 + 80000 + 3 * TREE_POLL_ACTIVE_MS, "p1 ");
	assert_shown(t, T0 + 80000 + 3 * TREE_POLL_ACTIVE_MS + 1, "");
	/* nor does a slower one */
	ecu_table_set_interval(t, TREE_POLL_IDLE_MS);
	assert_shown(t, T0 + 80000 + TREE_POLL_IDLE_MS, "p1 ");
}

static void an_accepted_request_is_frozen_until_it_shows(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	say(t, 0, "p1", STATUS_SUCCESS, T0);
	ecu_table_accept(t, 0, "p1", T0);
	assert_true(summary_at(t, T0).child_needs_network);
	/* still the old state: the ECU has not begun */
	say(t, 0, "p1", STATUS_SUCCESS, T0 + 1000);
	assert_true(summary_at(t, T0 + 1000).child_in_update);
	say(t, 0, "p1", STATUS_UPDATING, T0 + 2000);
	say(t, 0, "p1", STATUS_FAILURE, T0 + 3000);
	assert_false(summary_at(t, T0 + 3000).child_in_update);
}

static void an_update_that_ended_between_two_polls_thaws_too(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	AUTO_WIRE_STATUS struct wire_status said = {0};

	(void)state;
	say(t, 0, "p1", STATUS_SUCCESS, T0);
	ecu_table_accept(t, 0, "p1", T0);
	add(&said, "p1", STATUS_SUCCESS, "2");
	ecu_table_store(t, 0, &said, T0 + 1000);
	assert_false(summary_at(t, T0 + 1000).child_in_update);
	ecu_table_accept(t, 0, "p1", T0 + 1000);
	say(t, 0, "p1", STATUS_FAILURE, T0 + 2000);
	assert_false(summary_at(t, T0 + 2000).child_in_update);
}

static void a_freeze_ends_after_a_minute(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	say(t, 0, "p1", STATUS_SUCCESS, T0);
	ecu_table_accept(t, 0, "p1", T0);
	ecu_table_accept(t, 0, "g1", T0); /* of which nothing was heard */
	assert_true(summary_at(t, T0 + TREE_FREEZE_MS - 1).child_in_update);
	assert_int_equal(summary_at(t, T0 + TREE_FREEZE_MS - 1).n[SUMMARY_IN_UPDATE], 2);
	assert_false(summary_at(t, T0 + TREE_FREEZE_MS).child_in_update);
	assert_shown(t, T0, "p1 ");
}

static void an_abort_ends_a_freeze_that_no_report_would(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	say(t, 1, "p2", STATUS_ABORTED, T0);
	ecu_table_accept(t, 1, "p2", T0);
	say(t, 1, "p2", STATUS_ABORTED, T0 + 1);
	assert_true(summary_at(t, T0 + 1).child_in_update);
	/* others cannot say that for it, and it is not done before it says so itself */
	ecu_table_abort(t, 0, "p2", T0 + 1);
	ecu_table_abort(t, 1, "p2", T0 + 1);
	assert_true(summary_at(t, T0 + 1).child_in_update);
	assert_false(summary_at(t, T0 + 1).child_needs_network);
	say(t, 1, "p2", STATUS_ABORTED, T0 + 2);
	assert_false(summary_at(t, T0 + 2).child_in_update);
	/* one that never reported is not known by that, nor waited for */
	ecu_table_abort(t, 1, "g1", T0 + 2);
	ecu_table_accept(t, 1, "g2", T0 + 2);
	ecu_table_abort(t, 1, "g2", T0 + 2);
	assert_shown(t, T0 + 2, "p2 ");
	assert_false(summary_at(t, T0 + 2).child_in_update);
}

static void those_in_update_can_be_named(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	char names[64];

	(void)state;
	ecu_table_names_in_update(t, T0, names, sizeof(names));
	assert_string_equal(names, "");
	say(t, 0, "p1", STATUS_UPDATING, T0);
	say(t, 0, "stranger", STATUS_UPDATING, T0);
	say(t, 1, "p2", STATUS_SUCCESS, T0);
	say(t, 1, "g1", STATUS_ABORTING, T0);
	ecu_table_names_in_update(t, T0, names, sizeof(names));
	assert_string_equal(names, "p1, g1");
	ecu_table_names_in_update(t, T0, names, 5);
	assert_string_equal(names, "p1, ");
}

static void strings_are_cut_and_ids_that_are_too_long_left_out(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	AUTO_WIRE_STATUS struct wire_status said = {0}, answer = {0};
	AUTO_BUF struct buf bytes = {0};
	AUTO_FREE char *huge = malloc(100001);
	char longest[ECU_ID_MAX];
	struct wire_status_ecu e = {.ota_status = STATUS_SUCCESS};

	(void)state;
	memset(huge, 'x', 100000);
	huge[100000] = '\0';
	e.firmware_version = e.otaclient_version = e.release_name = e.release_id = e.image_id =
		huge;
	e.failure_reason = e.failure_traceback = huge;
	e.ecu_id = "p1";
	assert_int_equal(wire_status_add(&said, &e), 0);
	e.ecu_id = huge;
	assert_int_equal(wire_status_add(&said, &e), 0);
	memset(longest, 'y', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	e.ecu_id = longest;
	assert_int_equal(wire_status_add(&said, &e), 0);
	ecu_table_store(t, 0, &said, T0);
	assert_int_equal(ecu_table_export(t, T0, &answer), 0);
	assert_int_equal(answer.n_ecus, 2);
	assert_string_equal(answer.ecus[1].ecu_id, longest);
	assert_int_equal(strlen(answer.ecus[0].firmware_version), STATUS_VERSION_MAX - 1);
	assert_int_equal(strlen(answer.ecus[0].failure_reason), 1023);
	assert_int_equal(strlen(answer.ecus[0].failure_traceback), 2047);
	/* and the largest answer of the largest table is one that can be sent */
	assert_int_equal(wire_status_encode(&answer, &bytes), 0);
	assert_true(bytes.len_bytes / 2 *
			    (ECU_IDS_MAX + ECU_SECONDARIES_MAX + ECU_TABLE_STRANGERS_MAX + 1) <
		    WIRE_MESSAGE_MAX_BYTES);
}

static void a_child_that_invents_ecus_fills_no_more_than_its_room(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	AUTO_WIRE_STATUS struct wire_status answer = {0};
	char id[32];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		snprintf(id, sizeof(id), "ghost-%d", i);
		say(t, 0, id, STATUS_UPDATING, T0);
		ecu_table_accept(t, 0, id, T0);
	}
	/* those who are expected have their places all the same */
	say(t, 0, "p1", STATUS_SUCCESS, T0);
	say(t, 1, "p2", STATUS_SUCCESS, T0);
	say(t, 1, "g1", STATUS_SUCCESS, T0);
	assert_int_equal(ecu_table_export(t, T0, &answer), 0);
	assert_int_equal(answer.n_ecus, ECU_TABLE_STRANGERS_MAX + 3);
	assert_false(summary_at(t, T0).child_in_update);
	assert_true(summary_at(t, T0).all_success);
	/* the places of those that are lost can be had again */
	say(t, 0, "late", STATUS_SUCCESS, T0 + TREE_LOST_MS);
	assert_false(ecu_table_is_below(t, 0, "late"));
	say(t, 0, "late", STATUS_SUCCESS, T0 + TREE_LOST_MS + 1);
	assert_true(ecu_table_is_below(t, 0, "late"));
}

/* A report of @n ECUs, "<name>-0" and so on. Returns how many there was no place for. */
static size_t say_many(struct ecu_table *t, size_t child, const char *name, unsigned n)
{
	AUTO_WIRE_STATUS struct wire_status said = {0};
	char id[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "%s-%u", name, i);
		add(&said, id, STATUS_SUCCESS, "1");
	}
	return ecu_table_store(t, child, &said, T0);
}

static void a_child_that_takes_all_places_leaves_its_share_to_the_others(void **state)
{
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);

	(void)state;
	assert_int_equal(
		say_many(t, 0, "ghost", WIRE_ECUS_MAX), WIRE_ECUS_MAX - ECU_TABLE_STRANGERS_MAX);
	assert_int_equal(say_many(t, 1, "real", 3), 0);
	assert_true(ecu_table_is_below(t, 1, "real-2"));
	/* those that came last have made room, and do not get it back */
	assert_false(ecu_table_is_below(t, 0, "ghost-63"));
	assert_int_equal(say_many(t, 0, "ghost", ECU_TABLE_STRANGERS_MAX), 3);
	assert_true(ecu_table_is_below(t, 0, "ghost-60"));
	assert_true(ecu_table_is_below(t, 1, "real-2"));
	/* half of all places, and no more than that */
	assert_int_equal(say_many(t, 1, "real", 40), 40 - ECU_TABLE_STRANGERS_MAX / 2);
	assert_int_equal(say_many(t, 0, "ghost", 40), 40 - ECU_TABLE_STRANGERS_MAX / 2);
	assert_int_equal(say_many(t, 1, "real", ECU_TABLE_STRANGERS_MAX / 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_that_takes_all_places_leaves_its_share_to_the_others),
		cmocka_unit_test(reports_are_shown_in_the_order_of_first_contact),
		cmocka_unit_test(every_field_is_handed_up),
		cmocka_unit_test(a_child_speaks_neither_for_us_nor_for_its_neighbour),
		cmocka_unit_test(an_ecu_below_has_one_speaker_until_that_falls_silent),
		cmocka_unit_test(only_reported_ecus_are_known_to_be_below),
		cmocka_unit_test(an_ecu_that_misses_three_polls_is_left_out),
		cmocka_unit_test(an_accepted_request_is_frozen_until_it_shows),
		cmocka_unit_test(an_update_that_ended_between_two_polls_thaws_too),
		cmocka_unit_test(a_freeze_ends_after_a_minute),
		cmocka_unit_test(an_abort_ends_a_freeze_that_no_report_would),
		cmocka_unit_test(those_in_update_can_be_named),
		cmocka_unit_test(strings_are_cut_and_ids_that_are_too_long_left_out),
		cmocka_unit_test(a_child_that_invents_ecus_fills_no_more_than_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
