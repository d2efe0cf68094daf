/*
 * persist_files: copy the listed entries between the slots. Contract: persist_files.h.
 *
 * Errors come in two kinds. What lies on the source side, or in the list, concerns one entry: it is
 * told and skipped (copy functions return 0 after a note). What lies on the target side concerns
 * the new system: it is returned and fails the update.
 */
#include "otaclient/standby/persist_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/path.h"
#include "common/image/list_text.h"
#include "common/image/persistent_path.h"
#include "otaclient/slot/file_copy.h"
#include "otaclient/standby/id_map.h"
#include "otaclient/standby/standby_writer.h"

enum {
	DEPTH_MAX = 128, /* folders in folders; each level holds two descriptors open */
	CHANGED_TRIES = 3,
	SWAP_MAGIC_AT = 4096 - 10, /* the end of the first page, mkswap(8) */
	XATTR_LIST_MAX_BYTES = 64 * 1024,
	XATTR_VALUE_MAX_BYTES = 64 * 1024,
	PROC_SWAPS_MAX_BYTES = 64 * 1024,
};

#define TMP_NAME IO_TMP_PREFIX "persist"

/* A file with several names that has been copied under one of them. */
struct linked {
	dev_t dev;
	ino_t ino;
	char *path; /* on standby, resolved in its root */
};

struct persist {
	int active_fd, standby_fd;
	persist_note_fn *note;
	void *note_ctx;
	struct id_map *ids;
	struct buf swaps; /* /proc/swaps */
	struct linked *linked;
	size_t n_linked, cap_linked;
};

/* One entry on its way. */
struct copy {
	int src_dir, dst_dir;
	const char *name;
	const char *path; /* from the root, for sentences and links */
	struct stat st;
	unsigned depth;
};

__attribute__((format(printf, 2, 3))) static void note(struct persist *p, const char *fmt, ...)
{
	char sentence[OTA_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	if (p->note)
		p->note(p->note_ctx, sentence);
}

static int target_error(struct ota_err *err, int r, const char *path)
{
	if (r == -ENOSPC || r == -EDQUOT)
		return ota_err_set(err, r, OTA_E_STANDBY_SLOT_SPACE,
			"Cannot carry over %s: the standby slot is full", path);
	return ota_err_set(err, r, OTA_E_APPLY_OTAUPDATE_FAILED,
		"Cannot carry over %s to the standby slot: %s", path, strerror(-r));
}

/* ---- what may be persisted ----------------------------------------------------------------------
 */

static const char *refusal(const struct persist *p, const char *path)
{
	const char *at = buf_str(&p->swaps);
	const char *why = persistent_path_refusal(path);
	size_t len = strlen(path);

	if (why)
		return why;
	for (; (at = strstr(at, path)); at += len)
		if ((at == p->swaps.data || at[-1] == '\n') && (at[len] == ' ' || at[len] == '\t'))
			return "it is in use as swap space";
	return NULL;
}

/*
 * The same for the place that the entry's folder @dir_fd in the root @root_fd really is: a link on the
 * way may have led to a place that is refused.
 */
static const char *refusal_in(struct persist *p, int root_fd, int dir_fd, const char *name)
{
	char link[64], root[PATH_MAX], dir[PATH_MAX], path[PATH_MAX];
	const char *below = dir;
	ssize_t root_len, dir_len;
	int n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", root_fd);
	root_len = readlink(link, root, sizeof(root) - 1);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	dir_len = readlink(link, dir, sizeof(dir) - 1);
	if (root_len < 0 || dir_len < root_len || memcmp(root, dir, (size_t)root_len) != 0)
		return "where its folder is cannot be told";
	dir[dir_len] = '\0';
	if (root_len > 1) /* not "/" itself */
		below += root_len;
	n = snprintf(path, sizeof(path), "%s/%s", strcmp(below, "/") == 0 ? "" : below, name);
	return n < 0 || (size_t)n >= sizeof(path) ? "its path is too long" : refusal(p, path);
}

/* ---- attributes ---------------------------------------------------------------------------------
 */

static int copy_xattrs(
	struct persist *p, const char *src, const char *dst, const char *path, struct ota_err *err)
{
	AUTO_FREE char *list = malloc(XATTR_LIST_MAX_BYTES);
	AUTO_FREE char *value = malloc(XATTR_VALUE_MAX_BYTES);
	ssize_t len, n;

	if (!list || !value)
		return -ENOMEM;
	/* What a folder of the image gave to the new entry. A link has none, other entries may have. */
	if ((lremovexattr(dst, "system.posix_acl_access") < 0 ||
		    lremovexattr(dst, "system.posix_acl_default") < 0) &&
		errno == EIO)
		return target_error(err, -errno, path);
	len = llistxattr(src, list, XATTR_LIST_MAX_BYTES);
	if (len < 0) {
		if (errno != EOPNOTSUPP)
			note(p, "The extended attributes of %s cannot be read: %s", path,
				strerror(errno));
		return 0;
	}
	for (const char *x = list; x < list + len; x += strlen(x) + 1) {
		n = lgetxattr(src, x, value, XATTR_VALUE_MAX_BYTES);
		if (n < 0) {
			note(p, "The extended attribute %s of %s cannot be read: %s", x, path,
				strerror(errno));
			continue;
		}
		if (lsetxattr(dst, x, value, (size_t)n, 0) < 0) {
			if (errno == ENOSPC || errno == EIO)
				return target_error(err, -errno, path);
			note(p, "The extended attribute %s of %s cannot be set: %s", x, path,
				strerror(errno));
		}
	}
	return 0;
}

/* Owner before mode: chown drops set-id bits. Time last. */
static int copy_attrs(struct persist *p, const struct copy *c, int dst_dir, const char *dst_name,
	struct ota_err *err)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, c->st.st_mtim};
	char src[64 + NAME_MAX], dst[64 + NAME_MAX];
	int r;

	if (fchownat(dst_dir, dst_name, id_map_uid(p->ids, c->st.st_uid),
		    id_map_gid(p->ids, c->st.st_gid), AT_SYMLINK_NOFOLLOW) < 0)
		return target_error(err, -errno, c->path);
	snprintf(src, sizeof(src), "/proc/self/fd/%d/%s", c->src_dir, c->name);
	snprintf(dst, sizeof(dst), "/proc/self/fd/%d/%s", dst_dir, dst_name);
	r = copy_xattrs(p, src, dst, c->path, err);
	if (r < 0)
		return r;
	if ((!S_ISLNK(c->st.st_mode) &&
		    fchmodat(dst_dir, dst_name, c->st.st_mode & 07777, 0) < 0) ||
		utimensat(dst_dir, dst_name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return target_error(err, -errno, c->path);
	return 0;
}

/* ---- entries ------------------------------------------------------------------------------------
 */

/* 1: the source could not be read (a note was made); 0; or the target's error. */
static int copy_data(
	struct persist *p, const struct copy *c, int src_fd, int dst_fd, struct ota_err *err)
{
	uint64_t bytes;
	int r = file_copy(
		&(struct file_copy){
			.src_fd = src_fd,
			.dst_fd = dst_fd,
			.max_bytes = UINT64_MAX,
			/* A disk of a virtual machine is far larger than what is in it. */
			.holes = (uint64_t)c->st.st_blocks * 512 < (uint64_t)c->st.st_size,
		},
		&bytes);

	if (r == -EPIPE) {
		note(p, "%s is not carried over: it cannot be read", c->path);
		return 1;
	}
	return r < 0 ? target_error(err, r, c->path) : 0;
}

static bool is_swap_space(int fd)
{
	static const char magic[] = "SWAPSPACE2";
	char have[sizeof(magic) - 1];

	return pread(fd, have, sizeof(have), SWAP_MAGIC_AT) == (ssize_t)sizeof(have) &&
	       memcmp(have, magic, sizeof(have)) == 0;
}

static bool same_version(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* One reading of the source into a new inode TMP_NAME. 1: not readable; 2: it changed meanwhile. */
static int copy_once(struct persist *p, struct copy *c, struct ota_err *err)
{
	AUTO_CLOSE int src_fd =
		openat(c->src_dir, c->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	AUTO_CLOSE int dst_fd = -1;
	struct stat after;
	int r;

	if (src_fd < 0 || fstat(src_fd, &c->st) < 0) {
		note(p, "%s is not carried over: it cannot be opened: %s", c->path,
			strerror(errno));
		return 1;
	}
	if (is_swap_space(src_fd)) {
		note(p, "%s is not carried over: it is swap space", c->path);
		return 1;
	}
	if (unlinkat(c->dst_dir, TMP_NAME, 0) < 0 && errno != ENOENT)
		return target_error(err, -errno, c->path);
	dst_fd = openat(
		c->dst_dir, TMP_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (dst_fd < 0)
		return target_error(err, -errno, c->path);
	r = copy_data(p, c, src_fd, dst_fd, err);
	if (r != 0)
		return r;
	return fstat(src_fd, &after) < 0 || !same_version(&c->st, &after) ? 2 : 0;
}

/* Put TMP_NAME in the entry's place, whatever stands there. */
static int settle(struct copy *c, struct ota_err *err)
{
	struct stat st;
	int r = io_point("persist: an entry");

	if (r < 0)
		return target_error(err, r, c->path);
	if (fstatat(c->dst_dir, c->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
		r = standby_remove_tree(c->dst_dir, c->name, err);
		if (r < 0)
			return ota_err_wrap(err, r, "Cannot carry over %s", c->path);
	}
	if (renameat(c->dst_dir, TMP_NAME, c->dst_dir, c->name) < 0)
		return target_error(err, -errno, c->path);
	return 0;
}

static int remember_link(struct persist *p, const struct copy *c)
{
	if (c->st.st_nlink < 2)
		return 0;
	if (p->n_linked == p->cap_linked) {
		size_t cap = p->cap_linked ? p->cap_linked * 2 : 16;
		struct linked *l = realloc(p->linked, cap * sizeof(*l));

		if (!l)
			return -ENOMEM;
		p->linked = l;
		p->cap_linked = cap;
	}
	p->linked[p->n_linked] = (struct linked){
		.dev = c->st.st_dev,
		.ino = c->st.st_ino,
		.path = strdup(c->path),
	};
	if (!p->linked[p->n_linked].path)
		return -ENOMEM;
	p->n_linked++;
	return 0;
}

/* Make TMP_NAME another name of a file that was carried over before. 1: there is none. */
static int link_earlier(struct persist *p, struct copy *c)
{
	for (size_t i = 0; c->st.st_nlink > 1 && i < p->n_linked; i++) {
		AUTO_CLOSE int fd = -1;
		char proc_path[64];

		if (p->linked[i].dev != c->st.st_dev || p->linked[i].ino != c->st.st_ino)
			continue;
		fd = path_open_in_root(p->standby_fd, p->linked[i].path, O_PATH | O_NOFOLLOW, 0);
		snprintf(proc_path, sizeof(proc_path), "/proc/self/fd/%d", fd);
		unlinkat(c->dst_dir, TMP_NAME, 0);
		if (fd >= 0 &&
			linkat(AT_FDCWD, proc_path, c->dst_dir, TMP_NAME, AT_SYMLINK_FOLLOW) == 0)
			return 0;
	}
	return 1;
}

static int copy_file(struct persist *p, struct copy *c, struct ota_err *err)
{
	int r = link_earlier(p, c);

	if (r == 0)
		return settle(c, err);
	for (unsigned tries = 0; tries < CHANGED_TRIES; tries++) {
		r = copy_once(p, c, err);
		if (r != 2)
			break;
	}
	if (r == 2) {
		note(p,
			"%s changed each time it was copied; what is on the standby slot may be "
			"torn",
			c->path);
		r = 0;
	}
	if (r == 0)
		r = copy_attrs(p, c, c->dst_dir, TMP_NAME, err);
	if (r == 0)
		r = settle(c, err);
	if (r == 0)
		r = remember_link(p, c);
	if (r != 0)
		unlinkat(c->dst_dir, TMP_NAME, 0);
	return r < 0 ? r : 0;
}

static int copy_symlink(struct persist *p, struct copy *c, struct ota_err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(c->src_dir, c->name, target, sizeof(target) - 1);
	int r;

	if (n < 0) {
		note(p, "The link %s is not carried over: %s", c->path, strerror(errno));
		return 0;
	}
	target[n] = '\0';
	unlinkat(c->dst_dir, TMP_NAME, 0);
	if (symlinkat(target, c->dst_dir, TMP_NAME) < 0)
		return target_error(err, -errno, c->path);
	r = copy_attrs(p, c, c->dst_dir, TMP_NAME, err);
	if (r == 0)
		r = settle(c, err);
	return r;
}

static int copy_entry(struct persist *p, struct copy *c, struct ota_err *err);

static int copy_children(
	struct persist *p, const struct copy *c, DIR *src, int dst_fd, struct ota_err *err)
{
	struct dirent *e;

	while ((errno = 0, e = readdir(src))) {
		char path[PATH_MAX];
		struct copy child = {
			.src_dir = dirfd(src),
			.dst_dir = dst_fd,
			.name = e->d_name,
			.path = path,
			.depth = c->depth + 1,
		};
		int n, r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n = snprintf(path, sizeof(path), "%s/%s", c->path, e->d_name);
		if (n < 0 || (size_t)n >= sizeof(path)) {
			note(p, "%.200s… is not carried over: its path is too long", c->path);
			continue;
		}
		r = copy_entry(p, &child, err);
		if (r < 0)
			return r;
	}
	if (errno != 0)
		note(p, "Not all of %s is carried over: it cannot be read: %s", c->path,
			strerror(errno));
	return 0;
}

static int copy_dir(struct persist *p, struct copy *c, struct ota_err *err)
{
	AUTO_CLOSEDIR DIR *src = NULL;
	AUTO_CLOSE int dst_fd = -1;
	int src_fd, r;

	if (c->depth > DEPTH_MAX) {
		note(p, "%s is not carried over: more than %d folders lie in each other", c->path,
			DEPTH_MAX);
		return 0;
	}
	src_fd = openat(c->src_dir, c->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	src = src_fd < 0 ? NULL : fdopendir(src_fd);
	if (!src) {
		note(p, "The folder %s is not carried over: %s", c->path, strerror(errno));
		closep(&src_fd);
		return 0;
	}
	r = standby_remove_tree(c->dst_dir, c->name, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot carry over %s", c->path);
	if (mkdirat(c->dst_dir, c->name, 0700) < 0)
		return target_error(err, -errno, c->path);
	dst_fd = openat(c->dst_dir, c->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dst_fd < 0)
		return target_error(err, -errno, c->path);
	r = copy_children(p, c, src, dst_fd, err);
	return r < 0 ? r : copy_attrs(p, c, c->dst_dir, c->name, err);
}

static int copy_entry(struct persist *p, struct copy *c, struct ota_err *err)
{
	if (fstatat(c->src_dir, c->name, &c->st, AT_SYMLINK_NOFOLLOW) < 0) {
		note(p, "%s is not carried over: %s", c->path,
			errno == ENOENT ? "the active slot has none" : strerror(errno));
		return 0;
	}
	switch (c->st.st_mode & S_IFMT) {
	case S_IFREG:
		return copy_file(p, c, err);
	case S_IFLNK:
		return copy_symlink(p, c, err);
	case S_IFDIR:
		return copy_dir(p, c, err);
	default:
		note(p, "%s is not carried over: it is a socket, pipe or device", c->path);
		return 0;
	}
}

/* ---- parents ------------------------------------------------------------------------------------
 */

/* Is it the new system's shape that the entry does not fit into, and not the disk that fails? */
static bool is_in_the_way(int r)
{
	return r == -ENOTDIR || r == -ELOOP || r == -EXDEV;
}

/* The folder @path (a prefix of the entry's) on standby, made like the active slot's if it is
 * missing. */
static int open_or_make_parent(
	struct persist *p, const char *path, int above_fd, const char *name, struct ota_err *err)
{
	AUTO_CLOSE int src_above = -1;
	struct copy c = {.dst_dir = above_fd, .name = name, .path = path};
	int fd = path_open_in_root(p->standby_fd, path, O_RDONLY | O_DIRECTORY, 0);
	char src_path[PATH_MAX];

	if (fd >= 0)
		return fd;
	if (fd != -ENOENT)
		return is_in_the_way(fd) ? fd : target_error(err, fd, path);
	if (refusal_in(p, p->standby_fd, above_fd, name))
		return -EPERM;
	if (mkdirat(above_fd, name, 0700) < 0)
		return errno == EEXIST ? -ENOTDIR : target_error(err, -errno, path);
	snprintf(src_path, sizeof(src_path), "%.*s", (int)(strlen(path) - strlen(name)), path);
	src_above = path_open_in_root(p->active_fd, src_path, O_PATH | O_DIRECTORY, 0);
	/* The parent may be a link on the active slot: then it gets plain attributes. */
	if (src_above >= 0 && fstatat(src_above, name, &c.st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISDIR(c.st.st_mode)) {
		c.src_dir = src_above;
		fd = copy_attrs(p, &c, above_fd, name, err);
		if (fd < 0)
			return fd;
	} else if (fchmodat(above_fd, name, 0755, 0) < 0) {
		return target_error(err, -errno, path);
	}
	fd = path_open_in_root(p->standby_fd, path, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? target_error(err, fd, path) : fd;
}

/* The folder of @path on standby. Negative with err->errnum set: the target's error; without: the
 * entry's. */
static int open_dst_parent(struct persist *p, const char *path, struct ota_err *err)
{
	char prefix[PATH_MAX];
	AUTO_CLOSE int fd = path_open(p->standby_fd, "", O_RDONLY | O_DIRECTORY, 0);
	const char *slash = path;

	if (fd < 0)
		return target_error(err, fd, path);
	while ((slash = strchr(slash + 1, '/'))) {
		int next;

		snprintf(prefix, sizeof(prefix), "%.*s", (int)(slash - path), path);
		next = open_or_make_parent(p, prefix, fd, strrchr(prefix, '/') + 1, err);
		if (next < 0)
			return next;
		close(fd);
		fd = next;
	}
	return TAKE_FD(fd);
}

static int persist_entry(void *ctx, const char *path, struct ota_err *err)
{
	struct persist *p = ctx;
	const char *why = refusal(p, path);
	AUTO_CLOSE int src_dir = -1;
	AUTO_CLOSE int dst_dir = -1;
	char parent[PATH_MAX];
	struct copy c = {.path = path};
	struct stat st;
	int r;

	if (why) {
		note(p, "The persistent entry \"%s\" is refused: %s", path, why);
		return 0;
	}
	c.name = strrchr(path, '/') + 1;
	snprintf(parent, sizeof(parent), "%.*s", (int)(c.name - path), path);
	src_dir = path_open_in_root(p->active_fd, parent, O_RDONLY | O_DIRECTORY, 0);
	r = src_dir < 0 ? src_dir : 0;
	if (r == 0 && fstatat(src_dir, c.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r < 0) {
		note(p, "%s is not carried over: %s", path,
			r == -EIO || r == -EUCLEAN || r == -EBADMSG ? strerror(-r)
								    : "the active slot has none");
		return 0;
	}
	why = refusal_in(p, p->active_fd, src_dir, c.name);
	if (!why)
		dst_dir = open_dst_parent(p, path, err);
	if (!why && dst_dir >= 0)
		why = refusal_in(p, p->standby_fd, dst_dir, c.name);
	if (why) {
		note(p, "The persistent entry \"%s\" is refused: %s", path, why);
		return 0;
	}
	if (dst_dir < 0 && err->errnum != 0)
		return dst_dir;
	if (dst_dir < 0) {
		note(p, "%s is not carried over: on the standby slot %s is in its way", path,
			dst_dir == -EPERM ? "what belongs to the machine"
					  : "something that is no folder");
		return 0;
	}
	c.src_dir = src_dir;
	c.dst_dir = dst_dir;
	return copy_entry(p, &c, err);
}

int persist_files_copy(const char *list, size_t len_bytes, const char *list_name, int active_fd,
	int standby_fd, persist_note_fn *note_fn, void *note_ctx, struct ota_err *err)
{
	struct ota_err local = {0};
	struct persist p = {
		.active_fd = active_fd,
		.standby_fd = standby_fd,
		.note = note_fn,
		.note_ctx = note_ctx,
		.ids = id_map_new(active_fd, standby_fd),
	};
	int r = -ENOMEM;

	if (p.ids) {
		/* No swap, no list: the names that are always refused remain. */
		(void)file_read(AT_FDCWD, "/proc/swaps", PROC_SWAPS_MAX_BYTES, &p.swaps);
		r = list_text_read_persistents(
			list, len_bytes, list_name, persist_entry, &p, &local);
	}
	if (r < 0 && err)
		*err = local;
	for (size_t i = 0; i < p.n_linked; i++)
		free(p.linked[i].path);
	free(p.linked);
	buf_done(&p.swaps);
	id_map_free(p.ids);
	return r;
}
