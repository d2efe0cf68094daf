/*
 * rootfs_walk: read the names, owners, times and attributes of a folder into a rootfs_tree. Contents are not
 * read here; blob_reader.c does that for the files that go into the image. Nothing of the folder is changed.
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"
#include "metadata-gen/rootfs_tree.h"

/* Which extended attributes are carried besides the usual ones: name prefixes. */
struct rootfs_xattr_rule {
	const char *const *more;
	size_t n_more;
	bool none; /* the caller has no use for attributes */
};

/*
 * Fill @tree from the folder @root_fd, whose path for messages and for reading attributes is @root. Folders of
 * the running system (/dev, /proc, …) are listed but not entered. A folder or an attribute that cannot be read
 * is noted at its entry. 0, -ENOMEM, or the errno of reading @root itself.
 */
int rootfs_walk(struct rootfs_tree *tree, int root_fd, const char *root,
	const struct rootfs_xattr_rule *xattrs, struct ota_err *err);
