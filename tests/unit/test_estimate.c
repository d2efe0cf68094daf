/*
 * test_estimate: how long an update has to go, before it has begun and while it runs; and when nobody can say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "otaclient/status/estimate.h"
#include "otaclient/status/status.h"

#define MIB ((uint64_t)1 << 20)

static const struct sample net = {1 << 20, 1000};          /* 1 MiB/s */
static const struct sample disk = {100 * (1 << 20), 1000}; /* 100 MiB/s */
static const struct workload work = {
	.download_bytes = 60 * MIB,
	.fetch_bytes = 200 * MIB,
	.copy_bytes = 1000 * MIB,
	.check_bytes = 2000 * MIB,
	.write_bytes = 1200 * MIB,
};

static struct estimate made(
	const struct workload *w, const struct sample *n, const struct sample *d)
{
	struct estimate e;

	estimate_make(w, n, d, &e);
	return e;
}

static void the_measured_rates_give_the_times_of_what_is_left(void **state)
{
	struct estimate e = made(&work, &net, &disk);

	(void)state;
	assert_int_equal(e.copy_ms, 30000); /* written bytes count twice, read ones once */
	assert_int_equal(e.fetch_ms, 60000);
	assert_int_equal(e.finish_ms, 20000);
	assert_int_equal(estimate_total_s(&e), 110);
}

static void a_disk_that_is_slower_than_the_network_decides(void **state)
{
	const struct sample slow = {10 * MIB, 1000};
	struct workload w = {.download_bytes = 30 * MIB, .fetch_bytes = 200 * MIB};

	(void)state;
	assert_int_equal(made(&w, &net, &slow).fetch_ms, 40000);
	w.fetch_bytes = 100 * MIB;
	assert_int_equal(made(&w, &net, &slow).fetch_ms, 30000);
}

static void what_was_not_measured_is_not_known(void **state)
{
	static const struct sample nothing;
	struct estimate e = made(&work, &nothing, &disk);

	(void)state;
	assert_true(e.fetch_ms == ESTIMATE_UNKNOWN);
	assert_true(estimate_total_s(&e) == ESTIMATE_UNKNOWN);
	e = made(&work, &net, &nothing);
	assert_true(e.copy_ms == ESTIMATE_UNKNOWN);
	assert_int_equal(e.fetch_ms, 60000); /* the network alone tells of this */
	assert_true(estimate_total_s(&e) == ESTIMATE_UNKNOWN);
}

static void a_small_sample_tells_of_as_little_again_and_no_more(void **state)
{
	const struct sample small = {20000, 200};
	struct workload w = {.download_bytes = 20000};

	(void)state;
	assert_int_equal(made(&w, &small, &disk).fetch_ms, 200);
	w.download_bytes = 20001;
	assert_true(made(&w, &small, &disk).fetch_ms == ESTIMATE_UNKNOWN);
}

static void nothing_to_do_takes_no_time_however_little_was_measured(void **state)
{
	static const struct workload none;
	static const struct sample nothing;
	struct estimate e = made(&none, &nothing, &nothing);

	(void)state;
	assert_int_equal(estimate_total_s(&e), 0);
}

static void absurd_times_are_not_known(void **state)
{
	const struct sample slow = {1, UINT64_MAX};
	const struct workload w = {.download_bytes = UINT64_MAX};

	(void)state;
	assert_true(made(&w, &slow, &disk).fetch_ms == ESTIMATE_UNKNOWN);
}

/* Planned at 10 s; copying took until 40 s. */
static struct update_stats running(void)
{
	struct update_stats u = {
		.phase = PHASE_CALCULATING_DELTA,
		.total_download_files_size = 200 * MIB,
		.downloaded_bytes = MIB,
		.planned = {.made_ms = 10000,
			    .received_bytes = MIB,
			    .work = work,
			    .net = net,
			    .disk = disk},
	};

	return u;
}

static void before_the_plan_nothing_is_known(void **state)
{
	struct update_stats u = running();

	(void)state;
	u.planned.made_ms = 0;
	assert_true(estimate_left_s(&u, 20000) == ESTIMATE_UNKNOWN);
}

static void copying_goes_by_the_plan_and_never_below_what_follows(void **state)
{
	struct update_stats u = running();

	(void)state;
	assert_int_equal(estimate_left_s(&u, 10000), 110);
	assert_int_equal(estimate_left_s(&u, 20000), 100);
	assert_int_equal(estimate_left_s(&u, 500000), 80);
}

static void downloading_goes_by_the_running_rate(void **state)
{
	struct update_stats u = running();

	(void)state;
	u.phase = PHASE_DOWNLOADING_OTA_FILES;
	u.phase_began_ms[PHASE_DOWNLOADING_OTA_FILES] = 40000;
	assert_int_equal(estimate_left_s(&u, 41000), 79); /* still as planned */
	/* 15 of 60 MiB in 10 s, but they were a tenth of the plain bytes only */
	u.downloaded_bytes += 15 * MIB;
	u.downloaded_files_size = 20 * MIB;
	assert_int_equal(estimate_left_s(&u, 50000), 30 + 20);
	/* what comes is compressed, so more than a quarter is there */
	u.downloaded_files_size = 100 * MIB;
	assert_int_equal(estimate_left_s(&u, 50000), 10 + 20);
	/* more came than was planned, as after attempts that failed */
	u.downloaded_bytes += 100 * MIB;
	assert_int_equal(estimate_left_s(&u, 50000), 10 + 20);
}

static void a_download_that_stands_still_has_no_end(void **state)
{
	struct update_stats u = running();

	(void)state;
	u.phase = PHASE_DOWNLOADING_OTA_FILES;
	u.phase_began_ms[PHASE_DOWNLOADING_OTA_FILES] = 40000;
	assert_true(estimate_left_s(&u, 60000) == ESTIMATE_UNKNOWN);
}

static void copying_tells_of_a_disk_that_the_plan_knew_nothing_of(void **state)
{
	struct update_stats u = running();

	(void)state;
	u.planned.disk = (struct sample){0};
	assert_true(estimate_left_s(&u, 20000) == ESTIMATE_UNKNOWN);
	u.phase = PHASE_APPLYING_UPDATE;
	u.phase_began_ms[PHASE_DOWNLOADING_OTA_FILES] = 40000;
	u.phase_began_ms[PHASE_APPLYING_UPDATE] = 90000;
	/* 1000 MiB read and written in 30 s, so 2000 MiB are read in 20 s */
	assert_int_equal(estimate_left_s(&u, 90000), 20);
	u.phase = PHASE_PROCESSING_POSTUPDATE;
	assert_int_equal(estimate_left_s(&u, 95000), 15);
	assert_int_equal(estimate_left_s(&u, 200000), 0);
}

static void waiting_for_others_has_no_time(void **state)
{
	struct update_stats u = running();

	(void)state;
	u.phase = PHASE_FINALIZING_UPDATE;
	assert_true(estimate_left_s(&u, 100000) == ESTIMATE_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_measured_rates_give_the_times_of_what_is_left),
		cmocka_unit_test(a_disk_that_is_slower_than_the_network_decides),
		cmocka_unit_test(what_was_not_measured_is_not_known),
		cmocka_unit_test(a_small_sample_tells_of_as_little_again_and_no_more),
		cmocka_unit_test(nothing_to_do_takes_no_time_however_little_was_measured),
		cmocka_unit_test(absurd_times_are_not_known),
		cmocka_unit_test(before_the_plan_nothing_is_known),
		cmocka_unit_test(copying_goes_by_the_plan_and_never_below_what_follows),
		cmocka_unit_test(downloading_goes_by_the_running_rate),
		cmocka_unit_test(a_download_that_stands_still_has_no_end),
		cmocka_unit_test(copying_tells_of_a_disk_that_the_plan_knew_nothing_of),
		cmocka_unit_test(waiting_for_others_has_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
