/*
 * figures: sizes, times, shares, speeds.
 */
#include "otaclient/ctl/figures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"

static void sizes_have_three_digits(void **state)
{
	char t[FIGURES_TEXT_MAX];

	(void)state;
	assert_string_equal(figures_size(0, t), "0 B");
	assert_string_equal(figures_size(999, t), "999 B");
	assert_string_equal(figures_size(1000, t), "1.0 KiB");
	assert_string_equal(figures_size(99.96 * 1024, t), "100 KiB");
	assert_string_equal(figures_size(999.6 * 1024, t), "1.0 MiB");
	assert_string_equal(figures_size(12.3 * (1 << 20), t), "12.3 MiB");
	assert_string_equal(figures_size(2e15, t), "1819 TiB");
}

static void times_are_short_in_a_table(void **state)
{
	char t[FIGURES_TEXT_MAX];

	(void)state;
	assert_string_equal(figures_time(59, t), "59 s");
	assert_string_equal(figures_time(75, t), "1 min 15 s");
	assert_string_equal(figures_time(3600 * 27 + 60, t), "27 h 1 min");
	assert_string_equal(figures_short_time(9, t), "9s");
	assert_string_equal(figures_short_time(61, t), "1m01s");
	assert_string_equal(figures_short_time(99 * 3600, t), "99h00m");
	assert_string_equal(figures_short_time(99 * 3600 + 1, t), FIGURES_UNKNOWN);
	assert_string_equal(figures_short_time(PACE_UNKNOWN, t), FIGURES_UNKNOWN);
}

static void the_percentage_stays_between_0_and_100(void **state)
{
	(void)state;
	assert_int_equal(figures_percent(&(struct update_stats){0}), 0);
	assert_int_equal(figures_percent(&(struct update_stats){
				 .total_files_size = 3, .processed_files_size = 2}),
		66);
	assert_int_equal(figures_percent(&(struct update_stats){
				 .total_files_size = 3, .processed_files_size = 9}),
		100);
	assert_int_equal(figures_percent(&(struct update_stats){.total_files_size = UINT64_MAX,
				 .processed_files_size = UINT64_MAX / 2}),
		50);
}

static void a_speed_starts_over_with_a_new_update(void **state)
{
	struct speed rate = {0};

	(void)state;
	speed_look(&rate, 1000, 1000);
	speed_look(&rate, 3000, 2000);
	assert_true(rate.bytes_per_s > 1999 && rate.bytes_per_s < 2001);
	speed_look(&rate, 10, 3000);
	assert_true(rate.bytes_per_s < 1);
}

static void a_speed_is_smoothed_and_fades_when_nothing_comes(void **state)
{
	struct speed s = {0};

	(void)state;
	speed_look(&s, 0, 1000);
	speed_look(&s, 1000, 2000);
	speed_look(&s, 1000, 2000); /* no time has passed */
	speed_look(&s, 3000, 3000);
	assert_true(s.bytes_per_s > 1199 && s.bytes_per_s < 1201);
	for (uint64_t t = 4000; t < 80000; t += 1000)
		speed_look(&s, 3000, t);
	assert_true(s.bytes_per_s >= 0 && s.bytes_per_s < 1);
}

static struct update_stats downloading(uint64_t bytes)
{
	return (struct update_stats){.phase = PHASE_DOWNLOADING_OTA_FILES,
		.total_files_size = 40 << 20,
		.processed_files_size = 10 << 20,
		.total_download_files_size = 20 << 20,
		.downloaded_files_size = 8 << 20,
		.downloaded_bytes = bytes};
}

static void the_time_left_counts_what_the_bytes_become(void **state)
{
	struct update_stats u = downloading(2 << 20);
	struct pace p = {0};

	(void)state;
	pace_look(&p, &u, 1000);
	assert_true(pace_left_s(&p, &u) == PACE_UNKNOWN);
	u.downloaded_bytes = 4 << 20;
	pace_look(&p, &u, 3000);
	assert_true(pace_rate(&p, &u) == 1 << 20);
	/* 12 MiB of files are missing; 1 MiB/s on the wire has made 2 MiB/s of files so far */
	assert_int_equal(pace_left_s(&p, &u), 6);
}

static void an_ecu_that_says_its_time_is_believed(void **state)
{
	struct update_stats u = downloading(2 << 20);
	struct pace p = {0};

	(void)state;
	u.remaining_s = 75;
	assert_int_equal(pace_left_s(&p, &u), 75);
	u.phase = PHASE_PROCESSING_POSTUPDATE;
	assert_int_equal(pace_left_s(&p, &u), 75);
	u.remaining_s = UINT64_MAX - 1;
	assert_true(pace_left_s(&p, &u) == PACE_UNKNOWN);
}

static void the_time_left_is_unknown_rather_than_absurd(void **state)
{
	struct update_stats u = downloading(0);
	struct pace p = {0};

	(void)state;
	pace_look(&p, &u, 1000);
	u.downloaded_bytes = 4;
	u.downloaded_files_size = 1;
	u.total_download_files_size = UINT64_MAX;
	pace_look(&p, &u, 2000);
	assert_true(pace_left_s(&p, &u) == PACE_UNKNOWN); /* thousands of years */
	u.total_download_files_size = 0;
	assert_true(pace_left_s(&p, &u) == PACE_UNKNOWN); /* more there than there is */
	u.phase = PHASE_APPLYING_UPDATE;
	assert_true(pace_left_s(&p, &u) == PACE_UNKNOWN); /* the speed is of another phase */
	u.phase = PHASE_FINALIZING_UPDATE;
	pace_look(&p, &u, 3000);
	u.processed_files_size += 1000;
	pace_look(&p, &u, 4000);
	assert_true(pace_left_s(&p, &u) == PACE_UNKNOWN); /* nobody knows what is to be done */
}

static void applying_is_measured_in_what_gets_into_place(void **state)
{
	struct update_stats u = downloading(4 << 20);
	struct pace p = {0};

	(void)state;
	u.phase = PHASE_APPLYING_UPDATE;
	pace_look(&p, &u, 1000);
	u.processed_files_size = 20 << 20;
	pace_look(&p, &u, 2000);
	assert_int_equal(pace_left_s(&p, &u), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_have_three_digits),
		cmocka_unit_test(times_are_short_in_a_table),
		cmocka_unit_test(the_percentage_stays_between_0_and_100),
		cmocka_unit_test(a_speed_starts_over_with_a_new_update),
		cmocka_unit_test(a_speed_is_smoothed_and_fades_when_nothing_comes),
		cmocka_unit_test(the_time_left_counts_what_the_bytes_become),
		cmocka_unit_test(an_ecu_that_says_its_time_is_believed),
		cmocka_unit_test(the_time_left_is_unknown_rather_than_absurd),
		cmocka_unit_test(applying_is_measured_in_what_gets_into_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
