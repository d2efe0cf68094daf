/*
 * standby_place: folders, links and files, and their attributes. Contract: standby_writer.h.
 *
 * Threads: the group that takes the last share of a content may rename the store's inode away; the
 * others copy from a file descriptor that they opened before giving up their share, so it cannot
 * vanish under them.
 */
#include "otaclient/standby/standby_work.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/slot/file_copy.h"

static int place_dirs(struct standby_writer *w, struct ota_err *err)
{
	const struct file_table *t = w->c.table;
	char path[PATH_MAX];

	for (uint32_t i = 0; i < t->n_dirs; i++) {
		AUTO_CLOSE int parent = -1;
		const char *name;

		if (standby_stopped(w))
			return -ECANCELED;
		text_path(t->dirs[i].path, path);
		parent = path_open_parent(w->c.standby_fd, path, &name);
		if (parent < 0)
			return standby_error(err, parent, "open the folder of", path);
		if (mkdirat(parent, name, 0700) < 0) {
			if (errno == EEXIST)
				continue; /* a real, unlocked folder: prune left no other, or a copy has made it */
			return standby_error(err, -errno, "make the folder", path);
		}
	}
	return 0;
}

static int place_symlink(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	const struct symlink_entry *s = &w->c.table->symlinks[index];
	struct attrs_want want = {
		.table = w->c.table,
		.kind = ENTRY_SYMLINK,
		.index = (uint32_t)index,
		.uid = s->uid,
		.gid = s->gid,
	};
	char path[PATH_MAX], target[PATH_MAX];
	AUTO_CLOSE int parent = -1;
	const char *name;

	if (standby_stopped(w))
		return -ECANCELED;
	text_path(s->path, path);
	if (s->target.len >= sizeof(target))
		return standby_error(err, -ENAMETOOLONG, "make the link", path);
	text_path(s->target, target);
	parent = path_open_parent(w->c.standby_fd, path, &name);
	if (parent < 0)
		return standby_error(err, parent, "open the folder of", path);
	if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
		return standby_error(err, -errno, "make the link", path);
	return attrs_apply_symlink(parent, name, &want, path, err);
}

/*
 * Bring an inode with the content for @file to @name: the store's own for the last group that wants
 * it, a copy for the others.
 */
static int place_from_store(struct standby_writer *w, uint32_t file, int parent, const char *name,
	const char *path, struct ota_err *err)
{
	uint32_t content = w->c.table->files[file].content;
	char hex[DIGEST_HEX_MAX], tmp[IO_TMP_NAME_MAX];
	AUTO_CLOSE int src_fd = -1;
	AUTO_CLOSE int fd = -1;
	const char *from = hex;
	uint64_t bytes = 0;
	bool last;
	int r;

	digest_to_hex(&w->c.table->contents[content].digest, hex);
	src_fd = openat(w->store_fd, hex, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (src_fd < 0)
		return standby_error(err, -errno, "find the content of", path);
	last = atomic_fetch_sub(&w->shares[content], 1) == 1 &&
	       w->c.plan->actions[content] != PLAN_REPEAT;
	if (!last) {
		from = tmp;
		fd = standby_make_tmp(w, tmp);
		if (fd < 0)
			return standby_error(err, fd, "make", path);
		r = file_copy(
			&(struct file_copy){
				.src_fd = src_fd,
				.dst_fd = fd,
				.max_bytes = UINT64_MAX,
				.reserve_bytes = standby_content_size(w, content),
				.stop = w->c.stop,
				.stop_ctx = w->c.stop_ctx,
			},
			&bytes);
		if (r < 0) {
			unlinkat(w->store_fd, tmp, 0);
			return standby_error(err, r == -EPIPE ? -EIO : r, "make", path);
		}
		atomic_fetch_add(&w->counts.written_bytes, bytes);
		standby_count(w, 1, bytes);
	}
	r = standby_apply_file(w, file, last ? src_fd : fd, path, err);
	if (r < 0)
		return r;
	if (renameat(w->store_fd, from, parent, name) < 0)
		return standby_error(err, -errno, "put in place", path);
	return standby_note_made(w, file, last ? src_fd : fd, path, err);
}

static int place_empty(struct standby_writer *w, uint32_t file, int parent, const char *name,
	const char *path, struct ota_err *err)
{
	AUTO_CLOSE int fd =
		openat(parent, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return standby_error(err, -errno, "make", path);
	standby_count(w, 1, 0);
	return standby_apply_file(w, file, fd, path, err);
}

/* Pass 1: every group gets its inode, under a kept name or that of its first file. */
static int place_group(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	const struct file_table *t = w->c.table;
	uint32_t file = (uint32_t)index;
	const struct file_entry *f = &t->files[file];
	AUTO_CLOSE int parent = -1;
	AUTO_CLOSE int fd = -1;
	char path[PATH_MAX];
	const char *name;
	int r;

	if (f->group != file || standby_is_placed(w, file) || inventory_whole(w->c.inv, file))
		return 0;
	if (standby_stopped(w))
		return -ECANCELED;
	r = io_point("place: a file");
	if (r < 0)
		return r;
	if (w->c.inv->anchor[file] != FILE_TABLE_NONE)
		file = w->c.inv->anchor[file];
	text_path(t->files[file].path, path);
	parent = path_open_parent(w->c.standby_fd, path, &name);
	if (parent < 0)
		return standby_error(err, parent, "open the folder of", path);
	if (w->c.inv->kept_ino[file]) {
		fd = openat(
			parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME);
		if (fd < 0)
			return standby_error(err, -errno, "open", path);
		r = standby_apply_file(w, file, fd, path, err);
		/* Of one that is repeated the store still has a name, and to take that off changes it. */
		if (r == 0 && w->c.plan->actions[f->content] != PLAN_REPEAT)
			r = standby_note_made(w, file, fd, path, err);
		return r;
	}
	if (t->contents[f->content].size_bytes == 0)
		return place_empty(w, file, parent, name, path, err);
	return place_from_store(w, file, parent, name, path, err);
}

/* Pass 2: the further names of each group. */
static int place_link(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	const struct file_table *t = w->c.table;
	const struct file_entry *f = &t->files[index];
	AUTO_CLOSE int parent = -1;
	AUTO_CLOSE int from_parent = -1;
	char path[PATH_MAX], from[PATH_MAX];
	const char *name, *from_name;
	uint32_t anchor;

	anchor = w->c.inv->anchor[f->group] != FILE_TABLE_NONE ? w->c.inv->anchor[f->group]
							       : f->group;
	if (anchor == index || w->c.inv->kept_ino[index])
		return 0;
	if (standby_stopped(w))
		return -ECANCELED;
	text_path(f->path, path);
	text_path(t->files[anchor].path, from);
	parent = path_open_parent(w->c.standby_fd, path, &name);
	from_parent = path_open_parent(w->c.standby_fd, from, &from_name);
	if (parent < 0 || from_parent < 0)
		return standby_error(err, MIN_OF(parent, from_parent), "open the folder of", path);
	if (linkat(from_parent, from_name, parent, name, 0) < 0)
		return standby_error(err, -errno, "make the further name", path);
	standby_count(w, 1, standby_content_size(w, f->content));
	return 0;
}

/* What the format may leave out although no system starts without it. */
static const struct {
	const char *path;
	uint16_t mode;
} needed_dirs[] = {
	{"/dev",  0755 },
	{"/proc", 0755 },
	{"/sys",  0755 },
	{"/run",  0755 },
	{"/tmp",  01777},
};

/* Not of the image, but e2fsck calls a file system without it damaged. */
static int place_lost_and_found(struct standby_writer *w, struct ota_err *err)
{
	if (mkdirat(w->c.standby_fd, "lost+found", 0700) < 0 && errno != EEXIST)
		return standby_error(err, -errno, "make the folder", "/lost+found");
	return 0;
}

static int place_needed_dirs(struct standby_writer *w, struct ota_err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed_dirs); i++) {
		const char *path = needed_dirs[i].path;
		char sentence[128];
		enum entry_kind kind;
		uint32_t index;

		/* Listed in the image (also as a link): then it is there, or will be. */
		if (file_table_find(w->c.table, path, strlen(path), &kind, &index))
			continue;
		if (mkdirat(w->c.standby_fd, path + 1, 0700) < 0 ||
			fchmodat(w->c.standby_fd, path + 1, needed_dirs[i].mode, 0) < 0)
			return standby_error(err, -errno, "make the folder", path);
		snprintf(sentence, sizeof(sentence),
			"The image has no %s, without which no system starts; it was made", path);
		if (w->c.note)
			w->c.note(w->c.stop_ctx, sentence);
	}
	return 0;
}

int standby_place(struct standby_writer *w, struct ota_err *err)
{
	const struct file_table *t = w->c.table;
	int r;

	for (uint32_t i = 0; i < t->n_contents; i++)
		atomic_store(&w->shares[i], w->c.plan->takers[i]);
	r = place_dirs(w, err);
	if (r == 0)
		r = place_needed_dirs(w, err);
	if (r == 0)
		r = place_lost_and_found(w, err);
	if (r == 0)
		r = workers_run(t->n_symlinks, 64, 4, place_symlink, w, err);
	if (r == 0)
		r = workers_run(t->n_files, 32, WORKERS_FOR_DISK, place_group, w, err);
	if (r == 0)
		r = workers_run(t->n_files, 64, 4, place_link, w, err);
	return r;
}

/* Nothing comes or goes in any of them any more, so that their order does not matter. The last is the root. */
static int finish_dir(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	const struct file_table *t = w->c.table;
	struct attrs_want want = {
		.table = t, .kind = ENTRY_DIR, .index = FILE_TABLE_NONE, .mode = 0755};
	char path[PATH_MAX] = "/";
	AUTO_CLOSE int fd = -1;

	if (standby_stopped(w))
		return -ECANCELED;
	if (index < t->n_dirs) {
		const struct dir_entry *d = &t->dirs[index];

		text_path(d->path, path);
		want.index = (uint32_t)index;
		want.uid = d->uid;
		want.gid = d->gid;
		want.mode = d->mode;
	}
	fd = path_open(w->c.standby_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return standby_error(err, fd, "open the folder", path);
	return attrs_apply_fd(fd, &want, path, err);
}

int standby_finish_dirs(struct standby_writer *w, struct ota_err *err)
{
	return workers_run((size_t)w->c.table->n_dirs + 1, 64, 4, finish_dir, w, err);
}
