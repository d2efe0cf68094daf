/*
 * checker: the thread that hashes what lies on a disk before it is served: entries that another boot of the machine
 * wrote, and the files of external caches, which are copied in.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "common/base/err.h"
#include "otaproxy/cache_store.h"
#include "otaproxy/counters.h"
#include "otaproxy/inflight.h"
#include "otaproxy/reclaim.h"

enum {
	CHECKER_EXTERNALS_MAX = 2, /* a disk with a label, and a mounted folder */
	CHECKER_STOP_MS = 3000,    /* well before whoever stops us loses patience */
	CHECKER_STUCK_MS =
		5000, /* in one turn; a disk that has much to do takes less for a piece */
};

struct checker;

struct checker_config {
	struct cache_store *store;
	struct counters *counters;
	struct inflight *inflight;  /* says whether there is room for a copy */
	struct reclaim_marks marks; /* below hard_pct a copy must stay */
	/* Folders with data/<digest>[.zst]; NULL ends them. */
	const char *externals[CHECKER_EXTERNALS_MAX + 1];
};

int checker_start(
	const struct checker_config *config, struct checker **ret_checker, struct ota_err *err);

/* Is there a place beside the cache where an entry could come from? */
bool checker_has_externals(const struct checker *checker);

/*
 * Do what can be done within a few seconds for @key to be found trusted in the store, then call @done once, from
 * another thread, also if it was in vain. -ENOMEM, -ESHUTDOWN (it is stopped), -EBUSY (a disk does not answer): it is
 * not called.
 */
int checker_ask(
	struct checker *checker, const struct cache_key *key, void (*done)(void *ctx), void *ctx);

/*
 * To be called every few seconds: if a disk has not answered for CHECKER_STUCK_MS, tell those who wait that it was in
 * vain, and take no more until it answers. Without a checker: NULL.
 */
void checker_watch(struct checker *checker);

/*
 * At once, whatever is being hashed; calls what is still waiting. NULL is fine. 0, or -ETIMEDOUT: a disk, as a server
 * that is mounted and gone, has not answered for CHECKER_STOP_MS; the thread is still there, and so may they be who
 * wait. It may be called again then.
 */
int checker_stop(struct checker *checker);

/* Once nobody can call the above any more; stopped before. NULL is fine. */
void checker_free(struct checker *checker);
