/*
 * io: durable changes, one named step at a time. Contract: io.h.
 */
#include "common/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"

enum {
	EXT4_MAGIC = 0xef53,
	COPY_CHUNK_BYTES = 1 << 16,
};

static io_hook_fn *io_hook;
static void *io_hook_ctx;

void io_set_hook(io_hook_fn *hook, void *ctx)
{
	io_hook = hook;
	io_hook_ctx = ctx;
}

int io_point(const char *what)
{
	return io_hook ? io_hook(io_hook_ctx, what) : 0;
}

void io_tmp_name(char ret_name[IO_TMP_NAME_MAX])
{
	uint8_t rnd[IO_TMP_RANDOM_BYTES];
	char hex[2 * sizeof(rnd) + 1];

	clock_random(rnd, sizeof(rnd));
	hex_encode(rnd, sizeof(rnd), hex);
	snprintf(ret_name, IO_TMP_NAME_MAX, IO_TMP_PREFIX "%s", hex);
}

static int copy_all(int src_fd, int fd)
{
	char chunk[COPY_CHUNK_BYTES];
	off_t at = 0;

	for (;;) {
		ssize_t n = pread(src_fd, chunk, sizeof(chunk), at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		r = file_write_all(fd, chunk, (size_t)n);
		if (r < 0)
			return r;
		at += n;
	}
}

static int sync_dir(const char *what, int dir_fd)
{
	AUTO_CLOSE int fd = -1;
	int r = io_point(what);

	if (r < 0)
		return r;
	/* @dir_fd may be O_PATH, which cannot be synced. */
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

/* The common end of every replacement: @tmp becomes @name, or goes. */
static int settle(const char *what, int dir_fd, const char *tmp, const char *name)
{
	int r = io_point(what);

	if (r == 0 && renameat(dir_fd, tmp, dir_fd, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir_fd, tmp, 0);
		return r;
	}
	return sync_dir(what, dir_fd);
}

/*
 * The same for a reader of the raw disk. Content and inode of the new file are there before the
 * folder names it, and those of the old one stay until it is seen that the folder does not: of the
 * blocks that are written back in between, in whatever order, only the folder's counts.
 */
static int settle_published(const char *what, int dir_fd, const char *tmp, const char *name)
{
	struct stat st;
	int r = io_publish_boot(what, dir_fd);

	if (r == 0)
		r = io_point(what);
	/* An exchange would take a folder, where a rename does not. */
	if (r == 0 && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		r = -EISDIR;
	if (r == 0 && renameat2(dir_fd, tmp, dir_fd, name, RENAME_EXCHANGE) < 0) {
		/* There is no old one, or the file system cannot do it. */
		bool plain = errno == ENOENT || errno == EINVAL || errno == ENOSYS;

		r = plain && renameat(dir_fd, tmp, dir_fd, name) == 0 ? 0 : -errno;
	}
	if (r < 0) {
		unlinkat(dir_fd, tmp, 0);
		return r;
	}
	r = io_publish_boot(what, dir_fd);
	/* What could not be published may still be the old one for the boot loader. */
	if (r == 0)
		unlinkat(dir_fd, tmp, 0);
	return r;
}

typedef int settle_fn(const char *what, int dir_fd, const char *tmp, const char *name);

static int put_file(const char *what, int dir_fd, const char *name, const void *data, size_t len,
	int src_fd, mode_t mode, settle_fn *end)
{
	char tmp[IO_TMP_NAME_MAX];
	AUTO_CLOSE int fd = -1;
	int r = io_point(what);

	if (r < 0)
		return r;
	io_tmp_name(tmp);
	fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = src_fd >= 0 ? copy_all(src_fd, fd) : file_write_all(fd, data, len);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = io_point(what);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir_fd, tmp, 0);
		return r;
	}
	return end(what, dir_fd, tmp, name);
}

int io_replace_file(const char *what, int dir_fd, const char *name, const void *data,
	size_t len_bytes, mode_t mode)
{
	return put_file(what, dir_fd, name, data, len_bytes, -1, mode, settle);
}

int io_replace_boot_file(const char *what, int dir_fd, const char *name, const void *data,
	size_t len_bytes, mode_t mode)
{
	return put_file(what, dir_fd, name, data, len_bytes, -1, mode, settle_published);
}

int io_install_file(const char *what, int dir_fd, const char *name, int src_fd, mode_t mode)
{
	return put_file(what, dir_fd, name, NULL, 0, src_fd, mode, settle);
}

int io_replace_symlink(const char *what, int dir_fd, const char *name, const char *target)
{
	char tmp[IO_TMP_NAME_MAX];

	io_tmp_name(tmp);
	if (symlinkat(target, dir_fd, tmp) < 0)
		return -errno;
	return settle(what, dir_fd, tmp, name);
}

int io_replace_link(
	const char *what, int old_dir_fd, const char *old_name, int dir_fd, const char *name)
{
	char tmp[IO_TMP_NAME_MAX];
	int r;

	io_tmp_name(tmp);
	if (linkat(old_dir_fd, old_name, dir_fd, tmp, 0) < 0)
		return -errno;
	r = settle(what, dir_fd, tmp, name);
	/* rename(2) of two names of one file does nothing and leaves both. */
	unlinkat(dir_fd, tmp, 0);
	return r;
}

int io_rename(const char *what, int old_dir_fd, const char *old_name, int dir_fd, const char *name)
{
	int r = io_point(what);

	if (r < 0)
		return r;
	if (renameat(old_dir_fd, old_name, dir_fd, name) < 0)
		return -errno;
	return sync_dir(what, dir_fd);
}

int io_unlink(const char *what, int dir_fd, const char *name, int flags)
{
	int r = io_point(what);

	if (r < 0)
		return r;
	if (unlinkat(dir_fd, name, flags) < 0)
		return -errno;
	return sync_dir(what, dir_fd);
}

int io_mkdir(const char *what, int dir_fd, const char *name, mode_t mode)
{
	struct stat st;
	int r = io_point(what);

	if (r < 0)
		return r;
	if (mkdirat(dir_fd, name, mode) < 0) {
		if (errno != EEXIST)
			return -errno;
		if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
		/* Who made it may have been stopped before it was durable. */
	}
	return sync_dir(what, dir_fd);
}

int io_overwrite(const char *what, int fd, const void *data, size_t len_bytes, off_t offset)
{
	const char *at = data;
	int r = io_point(what);

	while (r == 0 && len_bytes > 0) {
		ssize_t n = pwrite(fd, at, len_bytes, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len_bytes -= (size_t)n;
		offset += n;
	}
	if (r == 0)
		r = io_point(what);
	if (r < 0)
		return r;
	return fdatasync(fd) < 0 ? -errno : 0;
}

int io_sync_file(const char *what, int fd)
{
	int r = io_point(what);

	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

int io_sync_fs(const char *what, int fd)
{
	int r = io_point(what);

	if (r < 0)
		return r;
	return syncfs(fd) < 0 ? -errno : 0;
}

/* 1: syncing is enough; 0: it must be frozen; -errno. */
static int writes_journal_back(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ? -errno : fs.f_type == EXT4_MAGIC;
}

int io_publish_boot(const char *what, int fd)
{
	int r = io_sync_fs(what, fd);

	if (r == 0)
		r = writes_journal_back(fd);
	if (r != 0)
		return MIN_OF(r, 0);
	/* Not every file system can freeze; those that cannot (vfat) have no journal to write back.
	 */
	if (ioctl(fd, FIFREEZE, 0) < 0)
		return errno == EOPNOTSUPP || errno == ENOTTY ? 0 : -errno;
	return ioctl(fd, FITHAW, 0) < 0 ? -errno : 0;
}

int io_thaw_boot(int fd)
{
	int r = writes_journal_back(fd);

	if (r != 0)
		return MIN_OF(r, 0);
	/* EINVAL: it is not frozen. */
	if (ioctl(fd, FITHAW, 0) < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOTTY)
		return -errno;
	return 0;
}
