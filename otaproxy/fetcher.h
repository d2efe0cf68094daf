/*
 * fetcher: what fetches the bodies of flights from the origin or the upper proxy. It belongs to one thread, which has
 * to run it.
 */
#pragma once

#include "common/base/err.h"
#include "otaproxy/inflight.h"

struct fetcher;

struct fetcher_config {
	const char *upper_proxy; /* NULL = straight to the origins */
	const char *tls_ca;      /* NULL = the system's store */
	/* May a redirect be followed to @url? 0, or with a sentence the status for the client. NULL = to everywhere. */
	unsigned (*refuse_hop)(void *ctx, const char *url, struct ota_err *err);
	void *hop_ctx;
};

int fetcher_new(
	const struct fetcher_config *config, struct fetcher **ret_fetcher, struct ota_err *err);
/* After fetcher_end(). NULL is fine. */
void fetcher_free(struct fetcher *fetcher);

/* Fetch @f, which the caller got as new from inflight_join(). */
void fetcher_take(struct fetcher *fetcher, struct flight *f);

/* Fetch for up to @wait_ms, or until something has ended, or can be read from the descriptor that is watched. */
void fetcher_run(struct fetcher *fetcher, uint32_t wait_ms);
void fetcher_watch(struct fetcher *fetcher, int fd);
/* Have fetcher_run() return, now or the next time: from any thread, and from what it calls. */
void fetcher_wakeup(struct fetcher *fetcher);
void fetcher_yield(struct fetcher *fetcher);

/* What is under way ends; its readers see a failure. */
void fetcher_end(struct fetcher *fetcher);
