/*
 * mapped_frame: a zstd frame that is decoded while it comes, straight into its mapped file: no window, and no byte is
 * copied between. That of a patch has the older content, mapped as well, as its prefix.
 *
 * A page that cannot be read, because its sector is bad or the older file has become shorter, is a failure of that one
 * frame: mapped_frame_catch_faults() sees to that. For a process with one thread that works on frames.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/crypto/digest.h"

struct mapped_frame;

/* Once, at the start of the process. */
void mapped_frame_catch_faults(void);

/*
 * @base_fd: of the older content that the patch starts from, @base_bytes long; -1: it is no patch. @fd: open for
 * reading and writing; it gets @made_bytes. Both are borrowed. 0, or -ENOSPC, -ENOMEM, -errno, -ESTALE: the older
 * content has not that size; -ENOTSUP: this libzstd cannot do it.
 */
int mapped_frame_start(int base_fd, uint64_t base_bytes, int fd, uint64_t made_bytes,
	struct mapped_frame **ret_frame);
void mapped_frame_end(struct mapped_frame *m); /* NULL is fine; afterwards nothing is mapped */

/*
 * @digest: gets the bytes that were made, and is of no use after a failure; NULL = nobody wants one. 0, or -EBADMSG: it
 * is no frame of that size, or no patch to that content; -EIO: a page cannot be read; -ENOMEM.
 */
int mapped_frame_feed(
	struct mapped_frame *m, const void *data, size_t len_bytes, struct digest_ctx *digest);

/* Is the content complete? 0 or -EBADMSG. */
int mapped_frame_finish(const struct mapped_frame *m);
