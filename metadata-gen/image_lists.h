/*
 * image_lists: the texts that describe a selected rootfs_tree: the lists of an image. Pure.
 *
 * Equal trees give equal texts: lines are in the order of the paths' bytes, and hard link groups are numbered in
 * that order.
 */
#pragma once

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "metadata-gen/rootfs_tree.h"

struct image_lists {
	struct buf dirs, symlinks, regulars, attributes;
	uint64_t total_size_bytes; /* over all names of files */
	uint64_t n_dirs, n_symlinks, n_files, n_groups;
};

/* After rootfs_select() and with all blobs filled. 0 or -ENOMEM. */
int image_lists_write(
	const struct rootfs_tree *tree, struct image_lists *ret_lists, struct ota_err *err);
void image_lists_done(struct image_lists *lists);
#define AUTO_IMAGE_LISTS CLEANUP(image_lists_done)
