/*
 * inflight_parts: what the table and its readers (inflight.c) and the fetcher's side (flight.c) share. Nobody else
 * includes it. What the lock guards: inflight.c.
 */
#pragma once

#include <pthread.h>

#include "otaproxy/body_check.h"
#include "otaproxy/flight_body.h"
#include "otaproxy/inflight.h"

enum {
	BUCKETS = 256,
	FLIGHTS_MAX = 1024,     /* as many as a vehicle's ECUs may ask for at once */
	HOLE_BYTES = 64 * 1024, /* what a reader has taken is given back in pieces of this */
};

struct flight_reader {
	struct flight *flight;
	struct flight_reader *next;
	struct flight_sleeper sleeper;
	bool sleeps;
	bool wants_whole; /* reads nothing before all of it has come */
	uint64_t at;      /* of the body, where it has read last */
};

struct flight {
	struct inflight *table;
	struct flight *next; /* in its bucket */
	bool listed;         /* in the table: others may join */
	unsigned refs;       /* readers, and the fetcher until flight_end() */
	struct flight_reader *readers;
	struct flight_order order;

	enum flight_state state;
	struct flight_answer answer;
	bool begun;        /* the answer has been set, by the fetcher's thread */
	bool complete;     /* the body has ended, and is right */
	uint64_t n_bytes;  /* of the body, that can be read */
	bool paced;        /* its one reader sets the pace: FLIGHT_PASS, or the disk became full */
	uint64_t consumed; /* @paced: what its reader has taken */

	/* of the fetcher's thread, but for what of the body can be read */
	struct flight_body *body;
	struct body_check *check;
	uint64_t at; /* of the next byte that comes; below n_bytes while a body is repeated */
	uint64_t forgotten; /* @paced: all below this */
};

struct inflight {
	pthread_mutex_t lock;
	struct cache_store *store;
	struct counters *counters;
	struct flight *buckets[BUCKETS];
	unsigned n_flights;
	uint64_t epoch;
	enum cache_room room;
};

/* ---- under the lock ---- */

/* Nobody joins it any more. */
void flight_unlist(struct flight *f);
/* Those who sleep look again. */
void flight_wake_readers(struct flight *f);
/* How far may readers read? */
uint64_t flight_safe_bytes(const struct flight *f);

/* ---- not under the lock ---- */

/* Give a reference back. */
void flight_unref(struct flight *f);
