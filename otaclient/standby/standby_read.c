/*
 * standby_read: every file of the image, read from the disk. Contract: standby_check.h.
 *
 *     names       which files have, under their name, the inode that was noted
 *     inodes      of these, what is as it was noted, and where it lies: by the tables of inodes
 *     by name     the rest is opened and asked, and read if it is large or lies in pieces
 *     contents    the small ones, in the order in which they lie on the disk
 *
 * What names and inodes say is believed only where it leaves no doubt; all else is looked at by its name.
 *
 * Threads: the loops run over folders and files; each thread writes what it has seen of its own
 * file, and takes a place among the items for itself.
 */
#include "otaclient/standby/standby_notes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/slot/disk_order.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/slot/ext4_inodes.h"

struct look {
	const struct standby_check *check;
	int standby_fd;
	inventory_stop_fn *stop;
	void *stop_ctx;

	uint8_t *seen;   /* one per file: its name leads to the inode that was noted */
	uint32_t *order; /* files, by their inodes; at the end, those to be looked at by name */
	size_t n_order, n_done, n_left;
	struct disk_item *items; /* what is read by its place */
	atomic_size_t n_items;
};

static const char *path_of(const struct look *l, size_t file, char buf[PATH_MAX])
{
	return text_path(l->check->table->files[file].path, buf);
}

static bool stopped(const struct look *l)
{
	return l->stop && l->stop(l->stop_ctx);
}

static void add_item(struct look *l, uint32_t file, uint64_t at_bytes, uint64_t size_bytes)
{
	l->items[atomic_fetch_add(&l->n_items, 1)] = (struct disk_item){
		.at_bytes = at_bytes, .len_bytes = (uint32_t)size_bytes, .id = file};
}

/* ---- is it what was noted? ---- */

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
		return standby_cannot_read(err, r, path_of(l, file, path));
	if (r > 0 && holds && attrs_stat_holds(&want, st))
		return 0;
	return ota_err_set(err, -EBADMSG, OTA_E_APPLY_OTAUPDATE_FAILED,
		"The standby slot does not keep what is written to it: %s has other "
		"attributes than the image's",
		path_of(l, file, path));
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
	int fd = path_open(
		l->standby_fd, path_of(l, file, path), O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	int r;

	if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR)
		return 1;
	if (fd < 0)
		return standby_cannot_read(err, fd, path);
	*ret_fd = fd;
	if (fstat(fd, &st) < 0)
		return standby_cannot_read(err, -errno, path);
	*ret_size = (uint64_t)st.st_size;
	r = check_attributes(l, file, fd, &st, err);
	if (r < 0)
		return r;
	return has_noted_bytes(l->check, file, &st) ? 0 : 1;
}

/* ---- names ---- */

static void see_name(struct look *l, const char *path, uint64_t ino)
{
	const struct standby_check *c = l->check;
	enum entry_kind kind;
	uint32_t file;

	if (file_table_find(c->table, path, strlen(path), &kind, &file) && kind == ENTRY_FILE &&
		standby_looks_at(c->table, file) && c->notes[file].ino == ino)
		l->seen[file] = true;
}

/* A folder that cannot be read shows when its files are looked at by name. */
static int see_folder(void *ctx, size_t index, struct ota_err *err)
{
	struct look *l = ctx;
	const struct file_table *t = l->check->table;
	AUTO_CLOSEDIR DIR *dir = NULL;
	char path[PATH_MAX] = "", name[PATH_MAX];
	const struct dirent *e;
	int fd;

	if (stopped(l))
		return -ECANCELED;
	if (index < t->n_dirs)
		text_path(t->dirs[index].path, path);
	fd = path_open(l->standby_fd, path, O_RDONLY | O_DIRECTORY, 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		closep(&fd);
		return 0;
	}
	while ((e = readdir(dir)))
		if (e->d_type == DT_REG && (size_t)snprintf(name, sizeof(name), "%s/%s", path,
						   e->d_name) < sizeof(name))
			see_name(l, name, e->d_ino);
	return 0;
}

/* ---- inodes ---- */

/* True: without a doubt the file is as it was noted, and its content is read by its place. */
static bool is_as_noted(struct look *l, uint32_t file, const struct ext4_inode_seen *inode)
{
	const struct standby_check *c = l->check;
	struct attrs_want want = attrs_of_file(c->table, file);

	if (!l->seen[file] || !inode->is_one_piece || inode->st.st_size > DISK_ORDER_FILE_MAX)
		return false;
	if (!c->mtimes[file].attrs_are_guessed)
		return has_noted_bytes(c, file, &inode->st);
	return inode_note_holds(&c->notes[file], &inode->st) && inode->is_plain &&
	       attrs_stat_holds(&want, &inode->st);
}

/* Inodes and files both come in the order of their numbers. */
static bool take_inode(void *ctx, const struct ext4_inode_seen *inode)
{
	struct look *l = ctx;

	for (; l->n_done < l->n_order; l->n_done++) {
		uint32_t file = l->order[l->n_done], ino = l->check->notes[file].ino;

		if (ino > inode->st.st_ino)
			break;
		if (ino == inode->st.st_ino && is_as_noted(l, file, inode))
			add_item(l, file, inode->at_bytes, (uint64_t)inode->st.st_size);
		else
			l->order[l->n_left++] = file;
	}
	return l->n_done < l->n_order && !stopped(l);
}

static int look_at_inodes(struct look *l, const char *device)
{
	int r = ext4_inodes_read(device, take_inode, l);

	if (r == -ENOMEM)
		return r;
	if (r < 0)
		log_info("The inodes of %s are looked at one by one", device);
	while (l->n_done < l->n_order)
		l->order[l->n_left++] = l->order[l->n_done++];
	return stopped(l) ? -ECANCELED : 0;
}

/* ---- by name ---- */

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
		path_of(l, file, path));
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
		return r == -ECANCELED ? r : standby_cannot_read(err, r, path_of(l, file, path));
	return compare(l, file, &have, err);
}

/* Small files are only asked where they lie, and read when all have been asked. */
static int find_or_read(void *ctx, size_t index, struct ota_err *err)
{
	struct look *l = ctx;
	uint32_t file = l->order[index];
	AUTO_CLOSE int fd = -1;
	uint64_t at, size = 0;
	int r;

	if (stopped(l))
		return -ECANCELED;
	r = open_noted(l, file, &fd, &size, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!disk_order_find(fd, size, &at))
		return read_by_name(l, file, fd, err);
	add_item(l, file, at, size);
	return 0;
}

/* ---- contents ---- */

static int check_item(
	void *ctx, const struct disk_item *item, const void *data, struct ota_err *err)
{
	const struct look *l = ctx;
	AUTO_CLOSE int fd = -1;
	struct digest have;
	uint64_t size = 0;
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

/* ---- all of it ---- */

/* Inodes in their order lie near each other, as a rule. */
static int compare_inodes(const void *a, const void *b, void *notes)
{
	uint32_t x = ((const struct inode_note *)notes)[*(const uint32_t *)a].ino,
		 y = ((const struct inode_note *)notes)[*(const uint32_t *)b].ino;

	return x < y ? -1 : x > y;
}

static void order_files(struct look *l)
{
	for (uint32_t i = 0; i < l->check->table->n_files; i++)
		if (standby_looks_at(l->check->table, i))
			l->order[l->n_order++] = i;
	qsort_r(l->order, l->n_order, sizeof(*l->order), compare_inodes, l->check->notes);
}

int standby_check_read(const struct standby_check *c, int standby_fd, const char *device,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	size_t n_max = (size_t)c->table->n_files + 1;
	AUTO_FREE uint8_t *seen = calloc(n_max, sizeof(*seen));
	AUTO_FREE uint32_t *order = malloc(n_max * sizeof(*order));
	AUTO_FREE struct disk_item *items = malloc(n_max * sizeof(*items));
	struct look look = {
		.check = c,
		.standby_fd = standby_fd,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.seen = seen,
		.order = order,
		.items = items,
	};
	int r;

	if (!seen || !order || !items)
		return -ENOMEM;
	order_files(&look);
	/* One more is the root. */
	r = workers_run((size_t)c->table->n_dirs + 1, 4, WORKERS_FOR_DISK, see_folder, &look, err);
	if (r == 0)
		r = look_at_inodes(&look, device);
	if (r == 0)
		log_info("Reading the standby slot back: %zu files by their places, %zu by their "
			 "names",
			look.n_order - look.n_left, look.n_left);
	if (r == 0)
		r = workers_run(look.n_left, 8, WORKERS_FOR_DISK, find_or_read, &look, err);
	free(TAKE_PTR(order));
	return r < 0 ? r : disk_order_read(device, items, look.n_items, check_item, &look, err);
}
