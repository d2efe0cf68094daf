/*
 * bad_disk: a library for LD_PRELOAD that lets one call of one program, or of what it starts, fail as a disk does.
 *
 * BAD_DISK_FILE names a file of struct script (below), mapped before main() begins, so that a program that has given up
 * its access to files still reads it, and all processes count as one. BAD_DISK_DEVICE is the block device that is bad, and
 * BAD_DISK_FOLDER a folder that lies on the same disk, so to speak. Calls count that concern an open file, a folder or a
 * path of these; where from they are made is told apart by the return addresses in the program. In the script:
 *
 *     mode 0      count only, and list in BAD_DISK_LIST, one line per call: its number, name, way and what it concerns
 *     mode 1      the call @at fails with @error
 *     mode 2      the write @at is short: half of it, one byte of two
 *     mode 3      from the call @at on all calls that need room fail, as on a full disk
 *
 * @way, if not 0: only calls from there are counted, so that the third write of one place is found whatever threads do.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

enum mode {
	COUNT = 0,
	FAIL = 1,
	SHORT = 2,
	FULL = 3,
};

enum {
	FRAMES = 12,
	NEEDS_ROOM = 1, /* what a full disk refuses */
	IS_WRITE = 2,   /* what may be short */
};

static struct script {
	uint32_t mode, error, at, way;
	_Atomic uint32_t n_calls, n_failed;
} * script;

static dev_t bad_device, folder_device;
static char folder[PATH_MAX];
static int list_fd = -1;
static uintptr_t code_begin, code_end; /* of the program itself */

static int find_program(struct dl_phdr_info *info, size_t size, void *ctx)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			code_begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			code_end = code_begin + info->dlpi_phdr[i].p_memsz;
		}
	return 1; /* the first is the program */
}

static void __attribute__((constructor)) open_script(void)
{
	const char *path = getenv("BAD_DISK_FILE"), *device = getenv("BAD_DISK_DEVICE");
	const char *dir = getenv("BAD_DISK_FOLDER"), *list = getenv("BAD_DISK_LIST");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	void *map = mmap(NULL, sizeof(*script), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	void *frame[1];
	struct stat st;

	/* A disk that is good would let every test pass. */
	if (fd < 0 || map == MAP_FAILED || !device || !dir || stat(device, &st) < 0)
		abort();
	syscall(SYS_close, fd);
	bad_device = st.st_rdev;
	snprintf(folder, sizeof(folder), "%s/", dir);
	folder_device = stat(dir, &st) == 0 ? st.st_dev : 0;
	if (list)
		list_fd = (int)syscall(SYS_openat, AT_FDCWD, list,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dl_iterate_phdr(find_program, NULL);
	backtrace(frame, 1); /* loads what it needs */
	script = map;
}

/* ---- what a call concerns ---- */

static bool fd_is_bad(int fd)
{
	char link[64], path[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	if (st.st_dev == bad_device || (S_ISBLK(st.st_mode) && st.st_rdev == bad_device))
		return true;
	if (st.st_dev != folder_device)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return strncmp(path, folder, strlen(folder) - 1) == 0;
}

static bool path_is_bad(int dir_fd, const char *path)
{
	struct stat st;
	static const char proc[] = "/proc/self/fd/";

	if (path[0] != '/')
		return dir_fd == AT_FDCWD ? false : fd_is_bad(dir_fd);
	if (strncmp(path, folder, strlen(folder)) == 0)
		return true;
	if (strncmp(path, proc, strlen(proc)) == 0)
		return fd_is_bad(atoi(path + strlen(proc)));
	return stat(path, &st) == 0 &&
	       (st.st_dev == bad_device || (S_ISBLK(st.st_mode) && st.st_rdev == bad_device));
}

/* ---- the count ---- */

static uint32_t way_here(void)
{
	void *frames[FRAMES];
	int n = backtrace(frames, FRAMES);
	uint32_t way = 2166136261;

	for (int i = 0; i < n; i++) {
		uintptr_t at = (uintptr_t)frames[i];

		if (at < code_begin || at >= code_end)
			continue;
		at -= code_begin;
		for (unsigned b = 0; b < 4; b++)
			way = (way ^ (uint32_t)(at >> 8 * b & 0xff)) * 16777619;
	}
	return way ? way : 1;
}

/* 0: it goes on; else it fails with that. @flags of the call. *ret_short: it is to be short. */
static int judge(const char *name, int flags, const char *thing, bool *ret_short)
{
	uint32_t n, way, mode = script->mode;
	bool hit;

	if ((mode == SHORT && !(flags & IS_WRITE)) || (mode == FULL && !(flags & NEEDS_ROOM)))
		return 0;
	way = way_here();
	if (script->way && script->way != way)
		return 0;
	n = atomic_fetch_add(&script->n_calls, 1) + 1;
	if (list_fd >= 0) {
		char line[256];
		int len = snprintf(line, sizeof(line), "%u %s %u %.150s\n", n, name, way, thing);

		syscall(SYS_write, list_fd, line, (size_t)len);
	}
	hit = mode == FULL ? n >= script->at : mode != COUNT && n == script->at;
	if (!hit)
		return 0;
	atomic_fetch_add(&script->n_failed, 1);
	if (mode != SHORT)
		return mode == FULL ? ENOSPC : (int)script->error;
	*ret_short = true;
	return 0;
}

static bool fails(const char *name, int flags, bool concerns, const char *thing)
{
	bool is_short = false;
	int e, before = errno;

	if (!script || !concerns)
		return false;
	e = judge(name, flags, thing, &is_short);
	errno = e ? e : before;
	return e != 0;
}

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

/* A call by descriptor, or by folder and path: fails, or goes on to the real one. */
#define BY_FD(type, name, flags, fd, params, args)            \
	type name params                                      \
	{                                                     \
		if (fails(#name, flags, fd_is_bad(fd), "fd")) \
			return -1;                            \
		return REAL(name) args;                       \
	}
#define BY_PATH(type, name, flags, dir, path, params, args)            \
	type name params                                               \
	{                                                              \
		if (fails(#name, flags, path_is_bad(dir, path), path)) \
			return -1;                                     \
		return REAL(name) args;                                \
	}

/* clang-format off */
BY_FD(int, fsync, 0, fd, (int fd), (fd))
BY_FD(int, fdatasync, 0, fd, (int fd), (fd))
BY_FD(int, syncfs, 0, fd, (int fd), (fd))
BY_FD(int, ftruncate, 0, fd, (int fd, off_t len), (fd, len))
BY_FD(int, fallocate, NEEDS_ROOM, fd, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))
BY_FD(int, fchmod, 0, fd, (int fd, mode_t mode), (fd, mode))
BY_FD(int, fchown, 0, fd, (int fd, uid_t u, gid_t g), (fd, u, g))
BY_FD(int, futimens, 0, fd, (int fd, const struct timespec t[2]), (fd, t))
BY_FD(off_t, lseek, 0, fd, (int fd, off_t at, int from), (fd, at, from))
BY_FD(ssize_t, read, 0, fd, (int fd, void *data, size_t len), (fd, data, len))
BY_FD(ssize_t, pread, 0, fd, (int fd, void *data, size_t len, off_t at), (fd, data, len, at))
BY_FD(ssize_t, copy_file_range, NEEDS_ROOM, out, (int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned f),
	(in, in_at, out, out_at, len, f))
BY_FD(ssize_t, flistxattr, 0, fd, (int fd, char *list, size_t size), (fd, list, size))
BY_FD(ssize_t, fgetxattr, 0, fd, (int fd, const char *name, void *value, size_t size), (fd, name, value, size))
BY_FD(int, fsetxattr, NEEDS_ROOM, fd, (int fd, const char *name, const void *value, size_t size, int flags), (fd, name, value, size, flags))
BY_FD(int, fremovexattr, 0, fd, (int fd, const char *name), (fd, name))
BY_FD(int, fstatvfs, 0, fd, (int fd, struct statvfs *ret), (fd, ret))
BY_PATH(int, mkdir, NEEDS_ROOM, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
BY_PATH(int, mkdirat, NEEDS_ROOM, dir, path, (int dir, const char *path, mode_t mode), (dir, path, mode))
BY_PATH(int, unlinkat, 0, dir, path, (int dir, const char *path, int flags), (dir, path, flags))
BY_PATH(int, symlinkat, NEEDS_ROOM, dir, path, (const char *target, int dir, const char *path), (target, dir, path))
BY_PATH(int, linkat, NEEDS_ROOM, dir, path, (int from_dir, const char *from, int dir, const char *path, int flags), (from_dir, from, dir, path, flags))
BY_PATH(int, renameat, NEEDS_ROOM, dir, path, (int from_dir, const char *from, int dir, const char *path), (from_dir, from, dir, path))
BY_PATH(int, fchownat, 0, dir, path, (int dir, const char *path, uid_t u, gid_t g, int flags), (dir, path, u, g, flags))
BY_PATH(int, fchmodat, 0, dir, path, (int dir, const char *path, mode_t mode, int flags), (dir, path, mode, flags))
BY_PATH(int, utimensat, 0, dir, path, (int dir, const char *path, const struct timespec t[2], int flags), (dir, path, t, flags))
BY_PATH(int, fstatat, 0, dir, path, (int dir, const char *restrict path, struct stat *restrict ret, int flags), (dir, path, ret, flags))
BY_PATH(ssize_t, readlinkat, 0, dir, path, (int dir, const char *path, char *to, size_t size), (dir, path, to, size))
BY_PATH(ssize_t, llistxattr, 0, AT_FDCWD, path, (const char *path, char *list, size_t size), (path, list, size))
BY_PATH(ssize_t, lgetxattr, 0, AT_FDCWD, path, (const char *path, const char *name, void *value, size_t size), (path, name, value, size))
BY_PATH(int, lsetxattr, NEEDS_ROOM, AT_FDCWD, path, (const char *path, const char *name, const void *value, size_t size, int flags),
	(path, name, value, size, flags))
BY_PATH(int, lremovexattr, 0, AT_FDCWD, path, (const char *path, const char *name), (path, name))
/* clang-format on */

/* ---- those that are different ---- */

/* As a disk does it: the descriptor is gone, and what was written may be, too. */
int close(int fd)
{
	bool bad = fails("close", 0, fd_is_bad(fd), "fd");
	int e = errno;

	if (syscall(SYS_close, fd) < 0)
		return -1;
	errno = e;
	return bad ? -1 : 0;
}

static bool write_fails(const char *name, int fd, size_t *len)
{
	bool is_short = false;
	int e, before = errno;

	if (!script || !fd_is_bad(fd))
		return false;
	e = judge(name, NEEDS_ROOM | IS_WRITE, "fd", &is_short);
	errno = e ? e : before;
	if (is_short && *len > 1)
		*len /= 2;
	return e != 0;
}

ssize_t write(int fd, const void *data, size_t len)
{
	return write_fails("write", fd, &len) ? -1 : syscall(SYS_write, fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	return write_fails("pwrite", fd, &len) ? -1 : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	size_t len = 2;

	if (write_fails("writev", fd, &len))
		return -1;
	return len == 1 && n > 1 ? REAL(writev)(fd, v, 1) : REAL(writev)(fd, v, n);
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	if (fails("openat", flags & O_CREAT ? NEEDS_ROOM : 0, path_is_bad(dir, path), path))
		return -1;
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	if (fails("open", flags & O_CREAT ? NEEDS_ROOM : 0, path_is_bad(AT_FDCWD, path), path))
		return -1;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* common/base/path.c opens by the bare call. */
long syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_openat2 &&
		fails("openat2", 0, path_is_bad((int)a[0], (const char *)a[1]), (const char *)a[1]))
		return -1;
	return ((long (*)(long, ...))real("syscall"))(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

struct dirent *readdir(DIR *dir)
{
	return fails("readdir", 0, fd_is_bad(dirfd(dir)), "folder") ? NULL : REAL(readdir)(dir);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t from)
{
	if (!(flags & MAP_ANONYMOUS) && fails("mmap", 0, fd_is_bad(fd), "fd"))
		return MAP_FAILED;
	return (void *)((long (*)(long, ...))real("syscall"))(
		SYS_mmap, at, len, prot, flags, fd, from);
}

int mount(const char *source, const char *target, const char *type, unsigned long flags,
	const void *data)
{
	if (source && fails("mount", 0, path_is_bad(AT_FDCWD, source), source))
		return -1;
	return REAL(mount)(source, target, type, flags, data);
}

int umount2(const char *target, int flags)
{
	if (fails("umount2", 0, path_is_bad(AT_FDCWD, target), target))
		return -1;
	return REAL(umount2)(target, flags);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fails("ioctl", 0, fd_is_bad(fd), "fd"))
		return -1;
	return (int)((long (*)(long, ...))real("syscall"))(SYS_ioctl, fd, request, arg);
}

/* The same by their other names, with which programs call them that know of large files; on 64 bits nothing differs. */
#define ALSO(name, other) \
	__asm__(".globl " #other "\n.type " #other ",@function\n.set " #other ", " #name)

ALSO(open, open64);
ALSO(openat, openat64);
ALSO(ftruncate, ftruncate64);
ALSO(fallocate, fallocate64);
ALSO(lseek, lseek64);
ALSO(pread, pread64);
ALSO(pwrite, pwrite64);
ALSO(fstatvfs, fstatvfs64);
ALSO(fstatat, fstatat64);
ALSO(readdir, readdir64);
ALSO(mmap, mmap64);
