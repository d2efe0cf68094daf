/*
 * tree_walk: a stack of directories shared by a few threads. Contract: tree_walk.h.
 *
 * Shared under the lock: the stack, the count of busy threads, the first error. A thread with
 * nothing to do waits until there is a directory or nobody is busy any more. The stack is last in,
 * first out: it stays about as long as one path's siblings, not as long as the tree.
 */
#include "otaclient/slot/tree_walk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"

struct pending_dir {
	struct pending_dir *next;
	char path[]; /* "" = the root */
};

struct walk {
	int root_fd;
	dev_t dev;
	bool skip_unreadable;
	tree_visit_fn *visit;
	void *ctx;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct pending_dir *stack;
	unsigned n_busy;
	bool stop;
};

static int push(struct walk *w, const char *path)
{
	size_t len = strlen(path) + 1;
	struct pending_dir *d = malloc(sizeof(*d) + len);

	if (!d)
		return -ENOMEM;
	memcpy(d->path, path, len);
	pthread_mutex_lock(&w->lock);
	d->next = w->stack;
	w->stack = d;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

/* The next directory, with this thread counted as busy; NULL when the walk is over. */
static struct pending_dir *pop(struct walk *w)
{
	struct pending_dir *d = NULL;

	pthread_mutex_lock(&w->lock);
	while (!w->stop && !w->stack && w->n_busy > 0)
		pthread_cond_wait(&w->changed, &w->lock);
	if (!w->stop && w->stack) {
		d = w->stack;
		w->stack = d->next;
		w->n_busy++;
	}
	pthread_mutex_unlock(&w->lock);
	return d;
}

static void finish_one(struct walk *w, bool failed)
{
	pthread_mutex_lock(&w->lock);
	w->n_busy--;
	if (failed)
		w->stop = true;
	if (w->stop || (w->n_busy == 0 && !w->stack))
		pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* What cannot be read: gone meanwhile (the active slot is alive), or broken. */
static int unreadable(bool may_be, int r, const char *what, const char *path, struct ota_err *err)
{
	if (r == -ENOENT || may_be)
		return 0;
	return ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot %s %s: %s", what, path, strerror(-r));
}

int tree_entry_stat(const struct tree_entry *e, struct stat *ret_st, struct ota_err *err)
{
	int r;

	if (fstatat(e->dir_fd, e->name, ret_st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = unreadable(e->may_be_unreadable, -errno, "look at", e->path, err);
	return r < 0 ? r : 1;
}

static int visit_entry(struct walk *w, int dir_fd, const char *dir_path, const struct dirent *d,
	struct ota_err *err)
{
	char path[TREE_PATH_MAX];
	struct tree_entry e = {
		.dir_fd = dir_fd,
		.name = d->d_name,
		.path = path,
		.ino = d->d_ino,
		.type = (mode_t)DTTOIF(d->d_type),
		.may_be_unreadable = w->skip_unreadable,
	};
	bool descend = false;
	int r, n;

	n = snprintf(path, sizeof(path), "%s/%s", dir_path, d->d_name);
	assert(n > 0 && (size_t)n < sizeof(path)); /* @dir_path has been opened by this name */
	/* Of a folder also because another file system may be mounted on it. */
	if (d->d_type == DT_DIR || d->d_type == DT_UNKNOWN) {
		struct stat st;

		r = tree_entry_stat(&e, &st, err);
		if (r != 0)
			return r < 0 ? r : 0;
		e.ino = st.st_ino;
		e.type = st.st_mode & S_IFMT;
		descend = S_ISDIR(st.st_mode) && st.st_dev == w->dev && n < PATH_MAX;
	}
	r = w->visit(w->ctx, &e, &descend, err);
	if (r < 0 || !descend)
		return r;
	return push(w, path);
}

static int walk_dir(struct walk *w, const char *path, struct ota_err *err)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	int fd = path_open(w->root_fd, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return unreadable(
			w->skip_unreadable, fd, "open the folder", *path ? path : "/", err);
	dir = fdopendir(fd);
	if (!dir) {
		closep(&fd);
		return -errno;
	}
	while ((errno = 0, e = readdir(dir))) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = visit_entry(w, fd, path, e, err);
		if (r < 0)
			return r;
	}
	return errno == 0 ? 0
			  : unreadable(w->skip_unreadable, -errno, "read the folder",
				    *path ? path : "/", err);
}

/* One "item" of workers_run() is one thread of the walk. */
static int walk_thread(void *ctx, size_t index, struct ota_err *err)
{
	struct walk *w = ctx;
	struct pending_dir *d;
	int r = 0;

	while (r >= 0 && (d = pop(w))) {
		r = walk_dir(w, d->path, err);
		free(d);
		finish_one(w, r < 0);
	}
	return r;
}

int tree_walk(int root_fd, unsigned n_threads, bool skip_unreadable, tree_visit_fn *visit,
	void *ctx, struct ota_err *err)
{
	struct walk w = {
		.root_fd = root_fd,
		.skip_unreadable = skip_unreadable,
		.visit = visit,
		.ctx = ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	struct stat st;
	int r;

	if (fstat(root_fd, &st) < 0)
		return -errno;
	w.dev = st.st_dev;
	r = push(&w, "");
	if (r == 0)
		r = workers_run(n_threads, 1, n_threads, walk_thread, &w, err);
	while (w.stack) {
		struct pending_dir *d = w.stack;

		w.stack = d->next;
		free(d);
	}
	pthread_cond_destroy(&w.changed);
	pthread_mutex_destroy(&w.lock);
	return r;
}
