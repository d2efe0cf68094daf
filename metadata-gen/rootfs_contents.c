/*
 * rootfs_contents: hash and compress a folder's files in parallel. Contract: rootfs_contents.h.
 *
 * Large files come first, the largest at the front, so that no thread is left alone with one at the end.
 */
#include "metadata-gen/rootfs_contents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/workers.h"
#include "metadata-gen/hand_rack.h"
#include "metadata-gen/progress.h"
#include "metadata-gen/rootfs_select.h"

enum {
	LARGE_BYTES = 1 << 20,
};

struct item {
	struct rootfs_node *node;
	const char *path; /* one of its names */
	size_t order;     /* in the walk: files of one folder lie close together */
	bool hash_first;
};

struct reading {
	const struct rootfs_reading *how;
	struct item *items;
	size_t n_items;
	int root_fd;
	struct progress progress;
	struct hand_rack rack;
};

static int large_first(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	uint64_t xs = x->node->size_bytes >= LARGE_BYTES ? x->node->size_bytes : 0;
	uint64_t ys = y->node->size_bytes >= LARGE_BYTES ? y->node->size_bytes : 0;

	if (xs != ys)
		return xs > ys ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int open_quietly(int root_fd, const char *path)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
	int fd = openat(root_fd, path, flags | O_NOATIME);

	/* Only the owner and root may read without leaving a trace. */
	if (fd < 0 && errno == EPERM)
		fd = openat(root_fd, path, flags);
	return fd < 0 ? -errno : fd;
}

static bool is_same(const struct rootfs_node *node, const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_dev == node->dev && st->st_ino == node->ino &&
	       (uint64_t)st->st_size == node->size_bytes && st->st_mtim.tv_sec == node->mtime_sec &&
	       (uint32_t)st->st_mtim.tv_nsec == node->mtime_nsec;
}

static int read_item(
	struct reading *rd, const struct item *item, struct blob_hand *hand, struct ota_err *err)
{
	AUTO_CLOSE int fd = open_quietly(rd->root_fd, item->path + 1);
	struct stat st;
	int r;

	if (fd < 0)
		return ota_err_wrap(err, fd, "it cannot be opened");
	if (fstat(fd, &st) < 0 || !is_same(item->node, &st))
		return ota_err_set(
			err, -EAGAIN, OTA_E_UNSPECIFIC, "it changed while the tree was read");
	r = blob_take_file(
		hand, fd, item->node->size_bytes, item->hash_first, &item->node->blob, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || !is_same(item->node, &st))
		return ota_err_set(err, -EAGAIN, OTA_E_UNSPECIFIC, "it changed while it was read");
	progress_add(&rd->progress, 1, item->node->size_bytes);
	return 0;
}

static int read_index(void *ctx, size_t index, struct ota_err *err)
{
	struct reading *rd = ctx;
	const struct item *item = &rd->items[index];
	struct blob_hand *hand = hand_rack_take(&rd->rack);
	int r;

	if (!hand)
		return ota_err_no_memory(err, "hashing");
	r = read_item(rd, item, hand, err);
	hand_rack_put(&rd->rack, hand);
	return r < 0 ? ota_err_wrap(err, r, "Cannot take in %s", item->path) : 0;
}

static bool is_read(const struct reading *rd, const struct rootfs_entry *e)
{
	if (e->fate == FATE_LISTED)
		return e->node->kind == ROOTFS_FILE;
	return rd->how->served_by_name && rootfs_is_served_by_name(e);
}

/* One item for each object, whatever the number of its names. */
static int collect(struct reading *rd, const struct rootfs_tree *tree, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;

	rd->items = calloc(tree->n_entries + 1, sizeof(*rd->items));
	if (!rd->items)
		return -ENOMEM;
	for (size_t i = 0; i < tree->n_entries; i++) {
		const struct rootfs_entry *e = tree->entries[i];

		if (!is_read(rd, e))
			continue;
		if (e->node->first_path)
			continue;
		e->node->first_path = e->path;
		rd->items[rd->n_items] =
			(struct item){.node = e->node, .path = e->path, .order = rd->n_items};
		rd->n_items++;
		bytes += e->node->size_bytes;
	}
	*ret_bytes = bytes;
	return 0;
}

/* A file that may be a copy of another is hashed before it is compressed. */
static void mark_likely_copies(struct reading *rd)
{
	for (size_t i = 0; i < rd->n_items; i++) {
		uint64_t size = rd->items[i].node->size_bytes;
		bool twin = (i > 0 && rd->items[i - 1].node->size_bytes == size) ||
			    (i + 1 < rd->n_items && rd->items[i + 1].node->size_bytes == size);

		rd->items[i].hash_first = twin;
	}
}

int rootfs_contents_read(struct rootfs_tree *tree, int root_fd, const struct rootfs_reading *how,
	struct ota_err *err)
{
	struct reading rd = {.how = how, .root_fd = root_fd};
	uint64_t bytes;
	int r = collect(&rd, tree, &bytes);

	if (r < 0)
		return ota_err_no_memory(err, "the list of files");
	qsort(rd.items, rd.n_items, sizeof(*rd.items), large_first);
	mark_likely_copies(&rd);
	progress_start(&rd.progress, "Reading", rd.n_items, bytes);
	hand_rack_init(&rd.rack, how->store);
	r = workers_run(rd.n_items, 1, how->n_jobs, read_index, &rd, err);
	hand_rack_done(&rd.rack);
	progress_end(&rd.progress);
	free(rd.items);
	return r;
}
