/*
 * old_file: link or copy. Contract: old_file.h.
 */
#include "metadata-gen/old_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"

enum {
	CHUNK_BYTES = 128 * 1024,
};

int old_file_open(int dir_fd, const char *name, int *ret_fd, struct stat *ret_st)
{
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, ret_st) < 0)
		return -errno;
	if (!S_ISREG(ret_st->st_mode))
		return -EINVAL;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Ours alone, and readable for the server. */
static bool may_share(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 0022) == 0 &&
	       (st->st_mode & 0444) == 0444;
}

bool old_file_link(
	int old_dir_fd, const char *old_name, int dir_fd, const char *name, const struct stat *st)
{
	struct stat made;

	if (!may_share(st) || linkat(old_dir_fd, old_name, dir_fd, name, 0) < 0)
		return false;
	if (fstatat(dir_fd, name, &made, AT_SYMLINK_NOFOLLOW) == 0 && made.st_dev == st->st_dev &&
		made.st_ino == st->st_ino)
		return true;
	unlinkat(dir_fd, name, 0); /* the older image has changed under us */
	return false;
}

/* 1; 0: it cannot be read; or why the copy cannot be written. */
static int copy_by_hand(int fd, int out)
{
	AUTO_FREE char *chunk = malloc(CHUNK_BYTES);
	off_t at = 0;
	ssize_t n = 1;
	int r = chunk ? 0 : -ENOMEM;

	while (r == 0 && n != 0) {
		n = pread(fd, chunk, CHUNK_BYTES, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 0;
		at += n;
		r = file_write_all(out, chunk, (size_t)n);
	}
	return r < 0 ? r : 1;
}

/* The kernel's own copy shares the blocks where the file system can; what it will not do is done by hand. */
static int copy(int fd, int out, uint64_t size_bytes)
{
	uint64_t left = size_bytes;
	off_t from = 0;
	ssize_t n = 1;

	while (left > 0 && (n > 0 || (n < 0 && errno == EINTR))) {
		n = copy_file_range(fd, &from, out, NULL, left, 0);
		if (n > 0)
			left -= (uint64_t)n;
	}
	if (left == 0)
		return 1;
	if (ftruncate(out, 0) < 0 || lseek(out, 0, SEEK_SET) < 0)
		return -errno;
	return copy_by_hand(fd, out);
}

int old_file_put(int old_dir_fd, int dir_fd, const char *name, const struct stat *st, int *fd)
{
	AUTO_CLOSE int out = -1;
	int r;

	if (old_file_link(old_dir_fd, name, dir_fd, name, st))
		return 1;
	out = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (out < 0)
		return -errno;
	r = copy(*fd, out, (uint64_t)st->st_size);
	if (r > 0 && lseek(out, 0, SEEK_SET) < 0)
		r = -errno;
	if (r <= 0) {
		unlinkat(dir_fd, name, 0);
		return r;
	}
	close(*fd);
	*fd = TAKE_FD(out);
	return 1;
}
