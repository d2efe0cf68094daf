/*
 * recent_requests: which requests were handed on a short while ago, so that one that comes back is recognised.
 *
 * Where an ECU is, by mistake, below itself, a request would else go round and round. All functions may be called from
 * any thread; NULL is a list of none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "otaclient/api/wire.h"

enum {
	/*
	 * More than can be under way at once (each of the two lanes has one and CALL_LANE_WAITING_MAX waiting), so that
	 * those are never forgotten.
	 */
	RECENT_REQUESTS_MAX = 64,
	/* Each ECU of a ring may let a request wait for PEER_TIMEOUT_MS before it hands it on: this is one of five. */
	RECENT_REQUESTS_MS = 30 * 1000,
	/* Of an id; ids that differ behind this and are of one length are taken for the same. */
	RECENT_REQUESTS_ID_MAX = 128,
};

struct recent_requests;
struct recent_requests *recent_requests_new(void); /* NULL: no memory */
void recent_requests_free(struct recent_requests *list);

/* Has such a request begun less than RECENT_REQUESTS_MS ago, or not ended yet? An abort is known until it has ended. */
bool recent_requests_has(
	struct recent_requests *list, enum api_method m, const char *request_id, uint64_t now_ms);

/* Around the work on one. False: it is known already, and must not be ended. */
bool recent_requests_begin(
	struct recent_requests *list, enum api_method m, const char *request_id, uint64_t now_ms);
void recent_requests_end(struct recent_requests *list, enum api_method m, const char *request_id);
