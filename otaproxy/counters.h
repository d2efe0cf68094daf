/*
 * counters: what the proxy has done since it was started, counted by all its threads and shown to
 * persons and to monitoring. No lock: each number stands for itself.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/buf.h"

enum counter {
	COUNTER_HITS,          /* answered from the cache */
	COUNTER_MISSES,        /* fetched from the origin */
	COUNTER_JOINED,        /* answered from another request's fetch while it ran */
	COUNTER_REVALIDATED,   /* answered from the cache after the origin said it is the newest */
	COUNTER_REFUSED,       /* answered with an error of our own */
	COUNTER_ORIGIN_BYTES,  /* bodies received from origins (or the upper proxy) */
	COUNTER_CLIENT_BYTES,  /* bodies sent to clients */
	COUNTER_REJECTED,      /* bodies with another digest than asked for */
	COUNTER_EVICTED,       /* entries removed to make room */
	COUNTER_OPEN_REQUESTS, /* being answered now: goes up and down */
	COUNTER_COUNT,
};

/* {0} is all zero. */
struct counters {
	_Atomic uint64_t value[COUNTER_COUNT];
};

void counters_add(struct counters *c, enum counter which, uint64_t n);

/* Only for COUNTER_OPEN_REQUESTS; what only grows must not shrink. */
void counters_sub(struct counters *c, enum counter which, uint64_t n);

uint64_t counters_get(const struct counters *c, enum counter which);

/* Append for a person: a heading, then one aligned line each. 0 or -ENOMEM. */
int counters_text(const struct counters *c, struct buf *b);

/* Append as OpenMetrics 1.0 text, to its "# EOF". 0 or -ENOMEM. */
int counters_openmetrics(const struct counters *c, struct buf *b);

/* The media type of the latter. */
#define COUNTERS_OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
