/*
 * file_copy: the bytes of one file into a new one, hashed on the way, zeros not written.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/crypto/digest.h"

struct file_copy {
	int src_fd, dst_fd;      /* the rest of the one after the other's position */
	uint64_t max_bytes;      /* of the source; UINT64_MAX = all that is there */
	uint64_t reserve_bytes;  /* room to take on the disk first; 0 = none */
	bool holes;              /* leave holes where the source has nothing but zeros */
	struct digest_ctx *hash; /* started by the caller; NULL = not wanted */

	/* Asked after each piece whether the copy is still wanted. NULL = it is. */
	bool (*stop)(void *ctx);
	void *stop_ctx;
};

/*
 * Zeros are not written: they become holes if @holes says so, or stay unwritten in the reserved room,
 * which takes as much of the disk as if they had been written. Returns 0 and the length, or:
 *   -EPIPE      the source cannot be read
 *   -EFBIG      the source has more than max_bytes
 *   -ECANCELED  stop() said so
 *   others      the target cannot be written (-ENOSPC, -EIO, …)
 */
int file_copy(const struct file_copy *c, uint64_t *ret_bytes);
