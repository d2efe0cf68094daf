/*
 * rootfs_tree: the root file system that an image is made of, as read from a folder (rootfs_walk.c) or a tar
 * stream (rootfs_tar.c): every name, and the object behind it. What becomes of each name is decided
 * afterwards, by rootfs_select.c.
 *
 * Several names of one object are hard links. Built by one thread; nothing is locked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/image/file_table.h"

struct blob;

enum rootfs_kind {
	ROOTFS_DIR,
	ROOTFS_SYMLINK,
	ROOTFS_FILE,
	ROOTFS_SPECIAL, /* FIFO, socket, device: no image can carry it */
};

struct rootfs_xattr {
	struct rootfs_xattr *next; /* sorted by name */
	const char *name;
	const void *value;
	size_t len_bytes;
};

struct rootfs_node {
	enum rootfs_kind kind;
	uint16_t mode; /* permission bits with set-id and sticky */
	uint32_t uid, gid;
	int64_t mtime_sec;
	uint32_t mtime_nsec; /* MTIME_UNKNOWN: the input says nothing */
	struct rootfs_xattr *xattrs;
	bool lost_xattr;     /* it has an attribute that no image can carry */
	const char *target;  /* of a link; NULL otherwise */
	uint64_t size_bytes; /* of a file */
	struct blob *blob; /* of a file: its content, owned by the blob_store; NULL: not read yet */
	dev_t dev; /* of a folder's files, to see that the same one is opened later; else 0 */
	ino_t ino;
	int errnum; /* negative: it could not be read whole; a failure if it is to be listed */
	uint32_t n_listed;      /* names in the image; set by rootfs_select() */
	const char *first_path; /* a listed name that it was read by; NULL: not yet */
	uint64_t group_no;      /* hard link group 1, 2, 3…; 0 = only one name in the image */
};

/* What becomes of a name. All but the first stay out of the image; each is counted and reported. */
enum rootfs_fate {
	FATE_LISTED,
	FATE_IGNORED,        /* by the ignore file */
	FATE_OLD_KERNEL,     /* by the choice of a kernel */
	FATE_CONTAINER_MARK, /* what a container engine leaves behind */
	FATE_RUNTIME,        /* inside /dev, /proc, /sys, /run, /tmp */
	FATE_SPECIAL,        /* ROOTFS_SPECIAL */
	FATE_OTA_STORE,      /* /.ota-*: the client's own */
	FATE_GONE,           /* a tar stream replaced it */
	FATE_COUNT,
};

struct rootfs_entry {
	const char *image_path; /* with the prefix, as the image lists it */
	const char *path;       /* without it, as the input names it; points into image_path */
	struct rootfs_node *node;
	enum rootfs_fate fate;
};

struct rootfs_tree {
	struct rootfs_entry **entries; /* "/" is not among them; sorted after rootfs_tree_sort() */
	size_t n_entries;
	struct rootfs_node *root; /* times and xattrs of "/"; NULL = the input has none */
	const char *prefix;       /* "" or "/some/folder" */

	/* private */
	struct arena arena;
	size_t cap;
	void *by_path;
};

/* @prefix: canonical, or "/" for none. NULL: no memory. */
struct rootfs_tree *rootfs_tree_new(const char *prefix);
void rootfs_tree_free(struct rootfs_tree *tree);
void rootfs_tree_freep(struct rootfs_tree **tree);
#define AUTO_ROOTFS_TREE CLEANUP(rootfs_tree_freep)

/* A zeroed node without content and times, or NULL. */
struct rootfs_node *rootfs_node_new(struct rootfs_tree *tree, enum rootfs_kind kind);

/* A copy in the tree's memory, or NULL. */
char *rootfs_tree_strndup(struct rootfs_tree *tree, const char *s, size_t len_bytes);

/* Add a name of @node. The path is new and absolute ("/etc/hosts"); 0 or -ENOMEM. */
int rootfs_tree_add(struct rootfs_tree *tree, const char *path, struct rootfs_node *node,
	struct rootfs_entry **ret_entry);

/* The entry of a path as the input names it, or NULL. Those with FATE_GONE are not found. */
struct rootfs_entry *rootfs_tree_find(const struct rootfs_tree *tree, const char *path);

/* Take a name out, and everything below it. */
void rootfs_tree_drop(struct rootfs_tree *tree, struct rootfs_entry *entry);

/*
 * Add an extended attribute to @node, if images carry attributes of that name: user.*, security.capability (as
 * revision 2; one that only means something in another user name space is lost), security.selinux, the POSIX
 * ACLs, and names that begin with one of the @n_more texts. Returns 1, 0 if it is not carried, or -ENOMEM.
 */
int rootfs_node_add_xattr(struct rootfs_tree *tree, struct rootfs_node *node, const char *name,
	const void *value, size_t len_bytes, const char *const *more, size_t n_more);

/* By the bytes of image_path, so that equal trees give equal lists; parents come before their children. */
void rootfs_tree_sort(struct rootfs_tree *tree);

/* Does a link of this path lead to a regular file, if it is followed within the tree? */
bool rootfs_tree_leads_to_file(const struct rootfs_tree *tree, const char *path);

/* Is @image_path one of the folders whose content belongs to the running system (/dev, /proc, …)? */
bool rootfs_is_runtime_dir(const char *image_path, size_t len_bytes);
