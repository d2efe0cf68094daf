/*
 * call_lane: a thread that does one thing after the other. Contract: call_lane.h.
 *
 * The lock guards the queue and the wish to end; nothing is done under it.
 */
#include "otaclient/api/call_lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

struct call_lane {
	call_lane_fn *fn;
	void *ctx;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	void *waiting[CALL_LANE_WAITING_MAX]; /* the oldest first */
	size_t n_waiting;
	bool working; /* on one that waits no more */
	bool ending;
};

/* The oldest item; NULL: none is left and none will come. */
static void *take(struct call_lane *lane)
{
	void *item = NULL;

	pthread_mutex_lock(&lane->lock);
	lane->working = false;
	pthread_cond_broadcast(&lane->changed);
	while (lane->n_waiting == 0 && !lane->ending)
		pthread_cond_wait(&lane->changed, &lane->lock);
	if (lane->n_waiting > 0) {
		item = lane->waiting[0];
		lane->n_waiting--;
		lane->working = true;
		memmove(lane->waiting, lane->waiting + 1,
			lane->n_waiting * sizeof(lane->waiting[0]));
	}
	pthread_mutex_unlock(&lane->lock);
	return item;
}

static void *do_all(void *arg)
{
	struct call_lane *lane = arg;
	void *item;

	while ((item = take(lane)))
		lane->fn(lane->ctx, item);
	return NULL;
}

int call_lane_new(call_lane_fn *fn, void *ctx, struct call_lane **ret_lane)
{
	AUTO_FREE struct call_lane *lane = calloc(1, sizeof(*lane));
	int e;

	if (!lane)
		return -ENOMEM;
	lane->fn = fn;
	lane->ctx = ctx;
	pthread_mutex_init(&lane->lock, NULL);
	pthread_cond_init(&lane->changed, NULL);
	e = pthread_create(&lane->thread, NULL, do_all, lane);
	if (e != 0)
		return -e;
	*ret_lane = TAKE_PTR(lane);
	return 0;
}

int call_lane_add(struct call_lane *lane, void *item)
{
	int r = 0;

	pthread_mutex_lock(&lane->lock);
	if (lane->n_waiting >= CALL_LANE_WAITING_MAX)
		r = -EBUSY;
	else
		lane->waiting[lane->n_waiting++] = item;
	pthread_cond_broadcast(&lane->changed);
	pthread_mutex_unlock(&lane->lock);
	return r;
}

void call_lane_drain(struct call_lane *lane)
{
	pthread_mutex_lock(&lane->lock);
	while (lane->n_waiting > 0 || lane->working)
		pthread_cond_wait(&lane->changed, &lane->lock);
	pthread_mutex_unlock(&lane->lock);
}

void call_lane_free(struct call_lane *lane)
{
	if (!lane)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->ending = true;
	pthread_cond_broadcast(&lane->changed);
	pthread_mutex_unlock(&lane->lock);
	pthread_join(lane->thread, NULL);
	pthread_cond_destroy(&lane->changed);
	pthread_mutex_destroy(&lane->lock);
	free(lane);
}
