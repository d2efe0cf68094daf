/*
 * standby_inodes: a row beside each of the index's. Contract: standby_inodes.h.
 */
#include "otaclient/inventory/standby_inodes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "otaclient/slot/ext4_inodes.h"

/* As many bits as ext4 has for a time: seconds from its first one on, in 1901, and their parts. */
enum {
	TIME_S_BITS = 34,
	TIME_NS_BITS = 30,
};
#define TIME_FIRST_S INT64_C(-0x80000000)
#define BITS(n)      ((UINT64_C(1) << (n)) - 1)

/* Without what the index has, and what is the same of all. There may be a million of them. */
struct known_inode {
	uint32_t uid, gid, blocks;
	uint16_t mode, nlink; /* mode 0: it is not as it was noted */
	uint64_t mtime_s : TIME_S_BITS;
	uint64_t mtime_ns : TIME_NS_BITS;
	uint64_t size_bytes;
};
_Static_assert(sizeof(struct known_inode) == 32, "no padding");

struct standby_inodes {
	const struct inode_index *known;
	struct known_inode *rows; /* one for each row of it */
};

static bool take_known(void *ctx, const struct ext4_inode_seen *inode)
{
	struct standby_inodes *s = ctx;
	const struct stat *st = &inode->st;
	uint32_t number = inode_index_number(s->known, st->st_ino);
	struct known_inode row = {
		.uid = st->st_uid,
		.gid = st->st_gid,
		.blocks = (uint32_t)st->st_blocks,
		.mode = (uint16_t)st->st_mode,
		.nlink = (uint16_t)st->st_nlink,
		.mtime_s = (uint64_t)(st->st_mtim.tv_sec - TIME_FIRST_S) & BITS(TIME_S_BITS),
		.mtime_ns = (uint64_t)st->st_mtim.tv_nsec & BITS(TIME_NS_BITS),
		.size_bytes = (uint64_t)st->st_size,
	};

	if (number != FILE_TABLE_NONE && inode_index_find(s->known, st) != FILE_TABLE_NONE &&
		row.blocks == (uint64_t)st->st_blocks)
		s->rows[number] = row;
	return true;
}

int standby_inodes_read(const char *device, int slot_fd, const struct inode_index *known,
	inventory_stop_fn *stop, void *stop_ctx, struct standby_inodes **ret_inodes)
{
	AUTO_STANDBY_INODES struct standby_inodes *s = NULL;
	struct statvfs vfs;
	int r;

	*ret_inodes = NULL;
	if (!known || fstatvfs(slot_fd, &vfs) < 0 || !(vfs.f_flag & ST_RDONLY))
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->known = known;
	s->rows = calloc((size_t)inode_index_count(known) + 1, sizeof(*s->rows));
	if (!s->rows)
		return -ENOMEM;
	r = ext4_inodes_read(device, take_known, stop, stop_ctx, s);
	if (r == 0)
		*ret_inodes = TAKE_PTR(s);
	return r == -EIO ? 0 : r;
}

bool standby_inodes_find(const struct standby_inodes *s, uint64_t ino, struct stat *ret_st)
{
	uint32_t number = s ? inode_index_number(s->known, ino) : FILE_TABLE_NONE;
	const struct known_inode *i;
	const struct inode_note *note;

	if (number == FILE_TABLE_NONE || s->rows[number].mode == 0)
		return false;
	i = &s->rows[number];
	note = inode_index_note(s->known, ino);
	/* The time of its change is the noted one, or it would not be here. */
	*ret_st = (struct stat){
		.st_ino = ino,
		.st_uid = i->uid,
		.st_gid = i->gid,
		.st_blocks = i->blocks,
		.st_mode = i->mode,
		.st_nlink = i->nlink,
		.st_mtim = {.tv_sec = (int64_t)i->mtime_s + TIME_FIRST_S, .tv_nsec = i->mtime_ns   },
		.st_size = (off_t)i->size_bytes,
		.st_ctim = {.tv_sec = (int32_t)note->ctime_s,             .tv_nsec = note->ctime_ns},
	};
	return true;
}

void standby_inodes_free(struct standby_inodes *s)
{
	if (!s)
		return;
	free(s->rows);
	free(s);
}

void standby_inodes_freep(struct standby_inodes **s)
{
	standby_inodes_free(*s);
}
