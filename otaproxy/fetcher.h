/*
 * fetcher: the thread that fetches the bodies of flights from the origin or the upper proxy.
 */
#pragma once

#include "common/base/err.h"
#include "otaproxy/inflight.h"

struct fetcher;

struct fetcher_config {
	const char *upper_proxy; /* NULL = straight to the origins */
	const char *tls_ca;      /* NULL = the system's store */
};

int fetcher_start(
	const struct fetcher_config *config, struct fetcher **ret_fetcher, struct ota_err *err);

/* From any thread: fetch @f, which the caller got as new from inflight_join(). */
void fetcher_take(struct fetcher *fetcher, struct flight *f);

/* From any thread: readers have taken something, or left; who waits for them may go on. */
void fetcher_nudge(struct fetcher *fetcher);

/* Ends what is under way, and what is taken afterwards; its readers see a failure. NULL is fine. */
void fetcher_stop(struct fetcher *fetcher);

/* Once nobody can call the above any more; stopped before. NULL is fine. */
void fetcher_free(struct fetcher *fetcher);
