/*
 * write_log: a disk that keeps a log of what is written to it, as a file system with two files.
 *
 *     write_log IMAGE LOG MOUNT_POINT
 *
 *     MOUNT_POINT/disk   the bytes of IMAGE; for a loop device, or for a program that opens it
 *     MOUNT_POINT/mark   what is written to it goes into the log at its place, and can never be read
 *
 * The log has each write and each barrier in the order in which they came: an fsync of `disk`, which is what the kernel
 * makes of a loop device's flush. Between two barriers a real disk may lose any of the writes. Zeroes that are written
 * by a hole or a discard are one record without bytes. tests/support/write_log.py reads it.
 *
 * It runs in the foreground until it is unmounted or killed, on one thread, so that there is one order. The first line on
 * stdout says that it is mounted.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base/cleanup.h"

/* In native byte order; the log is read where it was made. */
struct record {
	char kind[8]; /* "write", "zeroes", "flush", "mark" */
	uint64_t offset_bytes;
	uint64_t len_bytes; /* so many bytes follow, for "write" and "mark" */
};

static const char log_header[] = "write_log 1\n";

static struct {
	int image_fd, log_fd;
	uint64_t size_bytes;
} disk;

enum {
	FILE_DISK = 1,
	FILE_MARK,
};

static const char *const file_name[] = {NULL, "disk", "mark"};

static int file_of(const char *path)
{
	for (int i = FILE_DISK; i <= FILE_MARK; i++)
		if (strcmp(path + 1, file_name[i]) == 0)
			return i;
	return 0;
}

static int log_record(const char *kind, uint64_t offset_bytes, uint64_t len_bytes, const void *data,
	size_t data_len)
{
	struct record rec = {.offset_bytes = offset_bytes, .len_bytes = len_bytes};
	struct iovec part[] = {
		{&rec,                    sizeof(rec)},
		{(void *)(uintptr_t)data, data_len   },
	};

	strncpy(rec.kind, kind, sizeof(rec.kind) - 1);
	return writev(disk.log_fd, part, 2) == (ssize_t)(sizeof(rec) + data_len) ? 0 : -EIO;
}

/* ---- the file system ----------------------------------------------------------------------------- */

static int on_getattr(const char *path, struct stat *ret, struct fuse_file_info *fi)
{
	int file = file_of(path);

	memset(ret, 0, sizeof(*ret));
	if (strcmp(path, "/") == 0) {
		ret->st_mode = S_IFDIR | 0700;
		ret->st_nlink = 2;
		return 0;
	}
	if (!file)
		return -ENOENT;
	ret->st_mode = S_IFREG | 0600;
	ret->st_nlink = 1;
	ret->st_size = file == FILE_DISK ? (off_t)disk.size_bytes : 0;
	return 0;
}

static int on_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
	struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	for (int i = FILE_DISK; i <= FILE_MARK; i++)
		fill(buf, file_name[i], NULL, 0, 0);
	return 0;
}

static int on_open(const char *path, struct fuse_file_info *fi)
{
	fi->fh = (uint64_t)file_of(path);
	if (!fi->fh)
		return -ENOENT;
	/* A mark is written where the file's end is said to be, and must come at once and whole. */
	fi->direct_io = fi->fh == FILE_MARK;
	return 0;
}

/* `echo > mark` does it. The disk keeps its size. */
static int on_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	return file_of(path) == FILE_MARK ? 0 : -EPERM;
}

static int on_read(const char *path, char *ret, size_t len, off_t offset, struct fuse_file_info *fi)
{
	ssize_t n = fi->fh == FILE_DISK ? pread(disk.image_fd, ret, len, offset) : 0;

	return n < 0 ? -errno : (int)n;
}

static int on_write(
	const char *path, const char *data, size_t len, off_t offset, struct fuse_file_info *fi)
{
	int r;

	if (fi->fh == FILE_MARK) {
		r = log_record("mark", 0, len, data, len);
		return r < 0 ? r : (int)len;
	}
	if ((uint64_t)offset + len > disk.size_bytes)
		return -ENOSPC;
	r = log_record("write", (uint64_t)offset, len, data, len);
	if (r == 0 && pwrite(disk.image_fd, data, len, offset) != (ssize_t)len)
		r = -EIO;
	return r < 0 ? r : (int)len;
}

static int on_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	return fi->fh == FILE_DISK ? log_record("flush", 0, 0, NULL, 0) : 0;
}

static int on_fallocate(
	const char *path, int mode, off_t offset, off_t len, struct fuse_file_info *fi)
{
	int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int r;

	if (fi->fh != FILE_DISK || !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return -EOPNOTSUPP;
	if ((uint64_t)offset + (uint64_t)len > disk.size_bytes)
		return -ENOSPC;
	r = log_record("zeroes", (uint64_t)offset, (uint64_t)len, NULL, 0);
	if (r == 0 && fallocate(disk.image_fd, hole, offset, len) < 0)
		r = -errno;
	return r;
}

static const struct fuse_operations operations = {
	.getattr = on_getattr,
	.readdir = on_readdir,
	.open = on_open,
	.truncate = on_truncate,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
	.fallocate = on_fallocate,
};

/* ---- start --------------------------------------------------------------------------------------- */

static int open_files(const char *image, const char *log)
{
	struct stat st;

	disk.image_fd = open(image, O_RDWR | O_CLOEXEC);
	if (disk.image_fd < 0 || fstat(disk.image_fd, &st) < 0)
		return fprintf(stderr, "write_log: %s: %s\n", image, strerror(errno)), -1;
	disk.size_bytes = (uint64_t)st.st_size;
	disk.log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (disk.log_fd < 0 || write(disk.log_fd, log_header, sizeof(log_header) - 1) < 0)
		return fprintf(stderr, "write_log: %s: %s\n", log, strerror(errno)), -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse *fuse;
	int r = -1;

	if (argc != 4) {
		fprintf(stderr, "usage: write_log IMAGE LOG MOUNT_POINT\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (open_files(argv[1], argv[2]) < 0)
		return 1;
	fuse_opt_add_arg(&args, argv[0]);
	fuse = fuse_new(&args, &operations, sizeof(operations), NULL);
	if (fuse && fuse_mount(fuse, argv[3]) == 0) {
		fuse_set_signal_handlers(fuse_get_session(fuse));
		puts("mounted");
		fflush(stdout);
		r = fuse_loop(fuse);
		fuse_unmount(fuse);
	}
	if (fuse)
		fuse_destroy(fuse);
	fuse_opt_free_args(&args);
	return r == 0 ? 0 : 1;
}
