/*
 * entry_attrs: owner, mode, inode flags, xattrs, ACLs and times of one entry, compared and set
 * where they differ.
 *
 * Order: clear immutable and append-only, chown (which drops set-id bits), chmod, take unwanted
 * xattrs off, set wanted ones, set the time. Every entry of every update passes through here, kept
 * or new.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/base/err.h"
#include "common/image/file_table.h"

/* What one entry is to look like; of a file, attrs_of_file(). */
struct attrs_want {
	const struct file_table *table;
	enum entry_kind kind;
	uint32_t index; /* FILE_TABLE_NONE with ENTRY_DIR: the root */
	uint32_t uid, gid;
	uint16_t mode;
};

/* A group has one inode, and so the owner, mode and attributes of its first file. */
struct attrs_want attrs_of_file(const struct file_table *table, uint32_t file);

/* @fd: a regular file or directory, open for reading. @path for sentences. 0 or -errno with E313.
 */
int attrs_apply_fd(int fd, const struct attrs_want *want, const char *path, struct ota_err *err);

/* A symbolic link @name in @dir_fd. */
int attrs_apply_symlink(int dir_fd, const char *name, const struct attrs_want *want,
	const char *path, struct ota_err *err);

/* Is @name in @dir_fd a link that leads to @target? */
bool attrs_symlink_holds(int dir_fd, const char *name, struct text target);

/* Does @st have the owner, the mode and, as far as the image says it, the time that are wanted? */
bool attrs_stat_holds(const struct attrs_want *want, const struct stat *st);

/* Has the entry neither extended attributes (of others than the running kernel) nor flags? -errno: nobody can say. */
int attrs_fd_is_plain(int fd);

/* Are these flags of an inode but such as say how it is stored? */
bool attrs_flags_are_plain(uint32_t flags);

/* Does the image give the entry no extended attributes? */
bool attrs_want_plain(const struct attrs_want *want);

/*
 * Make an existing entry changeable: take immutable, append-only and other flags off, and from a
 * directory also its default ACL, which would mark everything made in it. Not a regular file or
 * directory: 0.
 */
int attrs_unlock_fd(int fd);
