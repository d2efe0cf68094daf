/*
 * boot_tree: mirror and remove small folders. Contract: boot_tree.h.
 */
#include "boot-controllers/boot_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"

bool boot_tree_same_content(int a, int b)
{
	char ba[1 << 14], bb[sizeof(ba)];
	off_t at = 0;

	for (;;) {
		ssize_t na = pread(a, ba, sizeof(ba), at), nb = pread(b, bb, sizeof(bb), at);

		if (na < 0 || na != nb || memcmp(ba, bb, (size_t)na) != 0)
			return false;
		if (na == 0)
			return true;
		at += na;
	}
}

/*
 * The next name but the two dots. 1, 0 behind the last, or -errno: on a disk that dies the rest of a folder cannot be
 * read, and that is no smaller folder.
 */
static int next_name(DIR *dir, const char **ret_name)
{
	struct dirent *e;

	do {
		errno = 0;
		e = readdir(dir);
		if (!e)
			return errno > 0 ? -errno : 0;
	} while (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
	*ret_name = e->d_name;
	return 1;
}

static int remove_below(const char *what, int dir_fd, const char *name, unsigned depth)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	const char *below = "";
	int fd, r;

	r = io_unlink(what, dir_fd, name, 0);
	if (r != -EISDIR && r != -EPERM)
		return r == -ENOENT ? 0 : r;
	if (depth == 0)
		return -ELOOP;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((r = next_name(dir, &below)) > 0) {
		r = remove_below(what, fd, below, depth - 1);
		if (r < 0)
			break;
	}
	return r < 0 ? r : io_unlink(what, dir_fd, name, AT_REMOVEDIR);
}

int boot_tree_remove(const char *what, int dir_fd, const char *name)
{
	return remove_below(what, dir_fd, name, BOOT_TREE_DEPTH_MAX);
}

/* A stream of its own, so that @fd may be read again. */
static DIR *list(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = own < 0 ? NULL : fdopendir(own);

	if (!dir)
		closep(&own);
	return dir;
}

static bool is_mirrored(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode);
}

/* What @from_fd has not, or has as something else. */
static int remove_extras(const char *what, int from_fd, int to_fd)
{
	AUTO_CLOSEDIR DIR *dir = list(to_fd);
	const char *name = "";
	int r;

	if (!dir)
		return -errno;
	while ((r = next_name(dir, &name)) > 0) {
		struct stat from, to;

		if (fstatat(to_fd, name, &to, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (fstatat(from_fd, name, &from, AT_SYMLINK_NOFOLLOW) < 0 ||
			!is_mirrored(from.st_mode) ||
			(from.st_mode & S_IFMT) != (to.st_mode & S_IFMT))
			r = boot_tree_remove(what, to_fd, name);
		if (r < 0)
			break;
	}
	return r;
}

static int mirror_file(
	const char *what, int from_fd, int to_fd, const char *name, const struct stat *st)
{
	AUTO_CLOSE int src = openat(from_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	AUTO_CLOSE int old = openat(to_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat old_st;

	if (src < 0)
		return -errno;
	if (old >= 0 && fstat(old, &old_st) == 0 && old_st.st_size == st->st_size &&
		(old_st.st_mode & 07777) == (st->st_mode & 07777) &&
		boot_tree_same_content(old, src))
		return 0;
	return io_install_file(what, to_fd, name, src, st->st_mode & 07777);
}

static int mirror_link(const char *what, int from_fd, int to_fd, const char *name)
{
	char target[PATH_MAX], old[PATH_MAX];
	ssize_t len = readlinkat(from_fd, name, target, sizeof(target) - 1), old_len;

	if (len < 0)
		return -errno;
	target[len] = '\0';
	old_len = readlinkat(to_fd, name, old, sizeof(old));
	if (old_len == len && memcmp(old, target, (size_t)len) == 0)
		return 0;
	return io_replace_symlink(what, to_fd, name, target);
}

static int mirror_below(const char *what, int from_fd, int to_fd, unsigned depth);

static int mirror_dir(const char *what, int from_fd, int to_fd, const char *name,
	const struct stat *st, unsigned depth)
{
	AUTO_CLOSE int from = -1;
	AUTO_CLOSE int to = -1;
	int r;

	if (depth == 0)
		return -ELOOP;
	r = io_mkdir(what, to_fd, name, st->st_mode & 07777);
	if (r < 0)
		return r;
	from = openat(from_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	to = openat(to_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return from < 0 || to < 0 ? -errno : mirror_below(what, from, to, depth - 1);
}

static int mirror_one(const char *what, int from_fd, int to_fd, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return mirror_dir(what, from_fd, to_fd, name, &st, depth);
	if (S_ISREG(st.st_mode))
		return mirror_file(what, from_fd, to_fd, name, &st);
	return S_ISLNK(st.st_mode) ? mirror_link(what, from_fd, to_fd, name) : 0;
}

static int mirror_below(const char *what, int from_fd, int to_fd, unsigned depth)
{
	AUTO_CLOSEDIR DIR *dir = list(from_fd);
	const char *name = "";
	int r;

	if (!dir)
		return -errno;
	r = remove_extras(what, from_fd, to_fd);
	while (r >= 0 && (r = next_name(dir, &name)) > 0)
		r = mirror_one(what, from_fd, to_fd, name, depth);
	return r;
}

int boot_tree_mirror(const char *what, int from_fd, int to_fd)
{
	return mirror_below(what, from_fd, to_fd, BOOT_TREE_DEPTH_MAX);
}
