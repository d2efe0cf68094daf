/*
 * check_job: one body on a disk that is hashed, a little at a time: an entry of another boot, or a file of an external
 * cache, which is copied in while it is hashed. Belongs to the checker's thread.
 */
#pragma once

#include <stdatomic.h>

#include "otaproxy/checker.h"

struct check_job;

/* @config borrowed. NULL: no memory. */
struct check_job *check_job_new(const struct checker_config *config, const struct cache_key *key);
void check_job_free(struct check_job *j); /* a copy that is not complete goes; NULL is fine */

/*
 * Work until clock_monotonic_ms() is @until_ms, or @stop. 1: there is more to do; 0: all that could be done is,
 * whatever came of it.
 */
int check_job_go_on(struct check_job *j, uint64_t until_ms, const atomic_bool *stop);
