/*
 * proxy_ready: waiting until a proxy answers, be it our own (proxy_child) or the one above this ECU (update_proxy).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	/* The ECU that the proxy runs on may be restarting, and a proxy above that one with it. */
	PROXY_READY_MS = 180 * 1000,
};

/* Borrowed for the call of proxy_ready_wait(). */
struct proxy_ready {
	const char *name; /* begins a sentence */
	const char *url;  /* of the proxy itself, asked for without another between */
	uint32_t timeout_ms;
	bool (*stop)(void *ctx); /* asked several times a second whether to give up; NULL = never */
	void *stop_ctx;
	/*
	 * What else is known of the proxy, asked before (@answered false) and after each answer. 0: go on; -EAGAIN: not
	 * ready yet; any other errno ends the wait with it. Not 0: @ret_why is filled. NULL = nothing.
	 */
	int (*check)(void *ctx, bool answered, struct ota_err *ret_why);
	void *check_ctx;
};

/*
 * Until it answers a GET of its own URL with anything, as HTTP: a refusal comes from somebody who serves. 0, or
 *   -ETIMEDOUT  (E311) with the last thing that was in the way
 *   -ECANCELED  (E311) @stop has said so
 *   -ENOMEM, -EINVAL, -EIO  it could not be asked
 * or what @check has ended the wait with.
 */
int proxy_ready_wait(const struct proxy_ready *p, struct ota_err *err);
