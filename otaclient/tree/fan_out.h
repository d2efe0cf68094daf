/*
 * fan_out: hand one request on to several direct children at once, and make one answer of theirs.
 *
 * Stateless; may be used from several threads. Which children: tree.c.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>

#include "otaclient/api/wire.h"
#include "otaclient/tree/tracker.h"

enum {
	FAN_OUT_CHILDREN_MAX = 64, /* as many as may be in "secondaries" */
	/* Bytes of a child's sentence that are passed on, with the NUL. */
	FAN_OUT_MESSAGE_MAX = 1024,
};

/* Who said an entry of the answer: @child is a number in the list that was asked, its strings are the answer's. */
typedef void fan_out_accepted_fn(void *ctx, size_t child, const char *ecu_id);

struct fan_out {
	/* Whom to ask, in the order of their entries in the answer. */
	const struct tree_child *const *children;
	size_t n_children;
	const char *own_id;            /* no child may answer for this one */
	const atomic_bool *stop;       /* true: wait for nobody any more; NULL = never */
	fan_out_accepted_fn *accepted; /* for each entry that says NO_FAILURE; NULL is fine */
	void *ctx;
};

/*
 * Ask all of them, each for PEER_TIMEOUT_MS, and append their entries to @answer. One that cannot be asked gets an
 * entry of its own which says why: RECOVERABLE, for an abort ABORT_FAILURE. At most WIRE_ECUS_MAX entries are
 * appended in all. 0 or -ENOMEM.
 */
int fan_out_run(const struct fan_out *f, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer);
