/*
 * rootfs_contents: read the contents of a folder's files that go into the image, on several threads.
 */
#pragma once

#include "common/base/err.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/rootfs_tree.h"

/*
 * After rootfs_walk() and rootfs_select(): give each listed file its blob. @root_fd is the folder; it is only
 * read, without touching access times where the kernel allows that. 0, or the first failure, which names the
 * file; -EAGAIN: it changed since it was looked at.
 */
int rootfs_contents_read(struct rootfs_tree *tree, int root_fd, struct blob_store *store,
	bool hash_first, unsigned n_jobs, struct ota_err *err);
