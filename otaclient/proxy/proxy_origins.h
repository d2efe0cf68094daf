/*
 * proxy_origins: the file that tells otaproxy which servers may be asked, one "scheme://host[:port]" a line.
 *
 * Format: docs/formats.md, "proxy_info.yaml".
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"

#define PROXY_ORIGINS_NAME "otaproxy.origins" /* in the run folder */

enum {
	PROXY_ORIGINS_MAX = 64, /* as many lines as otaproxy reads */
};

/*
 * Replace the file in @run_dir, which is made if it is missing, and opened to others: the proxy is another user. 0,
 * -EINVAL (E308: one that is no origin, or too many), or the errno of the write (E311).
 */
int proxy_origins_write(
	const char *run_dir, const char *const *origins, size_t n_origins, struct ota_err *err);
