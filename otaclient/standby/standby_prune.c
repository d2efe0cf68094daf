/*
 * standby_prune: what is on the standby slot and must go. Contract: standby_writer.h, standby_work.h.
 */
#include "otaclient/standby/standby_work.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/slot/slot_folders.h"
#include "otaclient/slot/tree_walk.h"

void standby_unlock(int dir_fd, const char *name)
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
	standby_unlock(dir_fd, name);
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
	/* What somebody has mounted there is not the slot's. */
	fd = path_open(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		free(e);
		return fd;
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
 */
int standby_remove(
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

		if (w && standby_stopped(w)) {
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
	return standby_remove(NULL, dir_fd, name, err);
}

/* Another name of the same link would keep what is set on this one. */
static bool is_link_to(const struct tree_entry *e, struct text want)
{
	struct stat st;

	return attrs_symlink_holds(e->dir_fd, e->name, want) &&
	       fstatat(e->dir_fd, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 1;
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
		return S_ISDIR(e->type);
	case ENTRY_FILE:
		return S_ISREG(e->type) &&
		       (standby_is_placed(w, index) || w->c.inv->kept_ino[index] == e->ino);
	case ENTRY_SYMLINK:
		break;
	}
	return S_ISLNK(e->type) && is_link_to(e, w->c.table->symlinks[index].target);
}

/* Folders that the image knows nothing of and that stay; the store with what is in it. */
static bool is_store(const struct tree_entry *e)
{
	return strcmp(e->path, "/" SLOT_STORE_NAME) == 0 && S_ISDIR(e->type);
}

static bool is_lost_and_found(const struct standby_writer *w, const struct tree_entry *e)
{
	enum entry_kind kind;
	uint32_t index;

	return strcmp(e->path, "/lost+found") == 0 && S_ISDIR(e->type) &&
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
		if (S_ISDIR(e->type))
			standby_unlock(e->dir_fd, e->name);
		return 0;
	}
	*ret_descend = false;
	if (standby_stopped(w))
		return -ECANCELED;
	r = io_point("prune: remove an entry");
	if (r == 0)
		r = standby_remove(w, e->dir_fd, e->name, err);
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

/* ---- room on a full slot ---- */

/* The inodes that the plan takes contents from, sorted. */
struct needed_inodes {
	struct standby_writer *w;
	uint64_t *list;
	size_t n;
};

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
	uint64_t ino = e->ino;
	enum entry_kind kind;
	uint32_t index;
	int r;

	if (is_store(e))
		*ret_descend = false;
	if (S_ISDIR(e->type) ||
		file_table_find(w->c.table, e->path, strlen(e->path), &kind, &index) ||
		bsearch(&ino, needed->list, needed->n, sizeof(ino), compare_inodes))
		return 0;
	if (standby_stopped(w))
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
int standby_make_room(struct standby_writer *w, struct ota_err *err)
{
	AUTO_FREE uint64_t *list = malloc(((size_t)w->c.table->n_contents + 1) * sizeof(*list));
	struct needed_inodes needed = {.w = w, .list = list};

	if (!list)
		return -ENOMEM;
	*err = (struct ota_err){0};
	for (uint32_t i = 0; i < w->c.table->n_contents; i++)
		if (standby_takes_from_slot(w->c.plan->actions[i]))
			list[needed.n++] = w->c.inv->sources[i].ino;
	qsort(list, needed.n, sizeof(*list), compare_inodes);
	return tree_walk(w->c.standby_fd, 4, false, make_room_entry, &needed, err);
}
