/*
 * options: what the command line tells otaproxy. One table in the .c has them all; what is read, what is complained
 * about, --help and the manual's list follow from it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/log.h"
#include "otaproxy/checker.h"
#include "otaproxy/reclaim.h"

enum options_wish {
	OPTIONS_RUN,
	OPTIONS_SHOW_HELP,
	OPTIONS_SHOW_VERSION,
};

/* Strings are borrowed from the command line or constant. */
struct options {
	const char *listen_addr, *cache_dir;
	const char *upper_proxy, *tls_ca, *origins, *user; /* NULL = not given */
	const char *externals[CHECKER_EXTERNALS_MAX + 1];  /* NULL ends them */
	uint32_t port;                                     /* up to 65535; 0 = any that is free */
	uint32_t log_level;                                /* enum log_level */
	struct reclaim_marks marks;
	bool https, no_cache, wipe;
	enum options_wish wish;
};

/*
 * 0, or -EINVAL: wrong usage. @err says why, but where getopt_long() has said it already: then it stays empty. What
 * stands behind --help or --version is not looked at.
 */
int options_parse(int argc, char **argv, struct options *ret_options, struct ota_err *err);

int options_print_help(struct buf *out);

/* The list in docs/man/otaproxy.8, which a test compares with it. */
int options_print_manual(struct buf *out);
