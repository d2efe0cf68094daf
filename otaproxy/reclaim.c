/*
 * reclaim: from the marks to the files that go. Contract: reclaim.h.
 *
 * In rounds: one pass over all names keeps the BATCH_ENTRIES least recently used in a heap with the newest of them on
 * top; those are removed, oldest first, with a look at the disk after each; then the next pass.
 *
 * An entry that a thread has open gives its space back when it is closed; having been found just now, it is among the
 * last to go.
 */
#include "otaproxy/reclaim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaproxy/cache_parts.h"

enum {
	BATCH_ENTRIES = 4096, /* some 250 KB; a hundred thousand entries are gone after 25 passes */
};

struct candidate {
	bool is_past; /* false: the clock has been set back since, so it is older than all that has a time */
	struct timespec atime;
	unsigned folder;
	struct cache_key key;
};

struct sweep {
	const struct cache_store *store;
	const struct reclaim_disk *disk;
	unsigned target_pct;
	int64_t now_s;           /* with a margin: what is later is in the future */
	unsigned folder;         /* that is being read */
	struct candidate *batch; /* while reading a max-heap by age: the first is the newest */
	size_t n_batch;
};

/* A file system without blocks, or without inodes, is one without a limit to them. */
static unsigned share_used_pct(fsblkcnt_t total, fsblkcnt_t free)
{
	return total > 0 ? (unsigned)((total - MIN_OF(free, total)) * 100 / total) : 0;
}

/* Many small files use up a disk's inodes before its blocks: whichever there is less of counts. */
static int statvfs_used_pct(void *ctx, int dir_fd, unsigned *ret_pct)
{
	struct statvfs fs;

	if (fstatvfs(dir_fd, &fs) < 0)
		return -errno;
	*ret_pct = MAX_OF(
		share_used_pct(fs.f_blocks, fs.f_bfree), share_used_pct(fs.f_files, fs.f_ffree));
	return 0;
}

const struct reclaim_disk reclaim_real_disk = {.used_pct = statvfs_used_pct};

static int used_pct(const struct sweep *s, unsigned *ret_pct)
{
	return s->disk->used_pct(s->disk->ctx, s->store->dir_fd, ret_pct);
}

/* 1: the target is reached; 0: not yet; or -errno. */
static int is_enough(const struct sweep *s)
{
	unsigned pct;
	int r = used_pct(s, &pct);

	return r < 0 ? r : pct <= s->target_pct;
}

static int visit_foreign(void *ctx, int dir_fd, const char *name)
{
	folder_remove(dir_fd, name);
	return is_enough(ctx);
}

static int compare_age(const void *a, const void *b)
{
	const struct timespec *x = &((const struct candidate *)a)->atime;
	const struct timespec *y = &((const struct candidate *)b)->atime;
	bool x_past = ((const struct candidate *)a)->is_past;

	if (x_past != ((const struct candidate *)b)->is_past)
		return x_past ? 1 : -1;
	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

static void swap(struct candidate *a, struct candidate *b)
{
	struct candidate c = *a;

	*a = *b;
	*b = c;
}

/* Put @c into the heap; if it is full, in the newest one's stead. */
static void heap_offer(struct candidate *heap, size_t *n, const struct candidate *c)
{
	size_t at;

	if (*n < BATCH_ENTRIES) {
		heap[at = (*n)++] = *c;
		for (; at > 0 && compare_age(&heap[at], &heap[(at - 1) / 2]) > 0; at = (at - 1) / 2)
			swap(&heap[at], &heap[(at - 1) / 2]);
		return;
	}
	if (compare_age(c, &heap[0]) >= 0)
		return;
	heap[at = 0] = *c;
	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < *n && compare_age(&heap[child + 1], &heap[child]) > 0)
			child++;
		if (child >= *n || compare_age(&heap[child], &heap[at]) <= 0)
			return;
		swap(&heap[child], &heap[at]);
		at = child;
	}
}

static int visit_entry(void *ctx, int dir_fd, const char *name)
{
	struct sweep *s = ctx;
	struct candidate c = {.folder = s->folder};
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || cache_key_from_name(name, &c.key) < 0) {
		folder_remove(dir_fd, name); /* nothing that would ever be served */
		return 0;
	}
	c.atime = st.st_atim;
	c.is_past = st.st_atim.tv_sec <= s->now_s;
	heap_offer(s->batch, &s->n_batch, &c);
	return 0;
}

/* Fill the batch with the oldest of all entries, in order of age. */
static int collect(struct sweep *s)
{
	s->n_batch = 0;
	s->now_s = clock_unix_s() + CACHE_ATIME_RENEW_S;
	for (s->folder = 0; s->folder < s->store->n_folders; s->folder++) {
		int r = folder_each(s->store->folders[s->folder].fd, visit_entry, s);

		if (r < 0 && r != -ENOENT) /* an older boot's may have been removed as a whole */
			return r;
	}
	qsort(s->batch, s->n_batch, sizeof(*s->batch), compare_age);
	return 0;
}

/* Remove the batch from its start. 1: enough; 0: not yet, @ret_n_removed of them went; or -errno. */
static int remove_batch(struct sweep *s, size_t *ret_n_removed)
{
	size_t n_removed = 0;

	for (size_t i = 0; i < s->n_batch; i++) {
		const struct candidate *c = &s->batch[i];
		char name[CACHE_NAME_MAX];
		int r;

		cache_key_name(&c->key, name);
		if (unlinkat(s->store->folders[c->folder].fd, name, 0) < 0)
			continue;
		n_removed++;
		r = is_enough(s);
		if (r != 0)
			return r;
	}
	*ret_n_removed = n_removed;
	return 0;
}

static int sweep_entries(struct sweep *s)
{
	AUTO_FREE struct candidate *batch = calloc(BATCH_ENTRIES, sizeof(*batch));
	size_t n_removed;
	int r;

	if (!batch)
		return -ENOMEM;
	s->batch = batch;
	do {
		n_removed = 0;
		r = collect(s);
		if (r == 0)
			r = is_enough(s); /* what was no entry may have been it */
		if (r == 0)
			r = remove_batch(s, &n_removed);
		/* If nothing of a full batch could be removed, the next pass would find the same. */
	} while (r == 0 && s->n_batch == BATCH_ENTRIES && n_removed > 0);
	s->batch = NULL;
	return r;
}

int reclaim_run(const struct cache_store *store, const struct reclaim_marks *marks,
	const struct reclaim_disk *disk, enum cache_room *ret_room, struct ota_err *err)
{
	struct sweep sweep = {.store = store, .disk = disk};
	unsigned pct = 0;
	int r;

	assert(marks->soft_pct >= RECLAIM_GAP_PCT && marks->hard_pct >= marks->soft_pct);
	sweep.target_pct = marks->soft_pct - RECLAIM_GAP_PCT;
	r = used_pct(&sweep, &pct);
	if (r == 0 && pct > marks->soft_pct) {
		r = cache_foreign_each(store, visit_foreign, &sweep);
		if (r == 0)
			r = sweep_entries(&sweep);
		if (r >= 0)
			r = used_pct(&sweep, &pct);
	}
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot make room in the cache %s: %s",
			store->dir, strerror(-r));
	*ret_room = pct > marks->hard_pct   ? ROOM_NONE
		    : pct > marks->soft_pct ? ROOM_TIGHT
					    : ROOM_FREE;
	return 0;
}

bool reclaim_would_fit(
	const struct cache_store *store, const struct reclaim_marks *marks, uint64_t size_bytes)
{
	struct statvfs fs;
	uint64_t blocks;

	if (fstatvfs(store->dir_fd, &fs) < 0)
		return false;
	if (fs.f_blocks == 0)
		return true;
	blocks = size_bytes / MAX_OF(fs.f_frsize, 1ul) + 1;
	return blocks < fs.f_bavail &&
	       share_used_pct(fs.f_blocks, fs.f_bfree - blocks) <= marks->hard_pct;
}
