/*
 * zstd_frame: what a frame says of itself. Contract: zstd_frame.h.
 */
#include "common/codec/zstd_frame.h"

#include <errno.h>
#include <string.h>

#include <zstd.h>

#include "common/base/cleanup.h"

static const unsigned char magic[] = {0x28, 0xb5, 0x2f, 0xfd};

int zstd_frame_look(const unsigned char *header, size_t len_bytes, uint64_t *ret_size)
{
	unsigned long long size;

	if (memcmp(header, magic, MIN_OF(len_bytes, sizeof(magic))) != 0)
		return -EBADMSG;
	size = ZSTD_getFrameContentSize(header, len_bytes);
	if (size == ZSTD_CONTENTSIZE_ERROR)
		return len_bytes < ZSTD_HEADER_MAX_BYTES ? 0 : -EBADMSG;
	*ret_size = size == ZSTD_CONTENTSIZE_UNKNOWN ? UINT64_MAX : size;
	return 1;
}
