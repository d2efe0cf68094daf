/*
 * call_lane: a thread that does one thing after the other, and a short queue before it; for calls that may wait for
 * other ECUs, so that those that need not wait are answered meanwhile.
 */
#pragma once

#include <stddef.h>

enum {
	/* Each may take as long as a parent waits for its children: nobody waits for more of them. */
	CALL_LANE_WAITING_MAX = 8,
};

/* Does @item, in the lane's thread. */
typedef void call_lane_fn(void *ctx, void *item);

struct call_lane;
/* 0, -ENOMEM, or pthread_create's error. */
int call_lane_new(call_lane_fn *fn, void *ctx, struct call_lane **ret_lane);

/* Append @item. 0, or -EBUSY: CALL_LANE_WAITING_MAX are waiting already. */
int call_lane_add(struct call_lane *lane, void *item);

/* Wait until nothing is queued or being done. */
void call_lane_drain(struct call_lane *lane);

/* Does what is queued, then ends the thread. Nobody may add meanwhile. */
void call_lane_free(struct call_lane *lane);
