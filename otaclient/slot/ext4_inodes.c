/*
 * ext4_inodes: the tables of inodes. Contract: ext4_inodes.h. The door to libext2fs.
 */
#include "otaclient/slot/ext4_inodes.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <ext2fs/ext2fs.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/slot/entry_attrs.h"

enum {
	INODE_MAX = 4096, /* the largest that there is: a block */
	SCAN_BLOCKS = 64, /* of a table, with one request */
	ASK_EACH = 1024,  /* inodes, used or not: is the work still wanted? */
	/* What keeps an inode's bytes from being what lies at their place. */
	ODD_FLAGS = EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT4_VERITY_FL | EXT4_EA_INODE_FL,
	UNWRITTEN_MIN =
		EXT_INIT_MAX_LEN + 1, /* a longer extent is room that nothing was written to */
};

/* Two bits more for the seconds, and nanoseconds: in the part that a small inode does not have. */
static struct timespec time_of(uint32_t seconds, uint32_t extra)
{
	return (struct timespec){
		.tv_sec = (int32_t)seconds + ((int64_t)(extra & 3) << 32),
		.tv_nsec = extra >> 2,
	};
}

/* Whether the field lies in the inode, by its own word. */
#define HAS_FIELD(inode, len, field)                                         \
	((len) > EXT2_GOOD_OLD_INODE_SIZE &&                                 \
		EXT2_GOOD_OLD_INODE_SIZE + (size_t)(inode)->i_extra_isize >= \
			offsetof(struct ext2_inode_large, field) + sizeof((inode)->field))

static void read_stat(
	const struct ext2_inode_large *i, size_t len, uint32_t block_bytes, struct stat *st)
{
	st->st_mode = i->i_mode;
	st->st_nlink = i->i_links_count;
	st->st_uid = i->i_uid | (uid_t)i->osd2.linux2.l_i_uid_high << 16;
	st->st_gid = i->i_gid | (gid_t)i->osd2.linux2.l_i_gid_high << 16;
	st->st_size = (off_t)(i->i_size | (uint64_t)i->i_size_high << 32);
	st->st_blocks = (blkcnt_t)(i->i_blocks | (uint64_t)i->osd2.linux2.l_i_blocks_hi << 32);
	if (i->i_flags & EXT4_HUGE_FILE_FL) /* counted in other units */
		st->st_blocks *= block_bytes / 512;
	/* The kernel reports the sectors that such a file would take. */
	if (i->i_flags & EXT4_INLINE_DATA_FL)
		st->st_blocks += (blkcnt_t)(((uint64_t)st->st_size + 511) / 512);
	st->st_mtim = time_of(i->i_mtime, HAS_FIELD(i, len, i_mtime_extra) ? i->i_mtime_extra : 0);
	st->st_ctim = time_of(i->i_ctime, HAS_FIELD(i, len, i_ctime_extra) ? i->i_ctime_extra : 0);
}

/* Attributes stand in a block of their own, or behind the inode, where this number comes first. */
static bool is_plain(const struct ext2_inode_large *i, size_t len)
{
	uint32_t magic = 0;
	size_t end;

	if (i->i_file_acl || i->osd2.linux2.l_i_file_acl_high || !attrs_flags_are_plain(i->i_flags))
		return false;
	if (len <= EXT2_GOOD_OLD_INODE_SIZE)
		return true;
	end = EXT2_GOOD_OLD_INODE_SIZE + (size_t)i->i_extra_isize;
	if (end % 4 != 0 || end > len)
		return false;
	if (end + sizeof(magic) <= len)
		memcpy(&magic, (const char *)i + end, sizeof(magic));
	return magic != EXT2_EXT_ATTR_MAGIC;
}

/* An extent from the first byte to the last, in the inode itself. */
static bool is_one_piece(const struct ext2_inode_large *i, const struct stat *st,
	uint32_t block_bytes, uint64_t *ret_at)
{
	struct {
		struct ext3_extent_header head;
		struct ext3_extent first;
	} tree;
	uint32_t n_blocks;

	if (!(i->i_flags & EXT4_EXTENTS_FL) || i->i_flags & ODD_FLAGS || st->st_size == 0)
		return false;
	memcpy(&tree, i->i_block, sizeof(tree));
	/* libext2fs leaves the byte order of this part as it is. */
	n_blocks = le16toh(tree.first.ee_len);
	if (le16toh(tree.head.eh_magic) != EXT3_EXT_MAGIC || tree.head.eh_depth != 0 ||
		le16toh(tree.head.eh_entries) != 1 || tree.first.ee_block != 0 ||
		n_blocks >= UNWRITTEN_MIN ||
		(uint64_t)n_blocks * block_bytes < (uint64_t)st->st_size)
		return false;
	*ret_at = (le32toh(tree.first.ee_start) | (uint64_t)le16toh(tree.first.ee_start_hi) << 32) *
		  block_bytes;
	return true;
}

void ext4_inode_decode(
	const void *raw, size_t len_bytes, uint32_t block_bytes, struct ext4_inode_seen *ret_inode)
{
	const struct ext2_inode_large *i = raw;

	*ret_inode = (struct ext4_inode_seen){0};
	read_stat(i, len_bytes, block_bytes, &ret_inode->st);
	ret_inode->is_plain = is_plain(i, len_bytes);
	ret_inode->is_one_piece =
		is_one_piece(i, &ret_inode->st, block_bytes, &ret_inode->at_bytes);
}

static void close_fs(ext2_filsys *fs)
{
	if (*fs)
		ext2fs_close_free(fs);
}

static void close_scan(ext2_inode_scan *scan)
{
	if (*scan)
		ext2fs_close_inode_scan(*scan);
}

static int scan_fs(
	ext2_filsys fs, ext4_inode_fn *fn, bool (*stop)(void *ctx), void *stop_ctx, void *ctx)
{
	CLEANUP(close_scan) ext2_inode_scan scan = NULL;
	size_t len = EXT2_INODE_SIZE(fs->super);
	union {
		struct ext2_inode_large inode;
		char room[INODE_MAX];
	} u;

	if ((len != EXT2_GOOD_OLD_INODE_SIZE && len < sizeof(u.inode)) || len > sizeof(u))
		return -EIO;
	/*
	 * The list of bad blocks is not wanted, and where there is none the scan would fetch it by a cache
	 * whose making libext2fs 1.47 does not survive without memory.
	 */
	if (ext2fs_badblocks_list_create(&fs->badblocks, 0) ||
		ext2fs_open_inode_scan(fs, SCAN_BLOCKS, &scan))
		return -ENOMEM;
	for (uint32_t n = 0;; n++) {
		struct ext4_inode_seen seen;
		ext2_ino_t ino;

		if (ext2fs_get_next_inode_full(scan, &ino, (struct ext2_inode *)&u, (int)len))
			return -EIO;
		if (ino == 0)
			return 0;
		if (n % ASK_EACH == 0 && stop && stop(stop_ctx))
			return -ECANCELED;
		if (!LINUX_S_ISREG(u.inode.i_mode) || u.inode.i_links_count == 0)
			continue;
		ext4_inode_decode(&u, len, fs->blocksize, &seen);
		seen.st.st_ino = ino;
		if (!fn(ctx, &seen))
			return 0;
	}
}

int ext4_inodes_read(
	const char *device, ext4_inode_fn *fn, bool (*stop)(void *ctx), void *stop_ctx, void *ctx)
{
	CLEANUP(close_fs) ext2_filsys fs = NULL;
	/* Without memory for its own cache, or for reading past the kernel's, libext2fs 1.47 crashes. */
	errcode_t e =
		ext2fs_open2(device, "cache=off", EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs);
	int r;

	if (e)
		r = e == EXT2_ET_NO_MEMORY ? -ENOMEM : -EIO;
	else
		r = scan_fs(fs, fn, stop, stop_ctx, ctx);
	if (r == -EIO)
		log_info("The inodes of %s are looked at one by one", device);
	return r;
}
