/*
 * standby_inodes: a sorted row for each inode that is known. Contract: standby_inodes.h.
 */
#include "otaclient/inventory/standby_inodes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "otaclient/slot/ext4_inodes.h"

/* Without what the index has, and what is the same of all. */
struct known_inode {
	uint32_t ino, uid, gid, blocks;
	uint16_t mode, nlink;
	uint32_t mtime_ns;
	int64_t mtime_s;
	uint64_t size_bytes;
};

struct standby_inodes {
	const struct inode_index *known;
	struct known_inode *rows; /* by their numbers */
	size_t n_rows, n_max;
};

static bool take_known(void *ctx, const struct ext4_inode_seen *inode)
{
	struct standby_inodes *s = ctx;
	const struct stat *st = &inode->st;

	if (s->n_rows == s->n_max)
		return false;
	if (inode_index_find(s->known, st) == FILE_TABLE_NONE || st->st_blocks > UINT32_MAX)
		return true;
	s->rows[s->n_rows++] = (struct known_inode){
		.ino = (uint32_t)st->st_ino,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.blocks = (uint32_t)st->st_blocks,
		.mode = (uint16_t)st->st_mode,
		.nlink = (uint16_t)st->st_nlink,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.mtime_s = st->st_mtim.tv_sec,
		.size_bytes = (uint64_t)st->st_size,
	};
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
	s->n_max = inode_index_count(known);
	s->rows = calloc(s->n_max + 1, sizeof(*s->rows));
	if (!s->rows)
		return -ENOMEM;
	r = ext4_inodes_read(device, take_known, stop, stop_ctx, s);
	if (r == 0)
		*ret_inodes = TAKE_PTR(s);
	return r == -EIO ? 0 : r;
}

static int compare_ino(const void *key, const void *row)
{
	uint64_t x = *(const uint64_t *)key, y = ((const struct known_inode *)row)->ino;

	return x < y ? -1 : x > y;
}

bool standby_inodes_find(const struct standby_inodes *s, uint64_t ino, struct stat *ret_st)
{
	const struct known_inode *i =
		s ? bsearch(&ino, s->rows, s->n_rows, sizeof(*s->rows), compare_ino) : NULL;
	const struct inode_note *note = i ? inode_index_note(s->known, ino) : NULL;

	if (!note)
		return false;
	/* The time of its change is the noted one, or it would not be here. */
	*ret_st = (struct stat){
		.st_ino = ino,
		.st_uid = i->uid,
		.st_gid = i->gid,
		.st_blocks = i->blocks,
		.st_mode = i->mode,
		.st_nlink = i->nlink,
		.st_mtim = {.tv_sec = i->mtime_s,             .tv_nsec = i->mtime_ns   },
		.st_size = (off_t)i->size_bytes,
		.st_ctim = {.tv_sec = (int32_t)note->ctime_s, .tv_nsec = note->ctime_ns},
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
