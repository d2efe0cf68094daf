/*
 * proxy_counts: what the local proxy says on its status page about its cache, as far as the record of an update has a
 * place for it. docs/formats.md, "Records of the log server", has the meaning of each.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	PROXY_COUNTS_WAIT_MS = 1000,
	PROXY_COUNTS_MAX_BYTES = 64 * 1024, /* some 2 kB are usual */
};

/* Since the proxy was started, over all who fetch through it. */
struct proxy_counts {
	uint64_t
		total_requests; /* that were answered from the cache, or for which the server was asked */
	uint64_t local_hits; /* of these: answered from the cache */
};

/* From OpenMetrics text. -EBADMSG: what it takes is not there, or not once, or no number. */
int proxy_counts_parse(const char *text, size_t len_bytes, struct proxy_counts *ret_counts);

/* Ask the proxy at @url, "http://127.0.0.1:8082/". It has PROXY_COUNTS_WAIT_MS. 0, or negative with a sentence. */
int proxy_counts_ask(const char *url, struct proxy_counts *ret_counts, struct ota_err *err);
