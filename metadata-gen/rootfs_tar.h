/*
 * rootfs_tar: read a root file system from a tar stream into a rootfs_tree, its contents into a blob_store as they
 * come by. Needs no root: owners, modes and attributes are taken from the stream. The door to libarchive.
 *
 * Plain tar (ustar, pax, GNU) or one compressed with gzip, bzip2, xz, zstd or lz4. Later entries replace earlier
 * ones of the same name.
 */
#pragma once

#include "common/base/err.h"
#include "metadata-gen/blob_store.h"
#include "metadata-gen/ignore_rules.h"
#include "metadata-gen/rootfs_tree.h"
#include "metadata-gen/rootfs_walk.h"

/*
 * Read the stream open at @fd (@name for messages) to its end. Contents that @rules leave out are only kept in
 * case that a hard link needs them. The store must have a plain folder. 0, or
 *   -EBADMSG  the stream is damaged, cut short, or leads out of the root
 *   -EINVAL   an entry without a name or a target, an ACL without numbers
 */
int rootfs_tar_read(struct rootfs_tree *tree, int fd, const char *name, struct blob_store *store,
	const struct ignore_rules *rules, const struct rootfs_xattr_rule *xattrs, unsigned n_jobs,
	struct ota_err *err);

/* After rootfs_select(): compress those kept contents that are wanted after all. */
int rootfs_tar_settle(const struct rootfs_tree *tree, struct blob_store *store, unsigned n_jobs,
	struct ota_err *err);
