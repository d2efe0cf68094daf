/*
 * superblock: an ext4 superblock as mkfs makes it, for tests of whoever reads one.
 */
#pragma once

#include <stdint.h>
#include <string.h>

enum {
	SUPERBLOCK_LOG_BLOCK_SIZE = 24,
	SUPERBLOCK_STATE = 58,
	SUPERBLOCK_REVISION = 76,
	SUPERBLOCK_INODE_SIZE = 88,
	SUPERBLOCK_INCOMPAT = 96,
};

static inline void superblock_put(uint8_t *at, uint64_t v, unsigned n_bytes)
{
	for (unsigned i = 0; i < n_bytes; i++)
		at[i] = (uint8_t)(v >> 8 * i);
}

/* Blocks of 4 KiB; clean, with extents, 64 bits and inodes of 256 bytes. */
static inline void superblock_make(uint8_t sb[1024], uint64_t n_blocks, uint32_t n_inodes)
{
	memset(sb, 0, 1024);
	superblock_put(sb, n_inodes, 4);
	superblock_put(sb + 4, n_blocks & UINT32_MAX, 4);
	superblock_put(sb + SUPERBLOCK_LOG_BLOCK_SIZE, 2, 4);
	superblock_put(sb + 56, 0xef53, 2);
	superblock_put(sb + SUPERBLOCK_STATE, 1, 2);
	superblock_put(sb + SUPERBLOCK_REVISION, 1, 4);
	superblock_put(sb + SUPERBLOCK_INODE_SIZE, 256, 2);
	superblock_put(sb + SUPERBLOCK_INCOMPAT, 0x40 | 0x80, 4);
	memset(sb + 104, 0xaa, 16);
	superblock_put(sb + 336, n_blocks >> 32, 4);
}
