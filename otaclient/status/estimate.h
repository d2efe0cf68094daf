/*
 * estimate: how long what an update has yet to do will take, by what was measured of this update so far.
 *
 * Pure. It is an estimate: rates of other work of the same kind stand for those that are not known yet, and where a
 * sample is too small to tell anything the time is not known, never made up.
 */
#pragma once

#include <stdint.h>

struct update_stats;

#define ESTIMATE_UNKNOWN UINT64_MAX

enum {
	/* Less than this is mostly the time of questions and answers, or of finding files. */
	ESTIMATE_NET_MIN_BYTES = 512 << 10,
	ESTIMATE_DISK_MIN_BYTES = 8 << 20,
};

/* So much was done in that time. {0} = nothing was measured. */
struct sample {
	uint64_t bytes, ms;
};

/* What a plan leaves to be done. */
struct workload {
	uint64_t download_bytes; /* to be received: of a patch its size, else the plain one */
	uint64_t fetch_bytes;    /* what is fetched, plain: written as it comes */
	uint64_t copy_bytes;     /* read from a slot and written to the standby */
	uint64_t check_bytes;    /* of the whole image: read back in the end */
	uint64_t write_bytes;    /* new blocks on the standby, of all this */
};

/* Milliseconds; ESTIMATE_UNKNOWN each. */
struct estimate {
	uint64_t copy_ms, fetch_ms, finish_ms;
};

/* @net: of receiving; @disk: of reading and hashing. */
void estimate_make(const struct workload *work, const struct sample *net, const struct sample *disk,
	struct estimate *ret_estimate);

/* All of it in whole seconds, rounded up. */
uint64_t estimate_total_s(const struct estimate *e);

/* From the live counters: seconds until the new system is set up to boot. Not known before the plan was made, and once
 * the update waits for others. */
uint64_t estimate_left_s(const struct update_stats *u, uint64_t now_ms);
