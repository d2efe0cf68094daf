/*
 * disk_order: read many small files in the order in which they lie on the disk, many with one
 * request.
 *
 * A disk gives neighbours at its full speed and scattered files at a fraction of it. So the files
 * of a slot are first asked where they lie (disk_order_find), and then read from the device past
 * every cache, by place (disk_order_read). What is read is the file only while nobody writes to the file system.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
	DISK_ORDER_FILE_MAX = 256 << 10, /* a longer one is read as fast alone */
};

struct disk_item {
	uint64_t at_bytes; /* on the device */
	uint32_t len_bytes;
	uint32_t id; /* the caller's */
};

/*
 * Does the file, at most DISK_ORDER_FILE_MAX long, lie in one piece of plain blocks? Then where.
 * Anything else, also what a file system does not tell, is to be read by its name.
 */
bool disk_order_find(int fd, uint64_t size_bytes, uint64_t *ret_at_bytes);

/* What @item's place holds; NULL: the device would not give it. Called on several threads. As workers_fn. */
typedef int disk_order_fn(
	void *ctx, const struct disk_item *item, const void *data, struct ota_err *err);

/* To read from past every cache. The file descriptor or -errno. */
int disk_order_open(const char *device);

/* Sort the @items and call @fn once for each. The first error of @fn ends it and is returned; or -ENOMEM. */
int disk_order_read(int device_fd, struct disk_item *items, size_t n_items, disk_order_fn *fn,
	void *ctx, struct ota_err *err);
