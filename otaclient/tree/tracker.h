/*
 * tracker: asks the direct children for their status, again and again, and knows what all ECUs below have reported.
 *
 * One thread per child, so that one that is slow or dead holds up no other. What is asked here is answered from
 * memory. All functions but new and free may be called from any thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "otaclient/api/peer.h"
#include "otaclient/api/wire.h"
#include "otaclient/status/status.h"
#include "otaclient/tree/summary.h"

/* A direct child: an entry of "secondaries". */
struct tree_child {
	const char *ecu_id;
	struct peer_address address;
};

/* Borrowed; must outlive the tracker. */
struct tracker_config {
	struct summary_scope scope;
	const struct tree_child *children;
	size_t n_children;
	struct status *status; /* this ECU's own */

	/* Called once at the start and whenever the summary has changed; one call at a time, in order. Be quick. */
	void (*on_change)(void *ctx, const struct summary *now);
	void *ctx;

	/* How a child is asked; NULL = peer_status_until(). Only tests have another way. */
	int (*ask)(const struct peer_address *address, uint32_t timeout_ms, const atomic_bool *stop,
		struct wire_status *ret_status, struct ota_err *err);
};

/* Polling begins at once. 0, -ENOMEM, or pthread_create's error. */
struct tracker;
int tracker_new(
	const struct tracker_config *config, struct tracker **ret_tracker, struct ota_err *err);
void tracker_free(struct tracker *t);
void tracker_freep(struct tracker **t);
#define AUTO_TRACKER CLEANUP(tracker_freep)

/* Append what the ECUs below have reported. 0 or -ENOMEM. */
int tracker_status(struct tracker *t, struct wire_status *answer);

void tracker_summary(struct tracker *t, struct summary *ret_summary);
void tracker_names_in_update(struct tracker *t, char *ret_names, size_t size_bytes);

/* Is it known that a request for @ecu_id must go to child number @child? */
bool tracker_is_below(struct tracker *t, size_t child, const char *ecu_id);

/*
 * Around the handing on of a request: from hold to release some child counts as in an update that needs the network,
 * so that nothing restarts or ends meanwhile. In between, those who have accepted are told with tracker_accept().
 */
void tracker_hold(struct tracker *t);
void tracker_accept(struct tracker *t, size_t child, const char *ecu_id);
void tracker_release(struct tracker *t);

/* @ecu_id, reached through child number @child, has accepted an abort. */
void tracker_abort(struct tracker *t, size_t child, const char *ecu_id);
