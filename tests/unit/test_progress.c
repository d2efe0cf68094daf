/*
 * progress: once a minute while an update runs, and never else. The clock is the test's.
 */
#include "otaclient/status/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"

static uint64_t now_ms;

static uint64_t test_monotonic_ms(void)
{
	return now_ms;
}

static int64_t test_unix_s(void)
{
	return 1790000000;
}

static const struct clock_ops test_clock = {
	.monotonic_ms = test_monotonic_ms, .unix_s = test_unix_s};

static struct status *status;
static struct progress progress;
static char text[PROGRESS_TEXT_MAX];

static int setup(void **state)
{
	now_ms = 5000;
	clock_set_ops(&test_clock);
	status = status_new();
	progress = (struct progress){0};
	return 0;
}

static int teardown(void **state)
{
	status_free(status);
	clock_set_ops(NULL);
	return 0;
}

/* How many lines come within @s seconds of the daemon's timer. */
static unsigned lines_in(unsigned s)
{
	unsigned n = 0;

	while (s-- > 0) {
		now_ms += 1000;
		n += progress_tick(&progress, status, text);
	}
	return n;
}

static void set_counters(struct update_stats *u, const void *arg)
{
	u->total_files_num = 40;
	u->total_files_size = 4000;
	u->processed_files_num = 4;
	u->processed_files_size = 404;
	u->total_download_files_num = 30;
	u->total_download_files_size = 3000;
	u->downloaded_files_num = 3;
	u->downloaded_files_size = 303;
	u->downloaded_bytes = 150;
	u->downloading_errors = 2;
	u->total_remove_files_num = 20;
	u->removed_files_num = 1;
	u->kept_files = 5;
	u->moved_files = 6;
	u->copied_files = 7;
	u->fetched_files = 8;
	u->written_bytes = 909;
}

static void a_line_says_all_that_the_status_knows(void **state)
{
	status_begin_update(status, "2.0");
	status_set_phase(status, PHASE_DOWNLOADING_OTA_FILES);
	status_change(status, set_counters, NULL);
	assert_int_equal(lines_in(60), 1);
	assert_string_equal(text,
		"UPDATING to version \"2.0\" for 60 s, DOWNLOADING_OTA_FILES: "
		"processed 4 of 40 files, 404 of 4000 bytes; "
		"downloaded 3 of 30 files, 303 of 3000 bytes (150 on the wire), 2 errors; "
		"removed 1 of 20 files; kept 5, moved 6, copied 7, fetched 8 files; "
		"wrote 909 bytes");
}

static void a_line_comes_once_a_minute(void **state)
{
	status_begin_update(status, "2.0");
	assert_int_equal(lines_in(59), 0);
	assert_int_equal(lines_in(1), 1);
	assert_int_equal(lines_in(59), 0);
	assert_int_equal(lines_in(541), 10);
	/* Whoever was held up does not make up for it. */
	now_ms += 10 * PROGRESS_INTERVAL_MS;
	assert_int_equal(lines_in(1), 1);
	assert_int_equal(lines_in(59), 0);
}

static void nothing_is_said_while_no_update_runs(void **state)
{
	assert_int_equal(lines_in(200), 0);
	status_set_live(status, STATUS_SUCCESS);
	assert_int_equal(lines_in(200), 0);
	status_begin_rollback(status);
	assert_int_equal(lines_in(200), 0);
	status_begin_update(status, "2.0");
	assert_int_equal(lines_in(200), 3);
	status_set_live(status, STATUS_FAILURE);
	assert_int_equal(lines_in(200), 0);
}

static void an_update_that_is_being_aborted_still_runs(void **state)
{
	status_begin_update(status, "2.0");
	status_set_live(status, STATUS_ABORTING);
	assert_int_equal(lines_in(60), 1);
	assert_memory_equal(text, "ABORTING to version \"2.0\" for 60 s, INITIALIZING: ", 50);
	status_set_live(status, STATUS_ABORTED);
	assert_int_equal(lines_in(200), 0);
}

static void each_update_has_a_minute_of_its_own(void **state)
{
	status_begin_update(status, "2.0");
	assert_int_equal(lines_in(59), 0);
	status_begin_update(status, "3.0");
	assert_int_equal(lines_in(59), 0);
	assert_int_equal(lines_in(1), 1);
	assert_non_null(strstr(text, "\"3.0\" for 60 s"));
}

static void the_longest_line_fits(void **state)
{
	char version[STATUS_VERSION_MAX];

	memset(version, 'v', sizeof(version));
	version[sizeof(version) - 1] = '\0';
	status_begin_update(status, version);
	assert_int_equal(lines_in(60), 1);
	assert_non_null(strstr(text, "; wrote 0 bytes"));
	assert_true(strlen(text) + 17 * 19 < PROGRESS_TEXT_MAX); /* with numbers of 20 digits */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_line_says_all_that_the_status_knows),
		T(a_line_comes_once_a_minute),
		T(nothing_is_said_while_no_update_runs),
		T(an_update_that_is_being_aborted_still_runs),
		T(each_update_has_a_minute_of_its_own),
		T(the_longest_line_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
