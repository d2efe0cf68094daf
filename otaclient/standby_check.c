/*
 * standby_check: every file of the image, read from the disk. Contract: standby_check.h.
 *
 * Threads: the loops run over files; each thread writes and reads its own file's note, and takes a
 * place among the items for itself.
 */
#include "otaclient/standby_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/disk_order.h"
#include "otaclient/inode_index.h"
#include "otaclient/standby_attrs.h"
#include "otaclient/standby_writer.h"

struct mtime_note {
	uint32_t s;
	uint32_t ns : 31;
	uint32_t attrs_are_guessed : 1; /* nobody has looked at them (inventory_whole) */
};

#define NSEC_BITS INT32_MAX /* what is written to 31 bits; nanoseconds have 30 */

struct standby_check {
	const struct file_table *table;
	/*
	 * One per file. Whoever changes it, or puts another in its place, changes the first; whoever
	 * changes more than owner and attributes, the second, too.
	 */
	struct inode_note *notes;
	struct mtime_note *mtimes;
	struct timespec since; /* the notes are of then, or a little later */
};

/* What one loop works with. */
struct look {
	const struct standby_check *check;
	int standby_fd;
	const struct inventory *inv; /* while noting */
	inventory_stop_fn *stop;
	void *stop_ctx;

	const uint32_t *order;   /* of reading: the files that are looked at */
	struct disk_item *items; /* of these, what is read by its place */
	atomic_size_t n_items;
};

static const char *path_of(const struct file_table *t, size_t file, char buf[PATH_MAX])
{
	return text_path(t->files[file].path, buf);
}

static int cannot_read(struct ota_err *err, int r, const char *path)
{
	return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
		"Cannot read %s back from the standby slot: %s", path, strerror(-r));
}

/* A group has one inode, and so is looked at once; an empty file has nothing to read. */
static bool is_looked_at(const struct file_table *t, size_t file)
{
	const struct file_entry *f = &t->files[file];

	return f->group == file && t->contents[f->content].size_bytes != 0;
}

static bool stopped(const struct look *l)
{
	return l->stop && l->stop(l->stop_ctx);
}

/* Nothing was done to it: it is what the last note says, and the last look will tell if it is not. */
static void note_again(const struct standby_check *c, size_t file, const struct inode_note *last)
{
	const struct entry_mtime *m = &c->table->mtimes[ENTRY_FILE][file];

	c->notes[file] = *last;
	c->mtimes[file] = (struct mtime_note){
		.s = (uint32_t)m->sec,
		.ns = m->nsec & NSEC_BITS,
		.attrs_are_guessed = true,
	};
}

static int note_file(void *ctx, size_t index, struct ota_err *err)
{
	const struct look *l = ctx;
	const struct file_table *t = l->check->table;
	AUTO_CLOSE int fd = -1;
	const struct inode_note *last;
	struct attrs_want want;
	char path[PATH_MAX];
	struct stat st;

	if (!is_looked_at(t, index))
		return 0;
	last = inventory_whole(l->inv, (uint32_t)index);
	if (last) {
		note_again(l->check, index, last);
		return 0;
	}
	if (stopped(l))
		return -ECANCELED;
	want = attrs_of_file(t, (uint32_t)index);
	fd = path_open(l->standby_fd, path_of(t, index, path), O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0)
		return cannot_read(err, fd < 0 ? fd : -errno, path);
	l->check->notes[index] = (struct inode_note){
		.ino = (uint32_t)st.st_ino,
		.ctime_s = (uint32_t)st.st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st.st_ctim.tv_nsec & NSEC_BITS,
		.is_plain = attrs_want_plain(&want),
	};
	l->check->mtimes[index] = (struct mtime_note){
		.s = (uint32_t)st.st_mtim.tv_sec,
		.ns = (uint32_t)st.st_mtim.tv_nsec & NSEC_BITS,
	};
	return 0;
}

/* Are the bytes still those that the image has? They are if only the owner or an attribute was changed since. */
static bool has_noted_bytes(const struct standby_check *c, size_t file, const struct stat *st)
{
	uint64_t size = c->table->contents[c->table->files[file].content].size_bytes;
	const struct mtime_note *m = &c->mtimes[file];

	if (!S_ISREG(st->st_mode) || (uint32_t)st->st_ino != c->notes[file].ino)
		return false;
	return inode_note_holds(&c->notes[file], st) ||
	       (m->s == (uint32_t)st->st_mtim.tv_sec && m->ns == (uint32_t)st->st_mtim.tv_nsec &&
		       (size == (uint64_t)st->st_size || size == CONTENT_SIZE_UNKNOWN));
}

static bool is_before(const struct timespec *t, const struct timespec *since)
{
	return t->tv_sec != since->tv_sec ? t->tv_sec < since->tv_sec : t->tv_nsec < since->tv_nsec;
}

/*
 * Are the attributes, at which nobody has looked before, the image's, none of them extended? Somebody who has changed
 * the inode has done so after the note; an older one that is not what was noted is another than it should be.
 */
static int check_attributes(
	const struct look *l, size_t file, int fd, const struct stat *st, struct ota_err *err)
{
	const struct standby_check *c = l->check;
	struct attrs_want want = attrs_of_file(c->table, (uint32_t)file);
	bool holds = inode_note_holds(&c->notes[file], st);
	char path[PATH_MAX];
	int r;

	if (!c->mtimes[file].attrs_are_guessed || (!holds && !is_before(&st->st_ctim, &c->since)))
		return 0;
	r = attrs_fd_is_plain(fd);
	if (r < 0)
		return cannot_read(err, r, path_of(c->table, file, path));
	if (r > 0 && holds && attrs_stat_holds(&want, st))
		return 0;
	return ota_err_set(err, -EBADMSG, OTA_E_APPLY_OTAUPDATE_FAILED,
		"The standby slot does not keep what is written to it: %s has other "
		"attributes than the image's",
		path_of(c->table, file, path));
}

/*
 * Is it still what was noted? Opens it then. Gone, or a link now: somebody has changed it, for the
 * file system as such is whole. 0: it is to be read; 1: it is none of the image's any more.
 */
static int open_noted(
	const struct look *l, size_t file, int *ret_fd, uint64_t *ret_size, struct ota_err *err)
{
	char path[PATH_MAX];
	struct stat st;
	int fd = path_open(l->standby_fd, path_of(l->check->table, file, path),
		O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	int r;

	if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR)
		return 1;
	if (fd < 0)
		return cannot_read(err, fd, path);
	*ret_fd = fd;
	if (fstat(fd, &st) < 0)
		return cannot_read(err, -errno, path);
	*ret_size = (uint64_t)st.st_size;
	r = check_attributes(l, file, fd, &st, err);
	if (r < 0)
		return r;
	return has_noted_bytes(l->check, file, &st) ? 0 : 1;
}

static int compare(
	const struct look *l, size_t file, const struct digest *have, struct ota_err *err)
{
	const struct file_table *t = l->check->table;
	char path[PATH_MAX];

	if (digest_equal(have, &t->contents[t->files[file].content].digest))
		return 0;
	return ota_err_set(err, -EBADMSG, OTA_E_APPLY_OTAUPDATE_FAILED,
		"The standby slot does not keep what is written to it: %s has other bytes "
		"than the image's",
		path_of(t, file, path));
}

static int read_by_name(const struct look *l, size_t file, int fd, struct ota_err *err)
{
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	char path[PATH_MAX];
	struct digest have;
	int r;

	if (!hash)
		return -ENOMEM;
	r = digest_of_fd_unless(hash, fd, l->stop, l->stop_ctx, &have, NULL);
	if (r < 0)
		return r == -ECANCELED ? r
				       : cannot_read(err, r, path_of(l->check->table, file, path));
	return compare(l, file, &have, err);
}

/* Small files are only asked where they lie, and read when all have been asked. */
static int find_or_read(void *ctx, size_t index, struct ota_err *err)
{
	struct look *l = ctx;
	uint32_t file = l->order[index];
	AUTO_CLOSE int fd = -1;
	uint64_t at, size;
	int r;

	if (stopped(l))
		return -ECANCELED;
	r = open_noted(l, file, &fd, &size, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!disk_order_find(fd, size, &at))
		return read_by_name(l, file, fd, err);
	l->items[atomic_fetch_add(&l->n_items, 1)] =
		(struct disk_item){.at_bytes = at, .len_bytes = (uint32_t)size, .id = file};
	return 0;
}

static int check_item(
	void *ctx, const struct disk_item *item, const void *data, struct ota_err *err)
{
	const struct look *l = ctx;
	AUTO_CLOSE int fd = -1;
	struct digest have;
	uint64_t size;
	int r;

	if (stopped(l))
		return -ECANCELED;
	if (data) {
		digest_of(data, item->len_bytes, &have);
		return compare(l, item->id, &have, err);
	}
	/* The file system says more of what is wrong than the device. */
	r = open_noted(l, item->id, &fd, &size, err);
	if (r == 0)
		r = read_by_name(l, item->id, fd, err);
	return r < 0 ? r : 0;
}

/* Inodes in their order lie near each other, as a rule. */
static int compare_inodes(const void *a, const void *b, void *notes)
{
	uint32_t x = ((const struct inode_note *)notes)[*(const uint32_t *)a].ino,
		 y = ((const struct inode_note *)notes)[*(const uint32_t *)b].ino;

	return x < y ? -1 : x > y;
}

static size_t order_files(const struct standby_check *c, uint32_t *order)
{
	size_t n = 0;

	for (uint32_t i = 0; i < c->table->n_files; i++)
		if (is_looked_at(c->table, i))
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), compare_inodes, c->notes);
	return n;
}

int standby_check_note(const struct file_table *table, const struct inventory *inv, int standby_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct standby_check **ret_check,
	struct ota_err *err)
{
	struct standby_check *c = calloc(1, sizeof(*c));
	struct look look = {
		.check = c,
		.standby_fd = standby_fd,
		.inv = inv,
		.stop = stop,
		.stop_ctx = stop_ctx,
	};
	int r = -ENOMEM;

	if (c) {
		c->table = table;
		c->notes = calloc((size_t)table->n_files + 1, sizeof(*c->notes));
		c->mtimes = calloc((size_t)table->n_files + 1, sizeof(*c->mtimes));
		clock_await_file_time(&c->since);
	}
	if (c && c->notes && c->mtimes)
		r = workers_run(table->n_files, 64, 4, note_file, &look, err);
	if (r < 0) {
		standby_check_free(c);
		return r;
	}
	*ret_check = c;
	return 0;
}

int standby_check_save(const struct standby_check *c, int standby_fd, struct ota_err *err)
{
	AUTO_CLOSE int meta_fd =
		path_open(standby_fd, STANDBY_META_NAME, O_RDONLY | O_DIRECTORY, 0);
	int r = meta_fd < 0 ? meta_fd : inode_index_save(meta_fd, c->table, c->notes, &c->since);

	/* No room; or a list of the image has the name. The next update does without. */
	if (r == -ENOSPC || r == -EEXIST) {
		log_info("What the inodes hold is not noted in /%s: %s", STANDBY_META_NAME,
			strerror(-r));
		return 0;
	}
	return r < 0 ? ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
			       "Cannot note in /%s what the inodes hold: %s", STANDBY_META_NAME,
			       strerror(-r))
		     : 0;
}

int standby_check_read(const struct standby_check *c, int standby_fd, const char *device,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	size_t n_max = (size_t)c->table->n_files + 1;
	AUTO_FREE uint32_t *order = malloc(n_max * sizeof(*order));
	AUTO_FREE struct disk_item *items = malloc(n_max * sizeof(*items));
	struct look look = {
		.check = c,
		.standby_fd = standby_fd,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.order = order,
		.items = items,
	};
	int r;

	if (!order || !items)
		return -ENOMEM;
	r = workers_run(order_files(c, order), 8, WORKERS_FOR_DISK, find_or_read, &look, err);
	free(TAKE_PTR(order));
	return r < 0 ? r : disk_order_read(device, items, look.n_items, check_item, &look, err);
}

void standby_check_free(struct standby_check *c)
{
	if (!c)
		return;
	free(c->notes);
	free(c->mtimes);
	free(c);
}
