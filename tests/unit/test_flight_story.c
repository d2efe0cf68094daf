/*
 * flight_story: the sentence that tells why a machine is back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/flight/flight_story.h"

#define OLD "ota-slot_a"
#define NEW "ota-slot_b"

static struct flight_record records[32];
static size_t n_records;

static struct flight_record *add(
	const char *slot, enum flight_kind kind, const char *subject, const char *text)
{
	struct flight_record *r = &records[n_records++];

	*r = (struct flight_record){
		.number = n_records, .kind = kind, .unix_s = 1000 * (int64_t)n_records};
	snprintf(r->slot, sizeof(r->slot), "%s", slot);
	r->boot_id[0] = slot == NULL ? 0 : strcmp(slot, NEW) == 0 ? 2 : 1;
	flight_record_put_subject(r, subject);
	flight_record_put_text(r, text);
	return r;
}

static void begin_update(void)
{
	n_records = 0;
	add(OLD, FLIGHT_UPDATE_BEGINS, "2.0", "session");
	add(OLD, FLIGHT_STEP, "DOWNLOADING_OTA_FILES", "fetch contents");
}

static void flip(void)
{
	begin_update();
	add(OLD, FLIGHT_STEP, "FINALIZING_UPDATE", "flip and reboot");
	add(OLD, FLIGHT_FLIP, NEW, "session");
}

static struct ota_err tell(const struct flight_scene *scene)
{
	const struct flight_scene usual = {.other_slot = NEW, .shared = true, .kernel_line = ""};
	struct ota_err why = {0};
	struct flight_story story;

	flight_story_read(records, n_records, OLD, &story);
	flight_story_tell(&story, scene ? scene : &usual, &why);
	return why;
}

static void assert_told(enum ota_code code, const char *sentence)
{
	struct ota_err why = tell(NULL);

	assert_string_equal(why.msg, sentence);
	assert_int_equal(why.code, code);
	assert_true(why.errnum < 0);
}

static void a_check_that_failed_is_named_with_its_result(void **state)
{
	flip();
	add(NEW, FLIGHT_START, "commit", "");
	add(NEW, FLIGHT_CHECK, "multi-user.target", "");
	add(NEW, FLIGHT_CHECK, "10-network", "exit 1: no route")->failed = true;
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") did not commit: the last that it "
		"recorded "
		"is that the health check 10-network failed: exit 1: no route");
	add(NEW, FLIGHT_KERNEL, "/dev/kmsg", "a line");
	add(NEW, FLIGHT_REVERT, "", "the health check 10-network failed: exit 1: no route");
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") did not commit: the health check "
		"10-network failed: exit 1: no route");
}

static void a_check_that_was_passed_later_is_no_reason(void **state)
{
	flip();
	add(NEW, FLIGHT_CHECK, "10-network", "exit 1")->failed = true;
	add(NEW, FLIGHT_CHECK, "20-app", "exit 2")->failed = true;
	add(NEW, FLIGHT_CHECK, "10-network", "");
	assert_told(OTA_E_NOT_HEALTHY, "The new system on ota-slot_b (version \"2.0\") did not "
				       "commit: the last that it recorded "
				       "is that the health check 10-network was passed; the health "
				       "check 20-app failed: exit 2");
	add(NEW, FLIGHT_CHECK, "20-app", "");
	assert_told(OTA_E_NOT_HEALTHY, "The new system on ota-slot_b (version \"2.0\") did not "
				       "commit: the last that it recorded "
				       "is that the health check 20-app was passed");
}

static void a_system_that_gave_no_sign_of_life_is_told_as_such(void **state)
{
	struct flight_scene scene = {.other_slot = NEW,
		.shared = true,
		.kernel_line = "Kernel panic - not syncing: VFS: Unable to mount root fs"};

	flip();
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") did not commit: it gave no sign of "
		"life: "
		"its kernel, its root file system or the way to otaclient failed");
	assert_string_equal(tell(&scene).msg, "The new system on ota-slot_b (version \"2.0\") did "
					      "not commit: it gave no sign of life; the "
					      "last words of its kernel: Kernel panic - not "
					      "syncing: VFS: Unable to mount root fs");
	/* Where each slot has its own recorder, silence says nothing. */
	scene.shared = false;
	scene.kernel_line = "";
	assert_string_equal(tell(&scene).msg, "The new system on ota-slot_b (version \"2.0\") did "
					      "not commit: what it did is recorded on "
					      "its own slot alone");
}

static void what_systemd_gave_up_is_told_with_the_state_of_the_daemon(void **state)
{
	const struct trial_traces traces = {.root = TRIAL_ROOT_WRITABLE,
		.watchdog = true,
		.guard = "its otaclient.service was inactive (dead)"};
	const struct flight_scene scene = {
		.other_slot = NEW, .shared = true, .kernel_line = "", .traces = &traces};

	flip();
	assert_string_equal(tell(&scene).msg, "The new system on ota-slot_b (version \"2.0\") did "
					      "not commit: it gave no sign of life: its "
					      "otaclient.service was inactive (dead) when the time "
					      "to commit was over; the watchdog has "
					      "reset the machine");
	add(NEW, FLIGHT_START, "commit", "");
	assert_string_equal(tell(&scene).msg, "The new system on ota-slot_b (version \"2.0\") did "
					      "not commit: its last sign was the start "
					      "of otaclient; its otaclient.service was inactive "
					      "(dead) when the time to commit was over; "
					      "the watchdog has reset the machine");
	/* Who has given up by itself has said why. */
	add(NEW, FLIGHT_REVERT, "", "no brakes");
	assert_string_equal(tell(&scene).msg,
		"The new system on ota-slot_b (version \"2.0\") did not commit: no brakes");
}

static void a_trial_that_could_not_begin_is_told_only_after_a_restart(void **state)
{
	const struct trial_traces traces = {.not_begun = true};
	const struct flight_scene scene = {
		.other_slot = NEW, .shared = true, .kernel_line = "", .traces = &traces};

	flip();
	assert_int_equal(tell(&scene).code, OTA_E_NOT_HEALTHY); /* nobody has started */
	add(OLD, FLIGHT_START, "keep", "");
	assert_int_equal(tell(&scene).code, OTA_E_RECOVERABLE); /* it waits for the restart */
	add(OLD, FLIGHT_START, "keep", "")->boot_id[0] = 3;
	assert_int_equal(tell(&scene).code, OTA_E_BOOTCONTROL_POSTUPDATE);
	add(NEW, FLIGHT_START, "commit", ""); /* so it was tried */
	assert_int_equal(tell(&scene).code, OTA_E_NOT_HEALTHY);
	n_records = 0;
	add(OLD, FLIGHT_ROLLBACK_BEGINS, "", "session");
	add(OLD, FLIGHT_FLIP, NEW, "");
	add(OLD, FLIGHT_START, "keep", "")->boot_id[0] = 3;
	assert_int_equal(tell(&scene).code, OTA_E_BOOTCONTROL_POSTROLLBACK);
	assert_string_equal(tell(&scene).msg, "The former system on ota-slot_b was not tried: the "
					      "boot loader could not note down that it "
					      "begins to, so it cannot write to /boot");
}

static void a_system_that_died_later_is_told_by_its_last_sign(void **state)
{
	const struct flight_scene scene = {.other_slot = NEW,
		.shared = true,
		.kernel_line = "Kernel panic - not syncing: softlockup"};

	flip();
	add(NEW, FLIGHT_START, "commit", "");
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") did not commit: its last "
		"sign was the start of otaclient");
	assert_string_equal(tell(&scene).msg, "The new system on ota-slot_b (version \"2.0\") did "
					      "not commit: its last sign was the start "
					      "of otaclient; the last words of its kernel: Kernel "
					      "panic - not syncing: softlockup");
	add(NEW, FLIGHT_FAILURE, "", "Cannot commit the slot")->code = 302;
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") did not commit: the last "
		"that it recorded is E302: Cannot commit the slot");
}

static void an_update_that_was_cut_short_says_where(void **state)
{
	begin_update();
	assert_told(OTA_E_RECOVERABLE,
		"The update to version \"2.0\" was interrupted in DOWNLOADING_OTA_FILES (fetch "
		"contents): "
		"the machine or otaclient was stopped before the other slot was tried");
	n_records = 1;
	assert_told(OTA_E_RECOVERABLE,
		"The update to version \"2.0\" was interrupted: the machine or otaclient "
		"was stopped before the other slot was tried");
}

static void a_cut_between_the_switch_and_its_record_does_not_hide_signs(void **state)
{
	begin_update();
	add(OLD, FLIGHT_STEP, "FINALIZING_UPDATE", "flip and reboot");
	add(NEW, FLIGHT_START, "commit", "");
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") did not commit: its last "
		"sign was the start of otaclient");
}

static void a_machine_that_has_not_restarted_yet_says_so(void **state)
{
	flip();
	add(OLD, FLIGHT_START, "keep", "");
	assert_told(OTA_E_RECOVERABLE,
		"The machine has not restarted since it was told to; its next start "
		"tries the slot ota-slot_b");
	add(OLD, FLIGHT_START, "keep", "")->boot_id[0] = 3;
	assert_int_equal(tell(NULL).code, OTA_E_NOT_HEALTHY);
	/* Kernels that do not say which start it is. */
	flip();
	records[n_records - 1].boot_id[0] = 0;
	add(OLD, FLIGHT_START, "keep", "")->boot_id[0] = 0;
	assert_int_equal(tell(NULL).code, OTA_E_NOT_HEALTHY);
}

static void a_rollback_is_told_as_one(void **state)
{
	n_records = 0;
	add(OLD, FLIGHT_ROLLBACK_BEGINS, "", "session");
	add(OLD, FLIGHT_STEP, "INITIALIZING", "keep standby");
	assert_told(OTA_E_RECOVERABLE,
		"The rollback was interrupted in INITIALIZING (keep standby): the machine "
		"or otaclient was stopped before the other slot was tried");
	add(OLD, FLIGHT_FLIP, NEW, "");
	assert_told(OTA_E_BOOTCONTROL_POSTROLLBACK,
		"The former system on ota-slot_b did not commit: it gave no sign of life: its "
		"kernel, its "
		"root file system or the way to otaclient failed");
}

static void a_committed_system_that_is_left_is_told_as_one(void **state)
{
	flip();
	add(NEW, FLIGHT_COMMIT, "2.0", "");
	add(NEW, FLIGHT_START, "keep", "");
	assert_told(OTA_E_NOT_HEALTHY,
		"The new system on ota-slot_b (version \"2.0\") was committed, and yet the "
		"machine has started from this slot");
}

static void without_records_nothing_is_made_up(void **state)
{
	struct flight_scene scene = {
		.other_slot = NEW, .shared = true, .is_rollback = true, .kernel_line = ""};

	n_records = 0;
	assert_told(OTA_E_RECOVERABLE, "The update did not come to its end; why is not recorded");
	assert_string_equal(
		tell(&scene).msg, "The rollback did not come to its end; why is not recorded");
}

static void only_the_newest_update_counts_and_what_was_told_is_found(void **state)
{
	struct flight_story s;

	flip();
	add(OLD, FLIGHT_FAILURE, "", "old")->code = 203;
	flight_story_read(records, n_records, OLD, &s);
	assert_ptr_equal(s.told, &records[n_records - 1]);
	assert_int_equal(flight_story_tried_unix_s(&s), 4000);
	flight_story_read(records, n_records, NEW, &s);
	assert_null(s.told);
	add(OLD, FLIGHT_UPDATE_BEGINS, "3.0", "");
	flight_story_read(records, n_records, OLD, &s);
	assert_null(s.told);
	assert_null(s.flip);
	assert_int_equal(flight_story_tried_unix_s(&s), INT64_MAX);
	assert_told(OTA_E_RECOVERABLE,
		"The update to version \"3.0\" was interrupted: the machine or otaclient "
		"was stopped before the other slot was tried");
}

/* With CBoot the other slot's recorder is a copy of this one's up to the staging, and both go on from there. */
static void what_the_other_slot_has_recorded_by_itself_is_joined_to_the_story(void **state)
{
	struct flight_record others[8];
	struct flight_story s;
	size_t n_others;

	flip();
	memcpy(others, records, 2 * sizeof(others[0]));
	n_records = 2;
	add(NEW, FLIGHT_START, "commit", "");
	add(NEW, FLIGHT_CHECK, "10-network", "exit 1")->failed = true;
	memcpy(others + 2, records + 2, 2 * sizeof(others[0]));
	n_others = 4;
	flip();
	flight_story_read(records, n_records, OLD, &s);
	assert_int_equal(flight_story_join(&s, records, n_records, NEW, others, 0), 4);
	n_records = flight_story_join(&s, records, n_records, NEW, others, n_others);
	assert_int_equal(n_records, 6);
	assert_told(OTA_E_NOT_HEALTHY, "The new system on ota-slot_b (version \"2.0\") did not "
				       "commit: the last that it recorded "
				       "is that the health check 10-network failed: exit 1");
	/* Of another update. */
	flip();
	others[0].unix_s++;
	flight_story_read(records, n_records, OLD, &s);
	assert_int_equal(flight_story_join(&s, records, n_records, NEW, others, n_others), 4);
	/* A rollback stages nothing, so the clock must do. */
	records[0].kind = FLIGHT_ROLLBACK_BEGINS;
	others[2].unix_s = records[3].unix_s - 1;
	others[3].unix_s = records[3].unix_s;
	flight_story_read(records, n_records, OLD, &s);
	assert_int_equal(flight_story_join(&s, records, n_records, NEW, others, n_others), 5);
	assert_int_equal(records[4].kind, FLIGHT_CHECK);
}

static void the_longest_texts_make_a_sentence_that_fits_and_is_clean(void **state)
{
	char longest[2000];
	struct ota_err why;

	for (unsigned lead = 0; lead < 4; lead++) {
		memset(longest, 'x', lead);
		for (size_t i = lead; i + 3 < sizeof(longest); i += 3)
			memcpy(longest + i, "\xe2\x82\xac", 4);
		flip();
		flight_record_put_subject(&records[0], longest);
		add(NEW, FLIGHT_CHECK, longest, longest)->failed = true;
		why = tell(NULL);
		assert_true(strlen(why.msg) > 300);
		add(NEW, FLIGHT_REVERT, "", longest);
		why = tell(NULL);
		assert_true(strlen(why.msg) > OTA_ERR_MSG_MAX - 5);
		assert_null(strchr(why.msg + strlen(why.msg) - 100, '?'));
		n_records = 2;
		why = tell(NULL);
		assert_null(strchr(why.msg, '?'));
	}
}

/* Any records in any order: a sentence comes out, and nothing is read beyond them. */
static void any_records_make_a_sentence(void **state)
{
	uint32_t seed = 1;

	for (unsigned round = 0; round < 20000; round++) {
		n_records = 0;
		while (n_records < round % ARRAY_SIZE(records)) {
			seed = seed * 1664525 + 1013904223;
			add((seed >> 8) % 3 ? ((seed >> 12) % 2 ? OLD : NEW) : "",
				(seed >> 16) % 13, "s", "t")
				->failed = seed >> 31;
		}
		assert_true(strlen(tell(NULL).msg) > 20);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_check_that_failed_is_named_with_its_result),
		cmocka_unit_test(a_check_that_was_passed_later_is_no_reason),
		cmocka_unit_test(a_system_that_gave_no_sign_of_life_is_told_as_such),
		cmocka_unit_test(what_systemd_gave_up_is_told_with_the_state_of_the_daemon),
		cmocka_unit_test(a_trial_that_could_not_begin_is_told_only_after_a_restart),
		cmocka_unit_test(a_system_that_died_later_is_told_by_its_last_sign),
		cmocka_unit_test(an_update_that_was_cut_short_says_where),
		cmocka_unit_test(a_cut_between_the_switch_and_its_record_does_not_hide_signs),
		cmocka_unit_test(a_machine_that_has_not_restarted_yet_says_so),
		cmocka_unit_test(a_rollback_is_told_as_one),
		cmocka_unit_test(a_committed_system_that_is_left_is_told_as_one),
		cmocka_unit_test(without_records_nothing_is_made_up),
		cmocka_unit_test(only_the_newest_update_counts_and_what_was_told_is_found),
		cmocka_unit_test(what_the_other_slot_has_recorded_by_itself_is_joined_to_the_story),
		cmocka_unit_test(the_longest_texts_make_a_sentence_that_fits_and_is_clean),
		cmocka_unit_test(any_records_make_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
