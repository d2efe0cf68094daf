/*
 * image_reader: the files of an image on disk, and their contents. Signatures are not looked at: what is read is
 * checked by its digest, and used as something to compare with.
 */
#pragma once

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/image/file_table.h"

struct image_reader {
	int plain_fd, zst_fd;     /* its folders; -1: it has none */
	struct buf regulars;      /* the table borrows it */
	struct file_table *table; /* sealed; files alone */
};

#define IMAGE_READER_NONE                     \
	{                                     \
		.plain_fd = -1, .zst_fd = -1, \
	}

/* By what its metadata.jwt names. 0, or a sentence. */
int image_reader_open(const char *image_dir, struct image_reader *ret, struct ota_err *err);

/* An image in the making, which has no metadata.jwt yet. @zst_dir: NULL = none. */
int image_reader_open_parts(int dir_fd, const char *plain_dir, const char *zst_dir,
	const struct buf *regulars, struct image_reader *ret, struct ota_err *err);

void image_reader_done(struct image_reader *ir);
#define AUTO_IMAGE_READER CLEANUP(image_reader_done)

/*
 * The bytes of a content, as many as the table says; the caller's to free. Any thread. 0, -EBADMSG: they are wrong,
 * or their size is not known; -ENOMEM, or why they cannot be read.
 */
int image_reader_content(const struct image_reader *ir, uint32_t content, void **ret_data);

/* What a client fetches for a content: its blob, else the plain file. UINT64_MAX: neither is there. */
uint64_t image_reader_served_bytes(const struct image_reader *ir, uint32_t content);
