/*
 * standby_writer: harvest, copy, prune, place. Contract: standby_writer.h.
 *
 * Threads: each phase is a parallel loop over contents, entries or directories and ends before the
 * next begins. Shared within a phase: the counters and, per content, how many link groups still
 * want it (atomics). The group that takes the last share may rename the store's inode away; the
 * others copy from a file descriptor that they opened before giving up their share, so it cannot
 * vanish under them.
 */
#include "otaclient/standby_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "common/crypto/digest.h"
#include "otaclient/file_copy.h"
#include "otaclient/standby_attrs.h"
#include "otaclient/tree_walk.h"

struct standby_writer {
	struct writer_config c;
	int store_fd;
	atomic_uint *shares; /* per content: groups that still want it while placing */
	struct {
		atomic_uint_fast64_t processed_files, processed_bytes, removed_entries,
			written_bytes;
	} counts;
};

/* ---- opening ------------------------------------------------------------------------------------
 */

static int open_store(int standby_fd, struct ota_err *err)
{
	struct stat st;
	int fd, r = 0;

	/* Whatever stands in the store's place that is no directory has no business there. */
	if (fstatat(standby_fd, STANDBY_STORE_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		!S_ISDIR(st.st_mode))
		r = standby_remove_tree(standby_fd, STANDBY_STORE_NAME, err);
	if (r < 0)
		return r;
	if (mkdirat(standby_fd, STANDBY_STORE_NAME, 0700) < 0 && errno != EEXIST)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot make /%s on the standby slot: %s", STANDBY_STORE_NAME,
			strerror(errno));
	fd = path_open(standby_fd, STANDBY_STORE_NAME, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return ota_err_set(err, fd, OTA_E_UNSPECIFIC,
			"Cannot open /%s on the standby slot: %s", STANDBY_STORE_NAME,
			strerror(-fd));
	r = attrs_unlock_fd(fd);
	if (r == 0 && (fchown(fd, 0, 0) < 0 || fchmod(fd, 0700) < 0))
		r = -errno;
	if (r < 0) {
		closep(&fd);
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot use /%s on the standby slot: %s", STANDBY_STORE_NAME, strerror(-r));
	}
	return fd;
}

static int make_room(struct standby_writer *w, struct ota_err *err);

int standby_writer_open(
	const struct writer_config *config, struct standby_writer **ret_writer, struct ota_err *err)
{
	AUTO_STANDBY_WRITER struct standby_writer *w = calloc(1, sizeof(*w));
	AUTO_CLOSE int root_fd = -1;
	int r;

	if (!w)
		return -ENOMEM;
	w->c = *config;
	w->store_fd = -1;
	w->shares = calloc((size_t)config->table->n_contents + 1, sizeof(*w->shares));
	if (!w->shares)
		return -ENOMEM;
	/* The root itself may be immutable or carry a default ACL. */
	root_fd = path_open(config->standby_fd, "", O_RDONLY | O_DIRECTORY, 0);
	r = root_fd < 0 ? root_fd : attrs_unlock_fd(root_fd);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot unlock the root of the standby slot: %s", strerror(-r));
	w->store_fd = open_store(config->standby_fd, err);
	if (w->store_fd == -ENOSPC) {
		r = make_room(w, err);
		if (r < 0)
			return r;
		w->store_fd = open_store(config->standby_fd, err);
	}
	if (w->store_fd < 0)
		return w->store_fd;
	*ret_writer = TAKE_PTR(w);
	return 0;
}

void standby_writer_free(struct standby_writer *w)
{
	if (!w)
		return;
	closep(&w->store_fd);
	free(w->shares);
	free(w);
}

void standby_writer_freep(struct standby_writer **w)
{
	standby_writer_free(*w);
}

void standby_writer_counts(const struct standby_writer *w, struct writer_counts *ret_counts)
{
	*ret_counts = (struct writer_counts){
		.processed_files = atomic_load(&w->counts.processed_files),
		.processed_bytes = atomic_load(&w->counts.processed_bytes),
		.removed_entries = atomic_load(&w->counts.removed_entries),
		.written_bytes = atomic_load(&w->counts.written_bytes),
	};
}

int standby_writer_store_fd(const struct standby_writer *w)
{
	return w->store_fd;
}

/* ---- small helpers ------------------------------------------------------------------------------
 */

static bool stopped(const struct standby_writer *w)
{
	return w->c.stop && w->c.stop(w->c.stop_ctx);
}

static void count_processed(struct standby_writer *w, uint64_t files, uint64_t bytes)
{
	atomic_fetch_add(&w->counts.processed_files, files);
	atomic_fetch_add(&w->counts.processed_bytes, bytes);
}

static uint64_t content_size(const struct standby_writer *w, uint32_t content)
{
	uint64_t size = w->c.table->contents[content].size_bytes;

	return size == CONTENT_SIZE_UNKNOWN ? 0 : size;
}

static int apply_error(struct ota_err *err, int r, const char *what, const char *path)
{
	if (r == -ENOSPC)
		return ota_err_set(err, r, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot %s %s: the standby slot is full", what, path);
	return ota_err_set(
		err, r, OTA_E_APPLY_OTAUPDATE_FAILED, "Cannot %s %s: %s", what, path, strerror(-r));
}

/* ---- removing -----------------------------------------------------------------------------------
 */

static void unlock_entry(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		attrs_unlock_fd(fd);
}

static int remove_entry(int dir_fd, const char *name, int flags)
{
	if (unlinkat(dir_fd, name, flags) == 0)
		return 0;
	if (errno != EPERM && errno != EACCES)
		return -errno;
	unlock_entry(dir_fd, name);
	return unlinkat(dir_fd, name, flags) < 0 ? -errno : 0;
}

/* A directory that is being emptied, with the one that holds it. */
struct emptying {
	struct emptying *parent;
	DIR *dir;
	char name[NAME_MAX + 1];
};

static int enter_dir(
	int dir_fd, const char *name, struct emptying *parent, struct emptying **ret_top)
{
	struct emptying *e = calloc(1, sizeof(*e));
	int fd;

	if (!e)
		return -ENOMEM;
	snprintf(e->name, sizeof(e->name), "%s", name);
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		free(e);
		return -errno;
	}
	attrs_unlock_fd(fd);
	e->dir = fdopendir(fd);
	if (!e->dir) {
		closep(&fd);
		free(e);
		return -ENOMEM;
	}
	e->parent = parent;
	*ret_top = e;
	return 0;
}

/*
 * Depth is the image's enemy's to choose, so no recursion: a list of open directories. It could
 * reach the limit of open files first; then the error says so and the file system is made anew.
 * @w: whom to ask whether to go on; NULL = nobody.
 */
static int remove_tree(
	const struct standby_writer *w, int dir_fd, const char *name, struct ota_err *err)
{
	struct emptying *top = NULL;
	int r = remove_entry(dir_fd, name, 0);

	if (r == 0 || r == -ENOENT)
		return 0;
	if (r == -EISDIR || r == -EPERM)
		r = enter_dir(dir_fd, name, NULL, &top);
	while (r == 0 && top) {
		struct dirent *e = readdir(top->dir);
		struct emptying *done = top;

		if (w && stopped(w)) {
			r = -ECANCELED;
			break;
		}
		if (!e) {
			int parent_fd = top->parent ? dirfd(top->parent->dir) : dir_fd;

			closedir(top->dir);
			top = top->parent;
			r = remove_entry(parent_fd, done->name, AT_REMOVEDIR);
			free(done);
			continue;
		}
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = e->d_type == DT_DIR ? -EISDIR : remove_entry(dirfd(top->dir), e->d_name, 0);
		if (r == -EISDIR)
			r = enter_dir(dirfd(top->dir), e->d_name, top, &top);
	}
	while (top) {
		struct emptying *e = top;

		top = e->parent;
		closedir(e->dir);
		free(e);
	}
	if (r < 0 && r != -ECANCELED)
		return ota_err_set(err, -EBUSY, OTA_E_UNSPECIFIC,
			"Cannot remove %s from the standby slot: %s", name, strerror(-r));
	return r;
}

int standby_remove_tree(int dir_fd, const char *name, struct ota_err *err)
{
	return remove_tree(NULL, dir_fd, name, err);
}

/* Is the entry what the image wants at this path, so that it may stay? */
static bool may_stay(const struct standby_writer *w, const struct tree_entry *e)
{
	enum entry_kind kind;
	uint32_t index;

	if (!file_table_find(w->c.table, e->path, strlen(e->path), &kind, &index))
		return false;
	switch (kind) {
	case ENTRY_DIR:
		return S_ISDIR(e->st.st_mode);
	case ENTRY_FILE:
		return S_ISREG(e->st.st_mode) && w->c.inv->kept_ino[index] == e->st.st_ino;
	case ENTRY_SYMLINK:
		break;
	}
	if (S_ISLNK(e->st.st_mode) && e->st.st_nlink == 1) {
		struct text want = w->c.table->symlinks[index].target;
		char have[PATH_MAX];
		ssize_t n = readlinkat(e->dir_fd, e->name, have, sizeof(have));

		return n == (ssize_t)want.len && memcmp(have, want.at, want.len) == 0;
	}
	return false;
}

/* Folders that the image knows nothing of and that stay; the store with what is in it. */
static bool is_store(const struct tree_entry *e)
{
	return strcmp(e->path, "/" STANDBY_STORE_NAME) == 0 && S_ISDIR(e->st.st_mode);
}

static bool is_lost_and_found(const struct standby_writer *w, const struct tree_entry *e)
{
	enum entry_kind kind;
	uint32_t index;

	return strcmp(e->path, "/lost+found") == 0 && S_ISDIR(e->st.st_mode) &&
	       !file_table_find(w->c.table, e->path, strlen(e->path), &kind, &index);
}

static int prune_entry(
	void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	int r;

	if (is_store(e)) {
		*ret_descend = false;
		return 0;
	}
	if (is_lost_and_found(w, e) || may_stay(w, e)) {
		/* Before anything in it is removed or made, not after. */
		if (S_ISDIR(e->st.st_mode))
			unlock_entry(e->dir_fd, e->name);
		return 0;
	}
	*ret_descend = false;
	if (stopped(w))
		return -ECANCELED;
	r = io_point("prune: remove an entry");
	if (r == 0)
		r = remove_tree(w, e->dir_fd, e->name, err);
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot clear the standby slot at %s", e->path);
	atomic_fetch_add(&w->counts.removed_entries, 1);
	return 0;
}

int standby_prune(struct standby_writer *w, struct ota_err *err)
{
	return tree_walk(w->c.standby_fd, 4, false, prune_entry, w, err);
}

/* ---- room on a full slot ------------------------------------------------------------------------
 */

/* The inodes that the plan takes contents from, sorted. */
struct needed_inodes {
	struct standby_writer *w;
	uint64_t *list;
	size_t n;
};

static bool takes_from_standby(enum plan_action a)
{
	return a == PLAN_MOVE || a == PLAN_REPEAT;
}

static int compare_inodes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int make_room_entry(
	void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err)
{
	const struct needed_inodes *needed = ctx;
	struct standby_writer *w = needed->w;
	uint64_t ino = e->st.st_ino;
	enum entry_kind kind;
	uint32_t index;
	int r;

	if (is_store(e))
		*ret_descend = false;
	if (S_ISDIR(e->st.st_mode) ||
		file_table_find(w->c.table, e->path, strlen(e->path), &kind, &index) ||
		bsearch(&ino, needed->list, needed->n, sizeof(ino), compare_inodes))
		return 0;
	if (stopped(w))
		return -ECANCELED;
	r = io_point("make room: remove an entry");
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot make room on the standby slot");
	/* What resists here meets the prune, which knows what to do about it. */
	if (remove_entry(e->dir_fd, e->name, 0) == 0)
		atomic_fetch_add(&w->counts.removed_entries, 1);
	return 0;
}

/*
 * A slot may be so full that not even the store can be made, and the prune must not come before the
 * harvest. What can go before is every file at a path that the image does not have and with an inode
 * that no content is taken from. Folders stay: the way to what is needed leads through them.
 */
static int make_room(struct standby_writer *w, struct ota_err *err)
{
	AUTO_FREE uint64_t *list = malloc(((size_t)w->c.table->n_contents + 1) * sizeof(*list));
	struct needed_inodes needed = {.w = w, .list = list};

	if (!list)
		return -ENOMEM;
	*err = (struct ota_err){0};
	for (uint32_t i = 0; i < w->c.table->n_contents; i++)
		if (takes_from_standby(w->c.plan->actions[i]))
			list[needed.n++] = w->c.inv->sources[i].ino;
	qsort(list, needed.n, sizeof(*list), compare_inodes);
	return tree_walk(w->c.standby_fd, 4, false, make_room_entry, &needed, err);
}

/* ---- the store ----------------------------------------------------------------------------------
 */

/* Give the content its name in the store as a further link of the inode that the inventory found.
 */
static int harvest_one(struct standby_writer *w, uint32_t content, struct ota_err *err)
{
	char buf[PATH_MAX];
	const char *path = inventory_path(w->c.inv, w->c.table, content, buf);
	char hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int dir_fd = -1;
	const char *name = NULL;
	struct stat st;
	int r;

	digest_to_hex(&w->c.table->contents[content].digest, hex);
	if (fstatat(w->store_fd, hex, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (st.st_ino == w->c.inv->sources[content].ino)
			return 0;
		r = standby_remove_tree(w->store_fd, hex, err);
		if (r < 0)
			return r;
	}
	r = io_point("harvest: link a content");
	if (r < 0)
		return r;
	dir_fd = path_open_parent(w->c.standby_fd, path, &name);
	if (dir_fd < 0)
		return apply_error(err, dir_fd, "open the folder of", path);
	if (linkat(dir_fd, name, w->store_fd, hex, 0) < 0) {
		if (errno == EPERM) { /* immutable, or append-only */
			unlock_entry(dir_fd, name);
			if (linkat(dir_fd, name, w->store_fd, hex, 0) == 0)
				return 0;
		}
		return apply_error(err, -errno, "set aside", path);
	}
	return 0;
}

/* Is this name of the store a content that the plan counts on being there? */
static bool is_needed_in_store(const struct standby_writer *w, const char *name, uint64_t ino)
{
	struct digest d;
	uint32_t content;

	if (digest_from_hex(name, strlen(name), &d) < 0)
		return false;
	content = file_table_find_content(w->c.table, &d);
	if (content == FILE_TABLE_NONE)
		return false;
	if (!takes_from_standby(w->c.plan->actions[content]))
		return false;
	return w->c.inv->sources[content].ino == ino;
}

static int clear_store(struct standby_writer *w, struct ota_err *err)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd = dup(w->store_fd);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	rewinddir(dir);
	while ((e = readdir(dir))) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			is_needed_in_store(w, e->d_name, e->d_ino))
			continue;
		r = stopped(w) ? -ECANCELED : standby_remove_tree(w->store_fd, e->d_name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The inode of a kept file that is repeated elsewhere gets another name for a while. */
static void touch_kept(struct standby_writer *w, uint32_t content)
{
	uint32_t file = w->c.inv->sources[content].path;

	if (w->c.plan->actions[content] == PLAN_REPEAT && file < w->c.table->n_files)
		w->c.inv->whole[file] = false;
}

static int harvest_item(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;

	if (!takes_from_standby(w->c.plan->actions[index]))
		return 0;
	if (stopped(w))
		return -ECANCELED;
	touch_kept(w, (uint32_t)index);
	return harvest_one(w, (uint32_t)index, err);
}

static int harvest_all(struct standby_writer *w, struct ota_err *err)
{
	return workers_run(w->c.table->n_contents, 64, 4, harvest_item, w, err);
}

int standby_harvest(struct standby_writer *w, struct ota_err *err)
{
	int r = harvest_all(w, err);

	if (r == -ENOSPC) { /* the store is a folder that grows */
		r = make_room(w, err);
		if (r == 0)
			r = harvest_all(w, err);
	}
	for (uint32_t i = 0; r == 0 && i < w->c.table->n_contents; i++)
		if (w->c.plan->actions[i] == PLAN_MOVE)
			count_processed(w, 1, content_size(w, i));
	return r < 0 ? r : clear_store(w, err);
}

int standby_drop_store(struct standby_writer *w, struct ota_err *err)
{
	int r = io_point("remove the store");

	return r < 0 ? r : remove_tree(w, w->c.standby_fd, STANDBY_STORE_NAME, err);
}

int standby_missing(const struct standby_writer *w, uint32_t **ret_contents, size_t *ret_n)
{
	uint32_t *list = malloc(((size_t)w->c.table->n_contents + 1) * sizeof(*list));
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->c.table->n_contents; i++)
		if (w->c.plan->actions[i] == PLAN_FETCH || w->c.plan->actions[i] == PLAN_PATCH)
			list[n++] = i;
	*ret_contents = list;
	*ret_n = n;
	return 0;
}

void standby_add_fetched(struct standby_writer *w, uint64_t files, uint64_t plain_bytes)
{
	count_processed(w, files, plain_bytes);
	atomic_fetch_add(&w->counts.written_bytes, plain_bytes);
}

/* ---- copying ------------------------------------------------------------------------------------
 */

/* A new empty inode in the store under a temporary name. */
static int make_tmp(struct standby_writer *w, char ret_name[IO_TMP_NAME_MAX])
{
	int fd;

	io_tmp_name(ret_name);
	fd = openat(
		w->store_fd, ret_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* 0: the content is in the store. -ENODATA: what is on the active slot is not this content. */
static int copy_content(struct standby_writer *w, uint32_t content, struct ota_err *err)
{
	const struct content *want = &w->c.table->contents[content];
	char buf[PATH_MAX];
	const char *path = inventory_path(w->c.inv, w->c.table, content, buf);
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	char tmp[IO_TMP_NAME_MAX], hex[DIGEST_HEX_MAX];
	AUTO_CLOSE int src_fd = -1;
	AUTO_CLOSE int fd = -1;
	struct digest have;
	uint64_t bytes = 0;
	int r;

	if (!hash)
		return -ENOMEM;
	src_fd = path_open(w->c.active_fd, path, O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
	if (src_fd < 0)
		return -ENODATA;
	fd = make_tmp(w, tmp);
	if (fd < 0)
		return apply_error(err, fd, "make a copy of", path);
	digest_start(hash);
	/* The active slot is alive: the file may have become another, and of any size. */
	r = file_copy(
		&(struct file_copy){
			.src_fd = src_fd,
			.dst_fd = fd,
			.max_bytes = want->size_bytes,
			.reserve_bytes = content_size(w, content),
			.hash = hash,
			.stop = w->c.stop,
			.stop_ctx = w->c.stop_ctx,
		},
		&bytes);
	digest_final(hash, &have);
	atomic_fetch_add(&w->counts.written_bytes, bytes);
	digest_to_hex(&want->digest, hex);
	if (r == -EPIPE || r == -EFBIG || (r == 0 && !digest_equal(&have, &want->digest)))
		r = -ENODATA;
	if (r == 0)
		r = io_point("copy: store a content");
	if (r == 0 && renameat(w->store_fd, tmp, w->store_fd, hex) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(w->store_fd, tmp, 0);
		return r == -ENODATA ? r : apply_error(err, r, "copy", path);
	}
	count_processed(w, 1, bytes);
	return 0;
}

static int copy_item(void *ctx, size_t index, struct ota_err *err)
{
	struct standby_writer *w = ctx;
	uint32_t content = (uint32_t)index;
	int r;

	if (w->c.plan->actions[content] != PLAN_COPY ||
		w->c.inv->sources[content].place == PLACE_STANDBY)
		return 0;
	if (stopped(w))
		return -ECANCELED;
	r = copy_content(w, content, err);
	if (r == 0) {
		w->c.inv->sources[content].place = PLACE_STANDBY;
	} else if (r == -ENODATA) {
		w->c.inv->sources[content].place = PLACE_NOWHERE;
		w->c.plan->actions[content] = PLAN_FETCH;
		r = 0;
	}
	return r;
}

int standby_copy(struct standby_writer *w, struct ota_err *err)
{
	return workers_run(w->c.table->n_contents, 8, WORKERS_FOR_DISK, copy_item, w, err);
}

/* ---- placing ------------------------------------------------------------------------------------
 */

static int place_dirs(struct standby_writer *w, struct ota_err *err)
{
	const struct file_table *t = w->c.table;
	char path[PATH_MAX];

	for (uint32_t i = 0; i < t->n_dirs; i++) {
		AUTO_CLOSE int parent = -1;
		const char *name;

		if (stopped(w))
			return -ECANCELED;
		text_path(t->dirs[i].path, path);
		parent = path_open_parent(w->c.standby_fd, path, &name);
		if (parent < 0)
			return apply_error(err, parent, "open the folder of", path);
		if (mkdirat(parent, name, 0700) < 0) {
			if (errno == EEXIST)
				continue; /* prune left only a real, unlocked directory here */
			return apply_error(err, -errno, "make the folder", path);
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

	if (stopped(w))
		return -ECANCELED;
	text_path(s->path, path);
	if (s->target.len >= sizeof(target))
		return apply_error(err, -ENAMETOOLONG, "make the link", path);
	text_path(s->target, target);
	parent = path_open_parent(w->c.standby_fd, path, &name);
	if (parent < 0)
		return apply_error(err, parent, "open the folder of", path);
	if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
		return apply_error(err, -errno, "make the link", path);
	return attrs_apply_symlink(parent, name, &want, path, err);
}

static int apply_file_attrs(
	struct standby_writer *w, uint32_t file, int fd, const char *path, struct ota_err *err)
{
	struct attrs_want want = attrs_of_file(w->c.table, file);

	return attrs_apply_fd(fd, &want, path, err);
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
		return apply_error(err, -errno, "find the content of", path);
	last = atomic_fetch_sub(&w->shares[content], 1) == 1 &&
	       w->c.plan->actions[content] != PLAN_REPEAT;
	if (!last) {
		from = tmp;
		fd = make_tmp(w, tmp);
		if (fd < 0)
			return apply_error(err, fd, "make", path);
		r = file_copy(
			&(struct file_copy){
				.src_fd = src_fd,
				.dst_fd = fd,
				.max_bytes = UINT64_MAX,
				.reserve_bytes = content_size(w, content),
				.stop = w->c.stop,
				.stop_ctx = w->c.stop_ctx,
			},
			&bytes);
		if (r < 0) {
			unlinkat(w->store_fd, tmp, 0);
			return apply_error(err, r == -EPIPE ? -EIO : r, "make", path);
		}
		atomic_fetch_add(&w->counts.written_bytes, bytes);
		count_processed(w, 1, bytes);
	}
	r = apply_file_attrs(w, file, last ? src_fd : fd, path, err);
	if (r < 0)
		return r;
	if (renameat(w->store_fd, from, parent, name) < 0)
		return apply_error(err, -errno, "put in place", path);
	return 0;
}

static int place_empty(struct standby_writer *w, uint32_t file, int parent, const char *name,
	const char *path, struct ota_err *err)
{
	AUTO_CLOSE int fd =
		openat(parent, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return apply_error(err, -errno, "make", path);
	count_processed(w, 1, 0);
	return apply_file_attrs(w, file, fd, path, err);
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

	if (f->group != file || inventory_whole(w->c.inv, file))
		return 0;
	if (stopped(w))
		return -ECANCELED;
	r = io_point("place: a file");
	if (r < 0)
		return r;
	if (w->c.inv->anchor[file] != FILE_TABLE_NONE)
		file = w->c.inv->anchor[file];
	text_path(t->files[file].path, path);
	parent = path_open_parent(w->c.standby_fd, path, &name);
	if (parent < 0)
		return apply_error(err, parent, "open the folder of", path);
	if (w->c.inv->kept_ino[file]) {
		fd = openat(
			parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME);
		if (fd < 0)
			return apply_error(err, -errno, "open", path);
		return apply_file_attrs(w, file, fd, path, err);
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
	if (stopped(w))
		return -ECANCELED;
	text_path(f->path, path);
	text_path(t->files[anchor].path, from);
	parent = path_open_parent(w->c.standby_fd, path, &name);
	from_parent = path_open_parent(w->c.standby_fd, from, &from_name);
	if (parent < 0 || from_parent < 0)
		return apply_error(err, MIN_OF(parent, from_parent), "open the folder of", path);
	if (linkat(from_parent, from_name, parent, name, 0) < 0)
		return apply_error(err, -errno, "make the further name", path);
	count_processed(w, 1, content_size(w, f->content));
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
		return apply_error(err, -errno, "make the folder", "/lost+found");
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
			return apply_error(err, -errno, "make the folder", path);
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

int standby_finish_dirs(struct standby_writer *w, struct ota_err *err)
{
	const struct file_table *t = w->c.table;
	struct attrs_want want = {.table = t, .kind = ENTRY_DIR};
	AUTO_CLOSE int root_fd = -1;
	char path[PATH_MAX];
	int r;

	/* Sealed tables have parents before children, so backwards is deepest first. */
	for (uint32_t i = t->n_dirs; i-- > 0;) {
		const struct dir_entry *d = &t->dirs[i];
		AUTO_CLOSE int fd = -1;

		if (stopped(w))
			return -ECANCELED;
		text_path(d->path, path);
		fd = path_open(w->c.standby_fd, path, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0)
			return apply_error(err, fd, "open the folder", path);
		want.index = i;
		want.uid = d->uid;
		want.gid = d->gid;
		want.mode = d->mode;
		r = attrs_apply_fd(fd, &want, path, err);
		if (r < 0)
			return r;
	}
	root_fd = path_open(w->c.standby_fd, "", O_RDONLY | O_DIRECTORY, 0);
	if (root_fd < 0)
		return apply_error(err, root_fd, "open the folder", "/");
	want.index = FILE_TABLE_NONE;
	want.uid = want.gid = 0;
	want.mode = 0755;
	return attrs_apply_fd(root_fd, &want, "/", err);
}
