/*
 * folder: one level after the other by descriptors, so that nobody can lead it elsewhere. Contract: folder.h.
 */
#include "common/base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"

struct removal {
	unsigned depth; /* of the folder whose names are visited */
	int first_r;    /* 0 or the first failure */
};

int folder_each(int dir_fd, folder_visit_fn *visit, void *ctx)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	/* A descriptor of its own: threads that read one folder must not share a position. */
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		closep(&fd);
		return -errno;
	}
	while ((errno = 0, e = readdir(dir))) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = visit(ctx, dir_fd, e->d_name);
		if (r != 0)
			return r;
	}
	return -errno;
}

static int remove_at(int dir_fd, const char *name, unsigned depth);

static int visit_removing(void *ctx, int dir_fd, const char *name)
{
	struct removal *removal = ctx;
	int r = remove_at(dir_fd, name, removal->depth);

	if (r < 0 && removal->first_r == 0)
		removal->first_r = r;
	return 0;
}

static int empty_at(int dir_fd, unsigned depth)
{
	struct removal removal = {.depth = depth};
	int r = folder_each(dir_fd, visit_removing, &removal);

	return removal.first_r < 0 ? removal.first_r : r;
}

/* At most FOLDER_DEPTH_MAX deep. */
static int remove_at(int dir_fd, const char *name, unsigned depth)
{
	AUTO_CLOSE int fd = -1;
	int r;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth >= FOLDER_DEPTH_MAX)
		return -ELOOP;
	fd = path_open(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	r = empty_at(fd, depth + 1);
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	return r < 0 ? r : -errno;
}

int folder_remove(int dir_fd, const char *name)
{
	return remove_at(dir_fd, name, 0);
}

int folder_empty(int dir_fd)
{
	return empty_at(dir_fd, 0);
}

struct eviction {
	uid_t owner; /* whose things stay */
	unsigned depth;
	unsigned n_removed;
	int first_r; /* 0 or the first failure */
};

static int visit_evicting(void *ctx, int dir_fd, const char *name);

static int evict_below(int dir_fd, const char *name, struct eviction *e)
{
	AUTO_CLOSE int fd = -1;
	int r;

	if (e->depth >= FOLDER_DEPTH_MAX)
		return -ELOOP;
	fd = path_open(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	e->depth++;
	r = folder_each(fd, visit_evicting, e);
	e->depth--;
	return r;
}

static int visit_evicting(void *ctx, int dir_fd, const char *name)
{
	struct eviction *e = ctx;
	struct stat st;
	int r = 0;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = -errno;
	} else if (st.st_uid != e->owner) {
		r = folder_remove(dir_fd, name);
		e->n_removed += r == 0;
	} else if (S_ISDIR(st.st_mode)) {
		r = evict_below(dir_fd, name, e);
	}
	if (r < 0 && r != -ENOENT && e->first_r == 0)
		e->first_r = r;
	return 0;
}

int folder_remove_strange(int dir_fd, const char *name, uid_t owner, unsigned *ret_n)
{
	struct eviction e = {.owner = owner};

	visit_evicting(&e, dir_fd, name);
	*ret_n += e.n_removed;
	return e.first_r;
}
