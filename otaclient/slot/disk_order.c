/*
 * disk_order: one request for each run of neighbours. Contract: disk_order.h.
 *
 * Threads: each takes whole runs; there is a buffer for each thread, taken for one run and put back, under the lock.
 */
#include "otaclient/slot/disk_order.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/workers.h"

enum {
	ALIGN = 4096, /* what direct reading wants of place, length and memory, on any disk */
	RUN_MAX = 512 << 10, /* longer requests are hardly faster */
	GAP_MAX = 64 << 10,  /* what lies between two files is read with them rather than skipped */
	THREADS = 8,         /* requests in flight */
};

_Static_assert(DISK_ORDER_FILE_MAX + 2 * ALIGN <= RUN_MAX, "a file fits into a run");

/* Items from @first on that are read at once. */
struct span {
	size_t first, n;
};

struct reading {
	int device_fd;
	const struct disk_item *items;
	struct span *spans;
	disk_order_fn *fn;
	void *ctx;

	pthread_mutex_t lock;
	char *free[THREADS]; /* buffers of RUN_MAX */
	size_t n_free;
};

static char *take_buffer(struct reading *r)
{
	char *data;

	pthread_mutex_lock(&r->lock);
	data = r->free[--r->n_free];
	pthread_mutex_unlock(&r->lock);
	return data;
}

static void put_buffer(struct reading *r, char *data)
{
	pthread_mutex_lock(&r->lock);
	r->free[r->n_free++] = data;
	pthread_mutex_unlock(&r->lock);
}

bool disk_order_find(int fd, uint64_t size_bytes, uint64_t *ret_at_bytes)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u = {0};
	const struct fiemap_extent *e = u.map.fm_extents;

	u.map.fm_length = FIEMAP_MAX_OFFSET;
	u.map.fm_extent_count = 1;
	if (size_bytes == 0 || size_bytes > DISK_ORDER_FILE_MAX ||
		ioctl(fd, FS_IOC_FIEMAP, &u.map) < 0 || u.map.fm_mapped_extents != 1)
		return false;
	/* Of all that an extent may be, only the plain kind has the file's bytes at its place. */
	if (e->fe_flags != FIEMAP_EXTENT_LAST || e->fe_logical != 0 || e->fe_length < size_bytes)
		return false;
	*ret_at_bytes = e->fe_physical;
	return true;
}

static int compare_items(const void *a, const void *b)
{
	uint64_t x = ((const struct disk_item *)a)->at_bytes,
		 y = ((const struct disk_item *)b)->at_bytes;

	return x < y ? -1 : x > y;
}

static uint64_t start_of(const struct disk_item *item)
{
	return item->at_bytes / ALIGN * ALIGN;
}

static uint64_t end_of(const struct disk_item *item)
{
	return (item->at_bytes + item->len_bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t make_spans(const struct disk_item *items, size_t n_items, struct span *spans)
{
	size_t n = 0;
	uint64_t end = 0;

	for (size_t i = 0; i < n_items; i++) {
		struct span *s = &spans[n > 0 ? n - 1 : 0];

		if (n == 0 || items[i].at_bytes > end + GAP_MAX ||
			end_of(&items[i]) - start_of(&items[s->first]) > RUN_MAX) {
			s = &spans[n++];
			*s = (struct span){.first = i};
		}
		s->n++;
		if (s->n == 1 || end_of(&items[i]) > end)
			end = end_of(&items[i]);
	}
	return n;
}

/* All of it, but for what lies behind the end of a device whose last block is short. */
static ssize_t read_span(int fd, char *data, size_t len, uint64_t at)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, data + got, len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static int do_span(void *ctx, size_t index, struct ota_err *err)
{
	struct reading *r = ctx;
	const struct span *s = &r->spans[index];
	const struct disk_item *first = &r->items[s->first];
	uint64_t start = start_of(first), end = end_of(&first[s->n - 1]);
	char *data = take_buffer(r);
	ssize_t got;
	int result = 0;

	got = read_span(r->device_fd, data, (size_t)(end - start), start);
	for (size_t i = 0; result == 0 && i < s->n; i++) {
		const struct disk_item *item = &first[i];
		uint64_t offset = item->at_bytes - start;
		bool there = got >= 0 && offset + item->len_bytes <= (uint64_t)got;

		result = r->fn(r->ctx, item, there ? data + offset : NULL, err);
	}
	put_buffer(r, data);
	return result;
}

static int read_spans(struct reading *r, size_t n_spans, struct ota_err *err)
{
	size_t all_bytes = (size_t)THREADS * RUN_MAX;
	AUTO_FREE char *all = aligned_alloc(ALIGN, all_bytes);
	int result;

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < THREADS; i++)
		r->free[r->n_free++] = all + i * RUN_MAX;
	pthread_mutex_init(&r->lock, NULL);
	result = workers_run(n_spans, 1, THREADS, do_span, r, err);
	pthread_mutex_destroy(&r->lock);
	return result;
}

int disk_order_open(const char *device)
{
	int fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int disk_order_read(int device_fd, struct disk_item *items, size_t n_items, disk_order_fn *fn,
	void *ctx, struct ota_err *err)
{
	AUTO_FREE struct span *spans = malloc((n_items + 1) * sizeof(*spans));
	struct reading reading = {
		.device_fd = device_fd, .items = items, .spans = spans, .fn = fn, .ctx = ctx};

	if (!spans)
		return -ENOMEM;
	if (n_items > 0)
		qsort(items, n_items, sizeof(*items), compare_items);
	return read_spans(&reading, make_spans(items, n_items, spans), err);
}
