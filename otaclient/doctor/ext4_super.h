/*
 * ext4_super: what the superblock of an ext2, ext3 or ext4 file system says of it. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	EXT4_SUPER_OFFSET = 1024, /* in the device */
	EXT4_SUPER_BYTES = 1024,
	EXT4_UUID_BYTES = 16,
};

struct ext4_super {
	uint64_t size_bytes; /* of the whole file system */
	uint64_t n_inodes;
	uint8_t uuid[EXT4_UUID_BYTES];
	uint32_t inode_bytes;
	bool is_ext4;       /* it has extents; else ext2 or ext3 */
	bool clean;         /* unmounted as it should be */
	bool has_errors;    /* the kernel has found some since the last check */
	bool needs_recover; /* its journal is to be replayed, as after a power cut */
};

/* -ENODATA: it is none, or not all of it is there. -EBADMSG: its figures cannot be true. */
int ext4_super_parse(const void *data, size_t len_bytes, struct ext4_super *ret);
