/*
 * trial_traces: what systemd said of a daemon that never decided, and when a file system was mounted, as words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "otaclient/flight/trial_traces.h"

static void assert_words(const char *text, const char *want)
{
	char words[TRIAL_GUARD_MAX] = "before";

	trial_traces_guard(text, words);
	assert_string_equal(words, want);
}

static void a_daemon_that_dies_again_and_again_is_told_with_its_end(void **state)
{
	assert_words("Result=exit-code\nNRestarts=4\nExecMainCode=1\nExecMainStatus=127\n"
		     "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n",
		"its otaclient.service was activating (auto-restart), had been started again 4 "
		"times, "
		"and ended last with status 127");
	assert_words("NRestarts=12\nExecMainCode=3\nExecMainStatus=11\nLoadState=loaded\n"
		     "ActiveState=activating\nSubState=start\n",
		"its otaclient.service was activating (start), had been started again 12 times, "
		"and "
		"ended last by signal 11");
}

static void one_that_was_never_started_is_told_as_such(void **state)
{
	assert_words("NRestarts=0\nExecMainCode=0\nExecMainStatus=0\nLoadState=loaded\n"
		     "ActiveState=inactive\nSubState=dead\n",
		"its otaclient.service was inactive (dead)");
	assert_words("LoadState=not-found\nActiveState=inactive\nSubState=dead\n",
		"its otaclient.service was not-found");
	assert_words("LoadState=masked\nActiveState=inactive", "its otaclient.service was masked");
}

static void what_is_no_answer_of_systemd_says_nothing(void **state)
{
	assert_words("", "");
	assert_words("LoadState=loaded", "");
	assert_words("xLoadState=loaded\nActiveState=active\n", "");
	assert_words("LoadState=load\x1b[2J\nActiveState=active\n", "");
	assert_words(
		"LoadState=loaded\nActiveState=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "");
	assert_words("LoadState=loaded\nActiveState=failed\nSubState=a b\nNRestarts=4x\n"
		     "ExecMainCode=12\nExecMainStatus=1\n",
		"its otaclient.service was failed");
}

static void a_mount_outside_of_the_update_is_the_new_systems(void **state)
{
	const struct trial_time update = {.begun_unix_s = 1000, .flipped_unix_s = 2000};
	const struct trial_time rollback = {.begun_unix_s = INT64_MIN, .flipped_unix_s = 2000};

	assert_int_equal(trial_traces_root(1000, &update), TRIAL_ROOT_UNTOUCHED);
	assert_int_equal(trial_traces_root(2000, &update), TRIAL_ROOT_UNTOUCHED);
	assert_int_equal(trial_traces_root(2001, &update), TRIAL_ROOT_WRITABLE);
	assert_int_equal(trial_traces_root(999, &update), TRIAL_ROOT_WRITABLE);
	assert_int_equal(trial_traces_root(999, &rollback), TRIAL_ROOT_UNTOUCHED);
	assert_int_equal(trial_traces_root(2001, &rollback), TRIAL_ROOT_WRITABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_daemon_that_dies_again_and_again_is_told_with_its_end),
		cmocka_unit_test(one_that_was_never_started_is_told_as_such),
		cmocka_unit_test(what_is_no_answer_of_systemd_says_nothing),
		cmocka_unit_test(a_mount_outside_of_the_update_is_the_new_systems),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
