/*
 * zstd_patch: a content as the difference to an older one: one zstd frame with the old content as its prefix.
 *
 * The zstd tool makes and reads the same ("zstd --patch-from=OLD NEW").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"

/*
 * Append the patch from @old to @made to @ret_patch. 1; 0: it has more than @max_bytes, and nothing is appended; or
 * -ENOMEM. @level: 1…19. Takes about as much memory as both contents in a worst case.
 */
int zstd_patch_make(const void *old, size_t old_len, const void *made, size_t made_len, int level,
	size_t max_bytes, struct buf *ret_patch);

/*
 * Decode a patch from pieces of any size straight into memory of exactly the content's size. It needs no window of
 * its own, so its memory does not grow with the contents. Exactly one frame, which must say that size. With no old
 * content it is an ordinary frame, whose window is limited as everywhere.
 */
struct zstd_patch_decoder;

/* Do these first bytes begin such a frame? Not known of fewer than a header has: no. */
bool zstd_patch_says_size(const void *data, size_t len_bytes, uint64_t made_len);

struct zstd_patch_decoder *zstd_patch_decoder_new(
	void); /* NULL: no memory. Reusable, one thread at a time. */
void zstd_patch_decoder_free(struct zstd_patch_decoder *d);
void zstd_patch_decoder_freep(struct zstd_patch_decoder **d);
#define AUTO_ZSTD_PATCH_DECODER CLEANUP(zstd_patch_decoder_freep)

/* Both memories are borrowed until the next start. 0, or -ENOTSUP: this libzstd cannot do it. */
int zstd_patch_decoder_start(
	struct zstd_patch_decoder *d, const void *old, size_t old_len, void *made, size_t made_len);

/* 0, or -EBADMSG: a bad frame, one that is not of that size, or more bytes than one frame has; -ENOMEM. */
int zstd_patch_decoder_feed(struct zstd_patch_decoder *d, const void *data, size_t len_bytes);

size_t zstd_patch_decoder_made(const struct zstd_patch_decoder *d); /* bytes so far */

/* Is the content complete? 0 or -EBADMSG. */
int zstd_patch_decoder_finish(const struct zstd_patch_decoder *d);
