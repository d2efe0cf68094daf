/*
 * rootfs_contents: read the contents of a folder's files that go into the image, on several threads.
 */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/rootfs_tree.h"

struct rootfs_reading {
	struct blob_store *store;
	bool served_by_name; /* read what clients fetch by name, too, even if it is not listed */
	unsigned n_jobs;
};

/*
 * After rootfs_walk() and rootfs_select(): give each listed file its blob. @root_fd is the folder; it is only
 * read, without touching access times where the kernel allows that. 0, or the first failure, which names the
 * file; -EAGAIN: it changed since it was looked at.
 */
int rootfs_contents_read(struct rootfs_tree *tree, int root_fd, const struct rootfs_reading *how,
	struct ota_err *err);
