/*
 * call_lane: one thing after the other, and not too many waiting.
 */
#include "otaclient/api/call_lane.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A gate that the lane's thread waits at, so that what happens before and after is the test's choice. */
struct work {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	unsigned n_begun, n_done;
	int order[16];
};

static void do_one(void *ctx, void *item)
{
	struct work *w = ctx;

	pthread_mutex_lock(&w->lock);
	w->n_begun++;
	pthread_cond_broadcast(&w->changed);
	while (!w->open)
		pthread_cond_wait(&w->changed, &w->lock);
	w->order[w->n_done++] = *(int *)item;
	pthread_mutex_unlock(&w->lock);
}

static void work_init(struct work *w)
{
	*w = (struct work){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

static void wait_until_begun(struct work *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->n_begun == 0)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

static void open_gate(struct work *w)
{
	pthread_mutex_lock(&w->lock);
	w->open = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static void things_are_done_in_order_and_the_rest_is_refused(void **state)
{
	struct work w;
	struct call_lane *lane;
	int items[CALL_LANE_WAITING_MAX + 2];

	(void)state;
	work_init(&w);
	assert_int_equal(call_lane_new(do_one, &w, &lane), 0);
	items[0] = 0;
	assert_int_equal(call_lane_add(lane, &items[0]), 0);
	wait_until_begun(&w);
	for (int i = 1; i <= CALL_LANE_WAITING_MAX; i++) {
		items[i] = i;
		assert_int_equal(call_lane_add(lane, &items[i]), 0);
	}
	assert_int_equal(call_lane_add(lane, &items[0]), -EBUSY);
	open_gate(&w);
	call_lane_free(lane);
	assert_int_equal(w.n_done, CALL_LANE_WAITING_MAX + 1);
	for (int i = 0; i <= CALL_LANE_WAITING_MAX; i++)
		assert_int_equal(w.order[i], i);
}

static void a_lane_that_was_never_used_ends(void **state)
{
	struct work w;
	struct call_lane *lane;

	(void)state;
	work_init(&w);
	assert_int_equal(call_lane_new(do_one, &w, &lane), 0);
	call_lane_free(lane);
	call_lane_free(NULL);
	assert_int_equal(w.n_begun, 0);
}

static void *drain(void *arg)
{
	call_lane_drain(arg);
	return NULL;
}

static void a_lane_is_drained_when_all_is_done(void **state)
{
	struct work w;
	struct call_lane *lane;
	pthread_t drainer;
	int items[2] = {0, 1};

	(void)state;
	work_init(&w);
	assert_int_equal(call_lane_new(do_one, &w, &lane), 0);
	call_lane_drain(lane);
	for (int i = 0; i < 2; i++)
		assert_int_equal(call_lane_add(lane, &items[i]), 0);
	assert_int_equal(pthread_create(&drainer, NULL, drain, lane), 0);
	wait_until_begun(&w);
	open_gate(&w);
	assert_int_equal(pthread_join(drainer, NULL), 0);
	assert_int_equal(w.n_done, 2);
	call_lane_free(lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(things_are_done_in_order_and_the_rest_is_refused),
		cmocka_unit_test(a_lane_that_was_never_used_ends),
		cmocka_unit_test(a_lane_is_drained_when_all_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
