/*
 * workers: every item once, on many threads, until one fails.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/workers.h"

enum {
	N_ITEMS = 1000,
};

struct job {
	atomic_uint seen[N_ITEMS];
	atomic_uint n_calls;
	size_t fail_from; /* items from this number on fail */
	pthread_barrier_t *meet;
};

static int item(void *ctx, size_t index, struct ota_err *err)
{
	struct job *job = ctx;

	atomic_fetch_add(&job->n_calls, 1);
	atomic_fetch_add(&job->seen[index], 1);
	if (index >= job->fail_from)
		return ota_err_set(err, -EIO, OTA_E_NETWORK, "Item %zu is bad", index);
	return 0;
}

static void every_item_is_done_once(void **state)
{
	static const unsigned threads[] = {0, 1, 2, 7, 16, 1000};
	static const size_t batches[] = {0, 1, 3, 100, 5000};

	for (size_t t = 0; t < 6; t++) {
		for (size_t b = 0; b < 5; b++) {
			static struct job job;

			job = (struct job){.fail_from = SIZE_MAX};
			assert_int_equal(
				workers_run(N_ITEMS, batches[b], threads[t], item, &job, NULL), 0);
			for (size_t i = 0; i < N_ITEMS; i++)
				assert_int_equal(job.seen[i], 1);
		}
	}
}

static void nothing_to_do_is_fine(void **state)
{
	static struct job job = {.fail_from = 0};

	assert_int_equal(workers_run(0, 1, 4, item, &job, NULL), 0);
	assert_int_equal(job.n_calls, 0);
}

static void the_first_failure_ends_the_work_and_is_told(void **state)
{
	static struct job job = {.fail_from = 100};
	struct ota_err err = {0};

	assert_int_equal(workers_run(N_ITEMS, 1, 1, item, &job, &err), -EIO);
	assert_int_equal(job.n_calls, 101);
	assert_int_equal(err.errnum, -EIO);
	assert_int_equal(err.code, OTA_E_NETWORK);
	assert_string_equal(err.msg, "Item 100 is bad");
}

static void one_of_several_failures_is_told_whole(void **state)
{
	for (int round = 0; round < 50; round++) {
		static struct job job;
		struct ota_err err = {0};
		unsigned index = 0;

		job = (struct job){.fail_from = 500};
		assert_int_equal(workers_run(N_ITEMS, 2, 8, item, &job, &err), -EIO);
		assert_int_equal(sscanf(err.msg, "Item %u is bad", &index), 1);
		assert_true(index >= 500);
		assert_true(job.n_calls < N_ITEMS);
	}
}

static int silent_item(void *ctx, size_t index, struct ota_err *err)
{
	return index == 3 ? -ENOSPC : 0;
}

static void a_silent_failure_gets_a_sentence(void **state)
{
	struct ota_err err = {0};

	assert_int_equal(workers_run(5, 1, 1, silent_item, NULL, &err), -ENOSPC);
	assert_string_equal(err.msg, "Item 3 failed: No space left on device");
	assert_int_equal(workers_run(5, 1, 1, silent_item, NULL, NULL), -ENOSPC);
}

static int meeting_item(void *ctx, size_t index, struct ota_err *err)
{
	struct job *job = ctx;

	/* Passes only if all four are under way at the same time. */
	pthread_barrier_wait(job->meet);
	return 0;
}

static void items_run_at_the_same_time(void **state)
{
	pthread_barrier_t meet;
	static struct job job;

	job = (struct job){.meet = &meet};
	pthread_barrier_init(&meet, NULL, 4);
	assert_int_equal(workers_run(4, 1, 4, meeting_item, &job, NULL), 0);
	pthread_barrier_destroy(&meet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_item_is_done_once),
		cmocka_unit_test(nothing_to_do_is_fine),
		cmocka_unit_test(the_first_failure_ends_the_work_and_is_told),
		cmocka_unit_test(one_of_several_failures_is_told_whole),
		cmocka_unit_test(a_silent_failure_gets_a_sentence),
		cmocka_unit_test(items_run_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
