/*
 * ext4_inodes: every inode of an ext4 file system, read from its device in one go.
 *
 * To open 90 000 files in order to learn where they lie costs more than to read what is in them. Here the tables of
 * inodes are read as they lie on the disk. What cannot be told from an inode alone is said to be
 * so, and is for the caller to look at by its name.
 *
 * Format: the kernel's Documentation/filesystems/ext4 (inodes, extents); libext2fs reads it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct ext4_inode_seen {
	struct stat st; /* ino, mode, nlink, uid, gid, size, blocks, times of content and inode */
	bool is_one_piece; /* the bytes lie together, as they are, and @at_bytes says where */
	bool is_plain; /* has neither extended attributes nor flags that a person sets; false: look yourself */
	uint64_t at_bytes; /* in the device */
};

/*
 * What one of a table says: 128 bytes, or at least the 160 that are described. Its number stays 0. For
 * ext4_inodes_read() and its tests.
 */
void ext4_inode_decode(
	const void *raw, size_t len_bytes, uint32_t block_bytes, struct ext4_inode_seen *ret_inode);

/* Called for each inode in use that is a regular file, in the order of their numbers. False ends the reading. */
typedef bool ext4_inode_fn(void *ctx, const struct ext4_inode_seen *inode);

/*
 * Read all inodes of @device. Of a file system that is mounted this is what the kernel has in memory, but for the size
 * of what was written last, and only true while nobody writes. @stop, may be NULL: is the work no longer wanted?
 * 0; -ENOMEM; -ECANCELED; or, told in the log, -EIO: not a file system that libext2fs knows, one of its sums is wrong,
 * or the device does not read.
 */
int ext4_inodes_read(
	const char *device, ext4_inode_fn *fn, bool (*stop)(void *ctx), void *stop_ctx, void *ctx);
