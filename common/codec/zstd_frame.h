/*
 * zstd_frame: the first bytes of a frame, looked at before libzstd sees them. Private to this folder.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	ZSTD_HEADER_MAX_BYTES = 18, /* magic 4, flags 1, window 1, dictionary 4, size 8 */
};

/*
 * Is that a frame, and what does it say of its content's size? 1 (UINT64_MAX: it does not say); 0: more bytes are
 * needed; -EBADMSG: it is none, or one that is to be skipped.
 */
int zstd_frame_look(const unsigned char *header, size_t len_bytes, uint64_t *ret_size);
