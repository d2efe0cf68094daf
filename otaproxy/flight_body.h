/*
 * flight_body: the bytes of one fetch, in memory while they are few and nobody may read them yet, then in a file.
 *
 * One thread adds, and says to others under a lock of its own how many bytes they may read; those never change, so
 * that any thread may read them without a lock. A body that ended before it needed a file stays in memory; the rest of
 * one that the disk has no room for goes there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "otaproxy/cache_store.h"

enum {
	/* Written at once; a body that is checked is held back for longer anyway. */
	FLIGHT_BODY_GATHER_BYTES = 64 * 1024,
};

struct flight_body;

/*
 * @store: where the file is made, borrowed; NULL: it only lives in memory. @offset: of the body in the file.
 * @gather: bytes need not be readable as they come. NULL: no memory.
 */
struct flight_body *flight_body_new(const struct cache_store *store, uint64_t offset, bool gather);
void flight_body_free(
	struct flight_body *b); /* with its file, unless it is an entry; NULL is fine */

/* ---- the thread that adds ---- */

uint64_t flight_body_size(const struct flight_body *b); /* with what cannot be read yet */

/*
 * Before its first byte: have the disk set the room for @total_bytes aside, since then there is still time to do
 * without. -ENOSPC, -EDQUOT: it has not so much. A file system that cannot do that, or a body of unknown length
 * (UINT64_MAX), takes its chance.
 */
int flight_body_reserve(struct flight_body *b, uint64_t total_bytes, struct ota_err *err);

/*
 * @ret_readable: bytes of the body that may be read now. 0 or -errno; -ENOSPC, -EDQUOT: the disk is full, or cannot be
 * written to.
 */
int flight_body_add(struct flight_body *b, const void *data, size_t len_bytes,
	uint64_t *ret_readable, struct ota_err *err);

/*
 * After -ENOSPC or -EDQUOT: what is not in the file yet goes into memory, and stays there until it is forgotten. How
 * much was taken of what was to be added flight_body_size() says. It cannot become an entry any more. 0 or -errno.
 */
int flight_body_leave_disk(struct flight_body *b, struct ota_err *err);

/* There is no more: all of it may be read. */
int flight_body_end(struct flight_body *b, uint64_t *ret_readable, struct ota_err *err);

/* The body comes from its first byte again: forget what nobody could read yet. */
void flight_body_rewind(struct flight_body *b);
/* Is it @data that may be read from @at on? */
bool flight_body_has(const struct flight_body *b, uint64_t at, const void *data, size_t len_bytes);

/* Once it has ended, with a store: have it in a file. */
int flight_body_file(struct flight_body *b, struct cache_temp **ret_temp, struct ota_err *err);

/* ---- any thread, of what may be read ---- */

ssize_t flight_body_read(const struct flight_body *b, uint64_t at, void *buf, size_t max);
/* Of a body that has ended: all of it, as long as it lives; NULL: it is in a file. */
uint8_t *flight_body_memory(const struct flight_body *b);
/* Nobody will read these bytes any more. */
void flight_body_forget(const struct flight_body *b, uint64_t from, uint64_t to);
