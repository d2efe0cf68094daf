/*
 * standby_read: every file of the image, read from the disk. Contract: standby_check.h.
 *
 *     names, inodes    what is, without a doubt, the inode that was noted, and where it lies (standby_look)
 *     by name          the rest is opened and asked, and read if it is large or lies in pieces
 *     contents         the small ones, in the order in which they lie on the disk
 *
 * Nobody writes to the slot any more, so what is not as it was noted is what the disk has lost.
 *
 * Threads: the loops run over folders and files; each thread takes a place among the items for
 * itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/slot/disk_order.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/standby/standby_look.h"

struct reading {
	struct standby_look look;
	struct disk_item *items; /* what is read by its place */
	atomic_size_t n_items;
};

static void add_item(struct reading *x, uint32_t file, uint64_t at_bytes, uint64_t size_bytes)
{
	x->items[atomic_fetch_add(&x->n_items, 1)] = (struct disk_item){
		.at_bytes = at_bytes, .len_bytes = (uint32_t)size_bytes, .id = file};
}

static int not_as_left(const struct reading *x, size_t file, struct ota_err *err)
{
	char path[PATH_MAX];

	return standby_not_kept(
		err, standby_look_path(&x->look, file, path), "another state than it was left in");
}

/* ---- what is asked ---- */

/* Are the attributes, at which nobody has looked before, the image's, none of them extended? */
static int check_attributes(
	const struct reading *x, size_t file, int fd, const struct stat *st, struct ota_err *err)
{
	const struct standby_check *c = x->look.check;
	struct attrs_want want = attrs_of_file(c->table, (uint32_t)file);
	char path[PATH_MAX];
	int r;

	if (!c->mtimes[file].attrs_are_guessed)
		return 0;
	r = attrs_fd_is_plain(fd);
	if (r < 0)
		return standby_cannot_read(err, r, standby_look_path(&x->look, file, path));
	if (r > 0 && attrs_stat_holds(&want, st))
		return 0;
	return standby_not_kept(
		err, standby_look_path(&x->look, file, path), "other attributes than the image's");
}

/* Opens what must be as it was noted. */
static int open_noted(
	const struct reading *x, size_t file, int *ret_fd, uint64_t *ret_size, struct ota_err *err)
{
	char path[PATH_MAX];
	struct stat st;
	int fd = path_open(x->look.standby_fd, standby_look_path(&x->look, file, path),
		O_RDONLY | O_NOATIME | O_NONBLOCK, 0);

	if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR)
		return not_as_left(x, file, err);
	if (fd < 0)
		return standby_cannot_read(err, fd, path);
	*ret_fd = fd;
	if (fstat(fd, &st) < 0)
		return standby_cannot_read(err, -errno, path);
	*ret_size = (uint64_t)st.st_size;
	if (!inode_note_holds(&x->look.check->notes[file], &st))
		return not_as_left(x, file, err);
	return check_attributes(x, file, fd, &st, err);
}

static bool is_as_noted(
	struct standby_look *look, uint32_t file, const struct ext4_inode_seen *inode)
{
	const struct standby_check *c = look->check;
	struct attrs_want want = attrs_of_file(c->table, file);

	if (!inode->is_one_piece || inode->st.st_size > DISK_ORDER_FILE_MAX ||
		!inode_note_holds(&c->notes[file], &inode->st))
		return false;
	if (c->mtimes[file].attrs_are_guessed &&
		(!inode->is_plain || !attrs_stat_holds(&want, &inode->st)))
		return false;
	add_item(look->ctx, file, inode->at_bytes, (uint64_t)inode->st.st_size);
	return true;
}

/* Its time tells of every name that came, went or was another's, and of its attributes. */
static int check_folder(
	struct standby_look *look, size_t dir, const struct stat *st, struct ota_err *err)
{
	const struct standby_check *c = look->check;
	struct folder_note have = st ? folder_note_of(st) : (struct folder_note){0};
	char path[PATH_MAX] = "/";

	if (c->folders[dir].ino == 0 || folder_note_equal(&c->folders[dir], &have))
		return 0;
	if (dir < c->table->n_dirs)
		text_path(c->table->dirs[dir].path, path);
	return standby_not_kept(err, path, "another state than it was left in");
}

static struct text path_of_entry(const struct file_table *t, int kind, uint32_t i)
{
	return kind == ENTRY_DIR       ? t->dirs[i].path
	       : kind == ENTRY_SYMLINK ? t->symlinks[i].path
				       : t->files[i].path;
}

static int check_names(const struct reading *x, struct ota_err *err)
{
	const struct standby_check *c = x->look.check;
	const uint32_t counts[] = {[ENTRY_DIR] = c->table->n_dirs,
		[ENTRY_SYMLINK] = c->table->n_symlinks,
		[ENTRY_FILE] = c->table->n_files};
	char path[PATH_MAX];

	for (int kind = 0; kind < 3; kind++)
		for (uint32_t i = 0; i < counts[kind]; i++)
			if (c->names[kind][i] & SEEN_NAME && !(x->look.seen[kind][i] & SEEN_NAME))
				return standby_not_kept(err,
					text_path(path_of_entry(c->table, kind, i), path),
					"gone, or is something else");
	return 0;
}

/* ---- by name ---- */

static int compare(
	const struct reading *x, size_t file, const struct digest *have, struct ota_err *err)
{
	const struct file_table *t = x->look.check->table;
	char path[PATH_MAX];

	if (digest_equal(have, &t->contents[t->files[file].content].digest))
		return 0;
	return standby_not_kept(
		err, standby_look_path(&x->look, file, path), "other bytes than the image's");
}

static int read_by_name(const struct reading *x, size_t file, int fd, struct ota_err *err)
{
	struct digest have;
	int r = standby_look_digest(&x->look, file, fd, &have, err);

	return r < 0 ? r : compare(x, file, &have, err);
}

/* Small files are only asked where they lie, and read when all have been asked. */
static int find_or_read(void *ctx, size_t index, struct ota_err *err)
{
	struct reading *x = ctx;
	uint32_t file = x->look.order[index];
	AUTO_CLOSE int fd = -1;
	uint64_t at, size = 0;
	int r;

	if (standby_look_stopped(&x->look))
		return -ECANCELED;
	r = open_noted(x, file, &fd, &size, err);
	if (r < 0)
		return r;
	if (!disk_order_find(fd, size, &at))
		return read_by_name(x, file, fd, err);
	add_item(x, file, at, size);
	return 0;
}

/* ---- contents ---- */

static int check_item(
	void *ctx, const struct disk_item *item, const void *data, struct ota_err *err)
{
	const struct reading *x = ctx;
	AUTO_CLOSE int fd = -1;
	struct digest have;
	uint64_t size = 0;
	int r;

	if (standby_look_stopped(&x->look))
		return -ECANCELED;
	if (data) {
		digest_of(data, item->len_bytes, &have);
		return compare(x, item->id, &have, err);
	}
	/* The file system says more of what is wrong than the device. */
	r = open_noted(x, item->id, &fd, &size, err);
	return r < 0 ? r : read_by_name(x, item->id, fd, err);
}

/* ---- all of it ---- */

/* So that the disk is asked, and not what was read of it before. */
static void forget_what_was_read(const char *device)
{
	AUTO_CLOSE int fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int read_items(struct reading *x, const char *device, struct ota_err *err)
{
	AUTO_CLOSE int fd = disk_order_open(device);

	return fd < 0 ? standby_cannot_read(err, fd, device)
		      : disk_order_read(fd, x->items, x->n_items, check_item, x, err);
}

static void reading_done(struct reading *x)
{
	standby_look_done(&x->look);
	free(x->items);
}

int standby_check_read(const struct standby_check *c, int standby_fd, const char *device,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	CLEANUP(reading_done)
	struct reading x = {
		.look =
			{
                               .check = c,
                               .standby_fd = standby_fd,
                               .stop = stop,
                               .stop_ctx = stop_ctx,
                               .is_clear = is_as_noted,
                               .folder = check_folder,
			       },
		.items = malloc(((size_t)c->table->n_files + 1) * sizeof(*x.items)),
	};
	int r;

	x.look.ctx = &x;
	if (!x.items)
		return -ENOMEM;
	forget_what_was_read(device);
	r = standby_look_run(&x.look, device, err);
	if (r == 0)
		r = check_names(&x, err);
	if (r < 0)
		return r;
	log_info("Reading the standby slot back: %zu files by their places, %zu by their names",
		x.look.n_order - x.look.n_doubts, x.look.n_doubts);
	r = workers_run(x.look.n_doubts, 8, WORKERS_FOR_DISK, find_or_read, &x, err);
	standby_look_done(&x.look);
	return r < 0 ? r : read_items(&x, device, err);
}
