/*
 * ext4_super: take the superblock apart. Contract: ext4_super.h.
 *
 * All fields are little-endian; where they are is the format's own documentation (ext4, "The Super Block").
 */
#include "otaclient/doctor/ext4_super.h"

#include <errno.h>
#include <string.h>

enum {
	AT_INODES = 0,
	AT_BLOCKS_LO = 4,
	AT_LOG_BLOCK_SIZE = 24,
	AT_MAGIC = 56,
	AT_STATE = 58,
	AT_REVISION = 76,
	AT_INODE_SIZE = 88,
	AT_INCOMPAT = 96,
	AT_UUID = 104,
	AT_BLOCKS_HI = 336,

	MAGIC = 0xef53,
	STATE_CLEAN = 1,
	STATE_ERRORS = 2,
	INCOMPAT_RECOVER = 0x4,
	INCOMPAT_EXTENTS = 0x40,
	INCOMPAT_64BIT = 0x80,
	LOG_BLOCK_SIZE_MAX = 6, /* blocks of 64 KiB */
	OLD_INODE_BYTES = 128,  /* of revision 0, which does not say so */
};

static uint32_t le(const uint8_t *p, unsigned n_bytes)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < n_bytes; i++)
		v |= (uint32_t)p[i] << 8 * i;
	return v;
}

int ext4_super_parse(const void *data, size_t len_bytes, struct ext4_super *ret)
{
	const uint8_t *sb = data;
	struct ext4_super s = {0};
	uint32_t state, incompat, log_block_size;
	uint64_t n_blocks;

	if (len_bytes < EXT4_SUPER_BYTES || le(sb + AT_MAGIC, 2) != MAGIC)
		return -ENODATA;
	state = le(sb + AT_STATE, 2);
	incompat = le(sb + AT_INCOMPAT, 4);
	log_block_size = le(sb + AT_LOG_BLOCK_SIZE, 4);
	n_blocks = le(sb + AT_BLOCKS_LO, 4);
	if (incompat & INCOMPAT_64BIT)
		n_blocks |= (uint64_t)le(sb + AT_BLOCKS_HI, 4) << 32;
	/* Block numbers have 48 bits, and the size must be a number. */
	if (log_block_size > LOG_BLOCK_SIZE_MAX || n_blocks == 0 || n_blocks >> 47)
		return -EBADMSG;
	s.size_bytes = n_blocks << (10 + log_block_size);
	s.n_inodes = le(sb + AT_INODES, 4);
	s.inode_bytes = le(sb + AT_REVISION, 4) > 0 ? le(sb + AT_INODE_SIZE, 2) : OLD_INODE_BYTES;
	s.is_ext4 = incompat & INCOMPAT_EXTENTS;
	s.clean = state & STATE_CLEAN;
	s.has_errors = state & STATE_ERRORS;
	s.needs_recover = incompat & INCOMPAT_RECOVER;
	memcpy(s.uuid, sb + AT_UUID, sizeof(s.uuid));
	*ret = s;
	return 0;
}
