/*
 * rootfs_walk: a folder as rootfs_tree. Contract: rootfs_walk.h.
 *
 * Links are never followed. Mount points inside the folder are entered: a /boot that is mounted there belongs to
 * the image. Hard links are recognised by device and inode number.
 */
#include "metadata-gen/rootfs_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"

struct walk {
	struct rootfs_tree *tree;
	const char *root;
	const struct rootfs_xattr_rule *xattrs;
	void *by_inode;  /* nodes with several names */
	struct buf path; /* of the folder that is read: "" or "/etc" */
};

static int by_inode_cmp(const void *a, const void *b)
{
	const struct rootfs_node *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return 0;
}

static enum rootfs_kind kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return ROOTFS_DIR;
	if (S_ISLNK(mode))
		return ROOTFS_SYMLINK;
	return S_ISREG(mode) ? ROOTFS_FILE : ROOTFS_SPECIAL;
}

static int read_xattr(struct walk *w, struct rootfs_node *node, const char *path, const char *name)
{
	AUTO_FREE char *value = NULL;
	ssize_t len = lgetxattr(path, name, NULL, 0);

	if (len < 0)
		return errno == ENODATA ? 0 : -errno;
	value = malloc((size_t)len + 1);
	if (!value)
		return -ENOMEM;
	len = lgetxattr(path, name, value, (size_t)len);
	if (len < 0)
		return -errno;
	return rootfs_node_add_xattr(
		w->tree, node, name, value, (size_t)len, w->xattrs->more, w->xattrs->n_more);
}

/* The attributes of @rel ("" is the root). */
static int read_xattrs(struct walk *w, struct rootfs_node *node, const char *rel)
{
	char path[PATH_MAX];
	AUTO_FREE char *names = NULL;
	ssize_t len;

	if (w->xattrs->none)
		return 0;
	if ((size_t)snprintf(path, sizeof(path), "%s%s", w->root, rel) >= sizeof(path))
		return -ENAMETOOLONG;
	len = llistxattr(path, NULL, 0);
	if (len <= 0)
		return len == 0 || errno == ENOTSUP ? 0 : -errno;
	names = malloc((size_t)len);
	if (!names)
		return -ENOMEM;
	len = llistxattr(path, names, (size_t)len);
	if (len < 0)
		return -errno;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		int r = read_xattr(w, node, path, names + at);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_target(struct walk *w, struct rootfs_node *node, int dir_fd, const char *name)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(dir_fd, name, target, sizeof(target));

	if (len < 0)
		return -errno;
	if ((size_t)len == sizeof(target))
		return -ENAMETOOLONG;
	node->target = rootfs_tree_strndup(w->tree, target, (size_t)len);
	return node->target ? 0 : -ENOMEM;
}

static struct rootfs_node *node_of(struct walk *w, const struct stat *st)
{
	struct rootfs_node *node = rootfs_node_new(w->tree, kind_of(st->st_mode));

	if (!node)
		return NULL;
	node->mode = (uint16_t)(st->st_mode & 07777);
	node->uid = st->st_uid;
	node->gid = st->st_gid;
	node->mtime_sec = st->st_mtim.tv_sec;
	node->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
	node->size_bytes = (uint64_t)st->st_size;
	node->dev = st->st_dev;
	node->ino = st->st_ino;
	return node;
}

/* The node that another name of the same object has brought, or NULL. */
static struct rootfs_node *known_node(struct walk *w, const struct stat *st)
{
	struct rootfs_node key = {.dev = st->st_dev, .ino = st->st_ino};
	void *found = st->st_nlink > 1 && !S_ISDIR(st->st_mode)
			      ? tfind(&key, &w->by_inode, by_inode_cmp)
			      : NULL;

	return found ? *(struct rootfs_node **)found : NULL;
}

static int walk_dir(struct walk *w, int fd);

static int enter_dir(struct walk *w, int dir_fd, const char *name, struct rootfs_entry *entry)
{
	size_t before = w->path.len_bytes;
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0) {
		entry->node->errnum = -errno;
		return 0;
	}
	r = buf_printf(&w->path, "/%s", name);
	if (r < 0)
		return r;
	r = walk_dir(w, TAKE_FD(fd));
	if (r < 0)
		return r; /* the path stays for the message */
	w->path.len_bytes = before;
	w->path.data[before] = '\0';
	return 0;
}

/* Everything of one name that is not its content. */
static int read_node(struct walk *w, int dir_fd, const char *name, const char *path,
	const struct stat *st, struct rootfs_node **ret_node)
{
	struct rootfs_node *node = node_of(w, st);
	int r = 0;

	if (!node)
		return -ENOMEM;
	if (node->kind == ROOTFS_SYMLINK)
		r = read_target(w, node, dir_fd, name);
	if (r == 0 && node->kind != ROOTFS_SPECIAL)
		r = read_xattrs(w, node, path);
	if (r == -ENOMEM)
		return r;
	if (st->st_nlink > 1 && node->kind != ROOTFS_DIR &&
		!tsearch(node, &w->by_inode, by_inode_cmp))
		return -ENOMEM;
	node->errnum = r;
	*ret_node = node;
	return 0;
}

static int walk_name(struct walk *w, int dir_fd, const char *name)
{
	AUTO_BUF struct buf path = {0};
	struct rootfs_entry *entry;
	struct rootfs_node *node;
	struct stat st;
	int r;

	r = buf_printf(&path, "%s/%s", buf_str(&w->path), name);
	if (r < 0)
		return r;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	node = known_node(w, &st);
	if (!node) {
		r = read_node(w, dir_fd, name, buf_str(&path), &st, &node);
		if (r < 0)
			return r;
	}
	r = rootfs_tree_add(w->tree, buf_str(&path), node, &entry);
	if (r < 0)
		return r;
	return node->kind == ROOTFS_DIR ? enter_dir(w, dir_fd, name, entry) : 0;
}

/* A name inside /dev, /proc, /sys, /run or /tmp is only counted. */
static int note_name(struct walk *w, const char *name)
{
	AUTO_BUF struct buf path = {0};
	struct rootfs_node *node = rootfs_node_new(w->tree, ROOTFS_SPECIAL);
	int r = node ? buf_printf(&path, "%s/%s", buf_str(&w->path), name) : -ENOMEM;

	return r < 0 ? r : rootfs_tree_add(w->tree, buf_str(&path), node, NULL);
}

static bool is_runtime(const struct walk *w)
{
	AUTO_BUF struct buf image_path = {0};

	return buf_printf(&image_path, "%s%s", w->tree->prefix, buf_str(&w->path)) == 0 &&
	       rootfs_is_runtime_dir(buf_str(&image_path), image_path.len_bytes);
}

/* Takes @fd. */
static int walk_dir(struct walk *w, int fd)
{
	AUTO_CLOSEDIR DIR *dir = fdopendir(fd);
	bool runtime = is_runtime(w);
	struct dirent *e;

	if (!dir) {
		int r = -errno;

		close(fd);
		return r;
	}
	while (errno = 0, e = readdir(dir)) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = runtime ? note_name(w, e->d_name) : walk_name(w, fd, e->d_name);
		if (r < 0)
			return r;
	}
	return -errno;
}

static void keep(void *node)
{
}

static int walk_root(struct walk *w, int root_fd)
{
	AUTO_CLOSE int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	w->tree->root = node_of(w, &st);
	if (!w->tree->root)
		return -ENOMEM;
	r = read_xattrs(w, w->tree->root, "");
	return r < 0 ? r : walk_dir(w, TAKE_FD(fd));
}

int rootfs_walk(struct rootfs_tree *tree, int root_fd, const char *root,
	const struct rootfs_xattr_rule *xattrs, struct ota_err *err)
{
	struct walk w = {.tree = tree, .root = root, .xattrs = xattrs};
	int r = walk_root(&w, root_fd);

	if (r < 0)
		r = ota_err_wrap(err, r, "Cannot read the folder %s%s", root, buf_str(&w.path));
	tdestroy(w.by_inode, keep);
	buf_done(&w.path);
	return r;
}
