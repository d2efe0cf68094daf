/*
 * image_folder: build beside, move in one step. Contract: image_folder.h.
 */
#include "metadata-gen/image_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/folder.h"
#include "common/base/io.h"
#include "common/base/path.h"

static const char suffix[] = ".partial";

/*
 * Two files tell a folder of ours from a user's. The marker is there while an image is made, first in and last out;
 * metadata.jwt once it is complete. Whatever removes a folder takes them last, so that it stays recognisable if it
 * is interrupted.
 */
static const char marker[] = ".metadata_gen-unfinished";
static const char jwt[] = "metadata.jwt";

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int empty_dir(int fd);

/* Another process may be removing the same leftovers: what is gone is gone. */
static int remove_name(int dir_fd, const char *name)
{
	AUTO_CLOSE int fd = -1;
	int r;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = empty_dir(fd);
	if (r == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

static bool is_mark(const char *name)
{
	return strcmp(name, marker) == 0 || strcmp(name, jwt) == 0;
}

static int visit_removing(void *ctx, int dir_fd, const char *name)
{
	return is_mark(name) ? 0 : remove_name(dir_fd, name);
}

/* All but what says that the folder is ours. */
static int empty_but_marks(int fd)
{
	return folder_each(fd, visit_removing, NULL);
}

static int empty_dir(int fd)
{
	int r = empty_but_marks(fd);

	if (r == 0)
		r = remove_name(fd, jwt);
	return r == 0 ? remove_name(fd, marker) : r;
}

int image_folder_remove(int dir_fd, const char *name)
{
	return remove_name(dir_fd, name);
}

static int busy(const struct image_folder *f, struct ota_err *err)
{
	return ota_err_set(
		err, -EBUSY, OTA_E_UNSPECIFIC, "Another build is writing the image %s", f->path);
}

static int visit_any(void *ctx, int dir_fd, const char *name)
{
	return 1;
}

/* May this folder be replaced? Only an image, what a build left behind, or an empty folder. */
static int check_ours(int fd, const char *path, struct ota_err *err)
{
	int r;

	if (faccessat(fd, jwt, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
		faccessat(fd, marker, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	r = folder_each(fd, visit_any, NULL);
	if (r > 0)
		return ota_err_set(err, -ENOTEMPTY, OTA_E_UNSPECIFIC,
			"%s is neither an image nor empty, so it is not replaced", path);
	return r < 0 ? ota_err_wrap(err, r, "Cannot look into %s", path) : 0;
}

/* Mark the folder in the making before anything else happens to it. */
static int mark(const struct image_folder *f, struct ota_err *err)
{
	AUTO_CLOSE int fd =
		openat(f->fd, marker, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	return fd < 0 ? ota_err_wrap(err, -errno, "Cannot write into the folder %s", f->partial)
		      : 0;
}

/* Say why @path, which must be a folder itself, cannot be opened: a link to one looks the same to the user. */
static int not_opened(const struct image_folder *f, const char *path, struct ota_err *err)
{
	int r = -errno;
	struct stat st;

	if (fstatat(f->parent_fd, last_name(path), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISLNK(st.st_mode))
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"Cannot open the folder %s: it is a symbolic link", path);
	return ota_err_wrap(err, r, "Cannot open the folder %s", path);
}

static int lock_old(struct image_folder *f, struct ota_err *err)
{
	f->old_fd = openat(
		f->parent_fd, last_name(f->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (f->old_fd < 0)
		return errno == ENOENT ? 0 : not_opened(f, f->path, err);
	if (flock(f->old_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? busy(f, err)
					    : ota_err_wrap(err, -errno, "Cannot lock %s", f->path);
	return check_ours(f->old_fd, f->path, err);
}

/* Is @fd still what @name leads to? A finishing build may have moved it between our open and our lock. */
static bool is_still(int dir_fd, const char *name, int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(dir_fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int lock_partial(struct image_folder *f, struct ota_err *err)
{
	const char *name = last_name(f->partial);
	int r;

	if (mkdirat(f->parent_fd, name, 0755) < 0 && errno != EEXIST)
		return ota_err_wrap(err, -errno, "Cannot make the folder %s", f->partial);
	f->fd = openat(f->parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (f->fd < 0)
		return not_opened(f, f->partial, err);
	if (flock(f->fd, LOCK_EX | LOCK_NB) < 0 || !is_still(f->parent_fd, name, f->fd)) {
		close(f->fd); /* it is the other build's to remove */
		f->fd = -1;
		return busy(f, err);
	}
	r = check_ours(f->fd, f->partial, err);
	if (r < 0) {
		closep(&f->fd); /* it is the user's to remove */
		f->fd = -1;
		return r;
	}
	r = mark(f, err);
	if (r < 0)
		return r;
	r = empty_but_marks(f->fd);
	if (r == 0)
		r = remove_name(f->fd, jwt);
	return r < 0 ? ota_err_wrap(
			       err, r, "Cannot remove what an earlier build left in %s", f->partial)
		     : 0;
}

static int no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "a path");
}

int image_folder_name(struct image_folder *f, const char *path, struct ota_err *err)
{
	AUTO_FREE char *parent = NULL, *real_parent = NULL;
	size_t len = strlen(path);
	const char *name;

	while (len > 1 && path[len - 1] == '/')
		len--;
	f->path = strndup(path, len);
	if (!f->path)
		return no_memory(err);
	name = last_name(f->path);
	if (!path_is_component(name, strlen(name)))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"\"%s\" cannot be an image folder: it has no name of its own", path);
	parent = name == f->path ? strdup(".") : strndup(f->path, (size_t)(name - f->path));
	if (!parent)
		return no_memory(err);
	real_parent = realpath(parent, NULL);
	f->parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->parent_fd < 0 || !real_parent)
		return ota_err_wrap(err, -errno, "Cannot open the folder %s", parent);
	if (asprintf(&f->partial, "%s%s", f->path, suffix) < 0)
		f->partial = NULL;
	if (asprintf(&f->real, "%s/%s", strcmp(real_parent, "/") == 0 ? "" : real_parent, name) < 0)
		f->real = NULL;
	return f->partial && f->real ? 0 : no_memory(err);
}

int image_folder_check_apart(const struct image_folder *f, const char *what, const char *path,
	bool is_source, struct ota_err *err)
{
	AUTO_FREE char *real = path ? realpath(path, NULL) : NULL;

	if (!real) /* not there: whoever opens it says so */
		return 0;
	if (path_is_below(real, f->real))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"%s %s lies in the image %s, which is going to be replaced", what, path,
			f->path);
	if (is_source && (strcmp(real, "/") == 0 || path_is_below(f->real, real)))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"The image %s lies in %s, which it is to be made of", f->path, path);
	return 0;
}

int image_folder_check_old(
	const struct image_folder *f, const char *what, const char *path, struct ota_err *err)
{
	AUTO_FREE char *real = path ? realpath(path, NULL) : NULL;
	size_t len = strlen(f->real);

	if (!real || strcmp(real, f->real) == 0)
		return 0;
	if (strncmp(real, f->real, len) == 0 && path_is_below(real + len, suffix))
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"%s %s lies in %s, which every build begins by removing", what, path,
			f->partial);
	return image_folder_check_apart(f, what, path, false, err);
}

int image_folder_open(struct image_folder *f, struct ota_err *err)
{
	/* The old image is locked first: once it has been exchanged it bears the partial folder's name. */
	int r = lock_old(f, err);

	return r < 0 ? r : lock_partial(f, err);
}

int image_folder_make_dir(
	struct image_folder *f, const char *name, int *ret_fd, struct ota_err *err)
{
	int fd = -1;

	if (mkdirat(f->fd, name, 0755) == 0)
		fd = openat(f->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return ota_err_wrap(err, -errno, "Cannot make %s in the image", name);
	*ret_fd = fd;
	return 0;
}

int image_folder_publish(struct image_folder *f, struct ota_err *err)
{
	const char *from = last_name(f->partial), *to = last_name(f->path);
	int r = remove_name(f->fd, marker); /* metadata.jwt is there, and says the same */

	if (r == 0)
		r = io_sync_fs("image.sync", f->fd);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot make the image %s durable", f->path);
	r = io_point("image.publish");
	if (r == 0 && renameat2(f->parent_fd, from, f->parent_fd, to,
			      f->old_fd >= 0 ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot put the image in its place %s", f->path);
	f->published = true;
	if (fsync(f->parent_fd) < 0)
		return ota_err_wrap(err, -errno, "Cannot make the image %s durable", f->path);
	if (f->old_fd < 0)
		return 0;
	r = image_folder_remove(f->parent_fd, from);
	return r < 0 ? ota_err_wrap(err, r,
			       "The image %s is complete, but the one of before, %s, cannot be "
			       "removed",
			       f->path, f->partial)
		     : 0;
}

void image_folder_close(struct image_folder *f)
{
	if (f->fd >= 0 && !f->published)
		image_folder_remove(f->parent_fd, last_name(f->partial));
	closep(&f->fd);
	closep(&f->old_fd);
	closep(&f->parent_fd);
	free(f->path);
	free(f->real);
	free(f->partial);
}
