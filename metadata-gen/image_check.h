/*
 * image_check: is an image on disk whole and true? Says everything that is wrong, not only the first thing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct image_check_result {
	uint64_t n_problems;
	uint64_t n_lines;
	uint64_t n_contents, n_bytes; /* distinct contents of the lists, and their plain bytes */
};

struct image_check_options {
	const char *certs_dir; /* the certificates that a machine would trust */
	bool quick;            /* leave the contents out */
	unsigned n_jobs;
	/* Called with each problem, from any thread, one at a time. */
	void (*problem)(void *ctx, const char *sentence);
	/* Called with each certificate that is not used and why, after the problem that one is missing. */
	void (*note)(void *ctx, const char *sentence);
	void *ctx;
};

/* 0 with the counts, also if there are problems; negative if the check could not be made at all. */
int image_check(const char *image_dir, const struct image_check_options *options,
	struct image_check_result *ret_result, struct ota_err *err);
