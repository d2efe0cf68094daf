/*
 * standby_attrs: owner, mode, inode flags, xattrs, ACLs and times of one entry, compared and set
 * where they differ.
 *
 * Order: clear immutable and append-only, chown (which drops set-id bits), chmod, take unwanted
 * xattrs off, set wanted ones, set the time. Every entry of every update passes through here, kept
 * or new.
 */
#pragma once

#include "common/base/err.h"
#include "common/image/file_table.h"

/* What one entry is to look like. */
struct attrs_want {
	const struct file_table *table;
	enum entry_kind kind;
	uint32_t index; /* FILE_TABLE_NONE with ENTRY_DIR: the root */
	uint32_t uid, gid;
	uint16_t mode;
};

/* @fd: a regular file or directory, open for reading. @path for sentences. 0 or -errno with E313.
 */
int attrs_apply_fd(int fd, const struct attrs_want *want, const char *path, struct ota_err *err);

/* A symbolic link @name in @dir_fd. */
int attrs_apply_symlink(int dir_fd, const char *name, const struct attrs_want *want,
	const char *path, struct ota_err *err);

/*
 * Make an existing entry changeable: take immutable, append-only and other flags off, and from a
 * directory also its default ACL, which would mark everything made in it. Not a regular file or
 * directory: 0.
 */
int attrs_unlock_fd(int fd);
