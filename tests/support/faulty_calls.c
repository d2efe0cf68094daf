/*
 * faulty_calls: a library for LD_PRELOAD that lets one call of a program fail, as a disk or a folder would, or that changes
 * a file at such a moment.
 *
 * FAULTY_CALL="<function> <path> <nth> <what>": of the calls of this function with a path that has this text in it (at its
 * end, if the text ends in '$'), the Nth comes to grief. <what> is the errno ("28"), or "flip": the first byte of the file
 * is changed before the call goes on, or "grow": a byte is added. Of two paths of a call, the second counts.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char function[32], part[256], what[16];
static long nth;
static bool at_end;
static _Atomic long n_seen;

static void __attribute__((constructor)) take_request(void)
{
	const char *text = getenv("FAULTY_CALL");
	size_t len;

	/* A machine without a fault would let every test pass. */
	if (!text || sscanf(text, "%31s %255s %ld %15s", function, part, &nth, what) != 4)
		abort();
	len = strlen(part);
	at_end = part[len - 1] == '$';
	if (at_end)
		part[len - 1] = '\0';
}

static void path_of_fd(int fd, char ret_path[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret_path, PATH_MAX - 1);
	ret_path[n > 0 ? n : 0] = '\0';
}

static void path_at(int dir_fd, const char *name, char ret_path[PATH_MAX])
{
	size_t len = 0;

	if (name[0] != '/' && dir_fd != AT_FDCWD) {
		path_of_fd(dir_fd, ret_path);
		len = strlen(ret_path);
		ret_path[len++] = '/';
	}
	snprintf(ret_path + len, PATH_MAX - len, "%s", name);
}

/* By the kernel's own calls, since ours are hooked. */
static void change_file(const char *path)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	char byte = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	if (strcmp(what, "flip") == 0 && syscall(SYS_pread64, fd, &byte, 1, 0) != 1)
		abort();
	byte ^= 1;
	if (syscall(SYS_pwrite64, fd, &byte, 1, strcmp(what, "flip") == 0 ? 0 : st.st_size) != 1)
		abort();
	close(fd);
}

/* Does this call fail? errno is set then. */
static bool comes_to_grief(const char *name, const char *path)
{
	size_t len = strlen(path), part_len = strlen(part);

	if (strcmp(name, function) != 0)
		return false;
	if (at_end ? len < part_len || strcmp(path + len - part_len, part) != 0
		   : !strstr(path, part))
		return false;
	if (atomic_fetch_add(&n_seen, 1) + 1 != nth)
		return false;
	if (what[0] < '0' || what[0] > '9') {
		change_file(path);
		return false;
	}
	errno = atoi(what);
	return true;
}

static bool fails_at(const char *name, int dir_fd, const char *rel)
{
	char path[PATH_MAX];

	path_at(dir_fd, rel, path);
	return comes_to_grief(name, path);
}

static bool fails_on(const char *name, int fd)
{
	char path[PATH_MAX];

	path_of_fd(fd, path);
	return comes_to_grief(name, path);
}

int openat(int dir_fd, const char *name, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return fails_at("openat", dir_fd, name)
		       ? -1
		       : (int)syscall(SYS_openat, dir_fd, name, flags, mode);
}

int mkdirat(int dir_fd, const char *name, mode_t mode)
{
	return fails_at("mkdirat", dir_fd, name) ? -1
						 : (int)syscall(SYS_mkdirat, dir_fd, name, mode);
}

int unlinkat(int dir_fd, const char *name, int flags)
{
	return fails_at("unlinkat", dir_fd, name) ? -1
						  : (int)syscall(SYS_unlinkat, dir_fd, name, flags);
}

int linkat(int old_fd, const char *old, int dir_fd, const char *name, int flags)
{
	return fails_at("linkat", dir_fd, name)
		       ? -1
		       : (int)syscall(SYS_linkat, old_fd, old, dir_fd, name, flags);
}

int renameat(int old_fd, const char *old, int dir_fd, const char *name)
{
	return fails_at("renameat", dir_fd, name)
		       ? -1
		       : (int)syscall(SYS_renameat2, old_fd, old, dir_fd, name, 0);
}

int renameat2(int old_fd, const char *old, int dir_fd, const char *name, unsigned flags)
{
	return fails_at("renameat2", dir_fd, name)
		       ? -1
		       : (int)syscall(SYS_renameat2, old_fd, old, dir_fd, name, flags);
}

int fstatat(int dir_fd, const char *restrict name, struct stat *restrict ret, int flags)
{
	return fails_at("fstatat", dir_fd, name)
		       ? -1
		       : (int)syscall(SYS_newfstatat, dir_fd, name, ret, flags);
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
	return fails_on("pread", fd) ? -1 : (ssize_t)syscall(SYS_pread64, fd, data, len, at);
}

ssize_t read(int fd, void *data, size_t len)
{
	return fails_on("read", fd) ? -1 : (ssize_t)syscall(SYS_read, fd, data, len);
}

ssize_t write(int fd, const void *data, size_t len)
{
	return fails_on("write", fd) ? -1 : (ssize_t)syscall(SYS_write, fd, data, len);
}

int flock(int fd, int operation)
{
	return fails_on("flock", fd) ? -1 : (int)syscall(SYS_flock, fd, operation);
}

int fsync(int fd)
{
	return fails_on("fsync", fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	return fails_on("syncfs", fd) ? -1 : (int)syscall(SYS_syncfs, fd);
}
