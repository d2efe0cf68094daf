/*
 * reclaim: keep the cache from filling the disk. Removes what was used least recently, and says whether there is room
 * for more.
 */
#pragma once

#include "common/base/err.h"
#include "otaproxy/cache_store.h"

/* Used space of the cache's file system, in percent of all, the blocks that are reserved for root included. */
struct reclaim_marks {
	unsigned soft_pct; /* above: entries go; at least RECLAIM_GAP_PCT */
	unsigned hard_pct; /* above: nothing may be written at all; not below soft_pct */
};

enum {
	RECLAIM_SOFT_PCT = 75,
	RECLAIM_HARD_PCT = 80,
	/* How far below soft a run gets. With nothing below, each new body would begin a run that looks at every
	   entry; two percent of a disk are many bodies. */
	RECLAIM_GAP_PCT = 2,
};
#define RECLAIM_MARKS_DEFAULT \
	((struct reclaim_marks){.soft_pct = RECLAIM_SOFT_PCT, .hard_pct = RECLAIM_HARD_PCT})

enum cache_room {
	ROOM_FREE,
	ROOM_TIGHT, /* above soft although all that could go went: what is fetched is not to be kept */
	ROOM_NONE, /* above hard */
};

/* Where the percentage comes from; tests have their own. 0 or -errno. */
struct reclaim_disk {
	int (*used_pct)(void *ctx, int dir_fd, unsigned *ret_pct);
	void *ctx;
};
extern const struct reclaim_disk
	reclaim_real_disk; /* statvfs: blocks or inodes, whichever is fuller */

/*
 * Above soft: remove foreign content, then entries of any boot, the least recently used first (those with a time in the
 * future before all others, since the clock has been set back after their last use), until soft minus
 * RECLAIM_GAP_PCT is reached or nothing is left. Unfinished files stay. What cannot be removed is passed over: the
 * answer in @ret_room is about the disk. Memory is bounded whatever the number of entries. Any thread may use the
 * store meanwhile, or do the same.
 *
 * 0, -ENOMEM, or what the file system says when it cannot be asked for its space or its names.
 */
int reclaim_run(const struct cache_store *store, const struct reclaim_marks *marks,
	const struct reclaim_disk *disk, enum cache_room *ret_room, struct ota_err *err);

/* Would the disk, with @size_bytes more on it, still be below the hard mark? Also if it cannot be asked: no. */
bool reclaim_would_fit(
	const struct cache_store *store, const struct reclaim_marks *marks, uint64_t size_bytes);
