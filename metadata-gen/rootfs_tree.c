/*
 * rootfs_tree: names and objects of a root file system. Contract: rootfs_tree.h.
 */
#include "metadata-gen/rootfs_tree.h"

#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"

enum {
	LINKS_MAX = 40, /* as the kernel */
	CAP_V1_BYTES = 12,
	CAP_V2_BYTES = 20,
	CAP_V3_BYTES = 24,
	REVISION_AT = 3, /* the top byte of the first little-endian word */
};

static int by_path_cmp(const void *a, const void *b)
{
	const struct rootfs_entry *x = a, *y = b;

	return strcmp(x->path, y->path);
}

struct rootfs_tree *rootfs_tree_new(const char *prefix)
{
	AUTO_ROOTFS_TREE struct rootfs_tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return NULL;
	tree->prefix = strcmp(prefix, "/") == 0 ? "" : prefix;
	tree->prefix = rootfs_tree_strndup(tree, tree->prefix, strlen(tree->prefix));
	return tree->prefix ? TAKE_PTR(tree) : NULL;
}

static void keep(void *entry)
{
}

void rootfs_tree_free(struct rootfs_tree *tree)
{
	if (!tree)
		return;
	tdestroy(tree->by_path, keep);
	free(tree->entries);
	arena_done(&tree->arena);
	free(tree);
}

void rootfs_tree_freep(struct rootfs_tree **tree)
{
	rootfs_tree_free(*tree);
}

struct rootfs_node *rootfs_node_new(struct rootfs_tree *tree, enum rootfs_kind kind)
{
	struct rootfs_node *node = arena_alloc(&tree->arena, sizeof(*node));

	if (node)
		*node = (struct rootfs_node){.kind = kind, .mtime_nsec = MTIME_UNKNOWN};
	return node;
}

char *rootfs_tree_strndup(struct rootfs_tree *tree, const char *s, size_t len_bytes)
{
	return arena_strndup(&tree->arena, s, len_bytes);
}

static int make_room(struct rootfs_tree *tree)
{
	size_t cap = tree->cap ? tree->cap * 2 : 1024;
	struct rootfs_entry **p;

	if (tree->n_entries < tree->cap)
		return 0;
	p = realloc(tree->entries, cap * sizeof(struct rootfs_entry *));
	if (!p)
		return -ENOMEM;
	tree->entries = p;
	tree->cap = cap;
	return 0;
}

int rootfs_tree_add(struct rootfs_tree *tree, const char *path, struct rootfs_node *node,
	struct rootfs_entry **ret_entry)
{
	size_t prefix_len = strlen(tree->prefix), len = strlen(path);
	struct rootfs_entry *entry;
	char *image_path;

	if (make_room(tree) < 0)
		return -ENOMEM;
	entry = arena_alloc(&tree->arena, sizeof(*entry));
	image_path = arena_alloc(&tree->arena, prefix_len + len + 1);
	if (!entry || !image_path)
		return -ENOMEM;
	memcpy(image_path, tree->prefix, prefix_len);
	memcpy(image_path + prefix_len, path, len + 1);
	*entry = (struct rootfs_entry){
		.image_path = image_path, .path = image_path + prefix_len, .node = node};
	if (!tsearch(entry, &tree->by_path, by_path_cmp))
		return -ENOMEM;
	tree->entries[tree->n_entries++] = entry;
	if (ret_entry)
		*ret_entry = entry;
	return 0;
}

struct rootfs_entry *rootfs_tree_find(const struct rootfs_tree *tree, const char *path)
{
	struct rootfs_entry key = {.path = path};
	void *found = tfind(&key, &tree->by_path, by_path_cmp);

	return found ? *(struct rootfs_entry **)found : NULL;
}

static void take_out(struct rootfs_tree *tree, struct rootfs_entry *entry)
{
	tdelete(entry, &tree->by_path, by_path_cmp);
	entry->fate = FATE_GONE;
}

void rootfs_tree_drop(struct rootfs_tree *tree, struct rootfs_entry *entry)
{
	size_t len = strlen(entry->path);

	take_out(tree, entry);
	if (entry->node->kind != ROOTFS_DIR)
		return;
	for (size_t i = 0; i < tree->n_entries; i++) {
		struct rootfs_entry *e = tree->entries[i];

		if (e->fate != FATE_GONE && strncmp(e->path, entry->path, len) == 0 &&
			e->path[len] == '/')
			take_out(tree, e);
	}
}

static bool is_carried(const char *name, const char *const *more, size_t n_more)
{
	static const char *const exact[] = {
		"security.capability",
		"security.selinux",
		"system.posix_acl_access",
		"system.posix_acl_default",
	};

	if (list_text_cannot_carry(name, strlen(name)))
		return false;
	if (strncmp(name, "user.", 5) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(exact); i++)
		if (strcmp(name, exact[i]) == 0)
			return true;
	for (size_t i = 0; i < n_more; i++)
		if (strncmp(name, more[i], strlen(more[i])) == 0)
			return true;
	return false;
}

/*
 * Make the capability at @value, with room for revision 2, one of that revision, which means the same in every user
 * name space. Revision 3 adds the root id of the name space it was set in, revision 1 has half the bits. False:
 * it says something that revision 2 cannot.
 */
static bool capability_to_v2(uint8_t value[CAP_V2_BYTES], const void *data, size_t len)
{
	static const uint8_t root_id_0[4];
	const uint8_t *cap = data;

	memset(value, 0, CAP_V2_BYTES);
	memcpy(value, cap, MIN_OF(len, (size_t)CAP_V2_BYTES));
	if (len == CAP_V2_BYTES && cap[REVISION_AT] == 2)
		return true;
	value[REVISION_AT] = 2;
	if (len == CAP_V3_BYTES && cap[REVISION_AT] == 3)
		return memcmp(cap + CAP_V2_BYTES, root_id_0, sizeof(root_id_0)) == 0;
	return len == CAP_V1_BYTES && cap[REVISION_AT] == 1;
}

int rootfs_node_add_xattr(struct rootfs_tree *tree, struct rootfs_node *node, const char *name,
	const void *value, size_t len_bytes, const char *const *more, size_t n_more)
{
	struct rootfs_xattr **at = &node->xattrs, *x;
	uint8_t capability[CAP_V2_BYTES];

	if (!is_carried(name, more, n_more))
		return 0;
	if (strcmp(name, "security.capability") == 0) {
		if (!capability_to_v2(capability, value, len_bytes)) {
			node->lost_xattr = true;
			return 0;
		}
		value = capability;
		len_bytes = sizeof(capability);
	}
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	x = *at && strcmp((*at)->name, name) == 0 ? *at
						  : NULL; /* said twice: the later one counts */
	if (!x) {
		x = arena_alloc(&tree->arena, sizeof(*x));
		if (!x)
			return -ENOMEM;
		*x = (struct rootfs_xattr){
			.next = *at, .name = arena_strndup(&tree->arena, name, strlen(name))};
		*at = x;
	}
	x->value = arena_strndup(&tree->arena, len_bytes > 0 ? value : "", len_bytes);
	x->len_bytes = len_bytes;
	return x->name && x->value ? 1 : -ENOMEM;
}

static int by_image_path(const void *a, const void *b)
{
	const struct rootfs_entry *const *x = a, *const *y = b;

	return strcmp((*x)->image_path, (*y)->image_path);
}

void rootfs_tree_sort(struct rootfs_tree *tree)
{
	size_t n = 0;

	for (size_t i = 0; i < tree->n_entries; i++)
		if (tree->entries[i]->fate != FATE_GONE)
			tree->entries[n++] = tree->entries[i];
	tree->n_entries = n;
	if (n > 0)
		qsort(tree->entries, n, sizeof(struct rootfs_entry *), by_image_path);
}

/* A path being followed: what is known to be free of links, and what is still to be walked. */
struct walk {
	char done[PATH_MAX]; /* "" or "/a/b" */
	char todo[PATH_MAX]; /* "c/d" */
	int n_links;
};

static void go_up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');

	if (slash)
		*slash = '\0';
}

/* Take the first component of what is to be walked into @name. False at the end. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1])
{
	const char *from = w->todo + strspn(w->todo, "/");
	size_t len = strcspn(from, "/");

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, from, len);
	name[len] = '\0';
	memmove(w->todo, from + len, strlen(from + len) + 1);
	return true;
}

/* The link at the end of @done is replaced by its target. */
static bool follow(struct walk *w, const char *target)
{
	char rest[PATH_MAX];
	int n;

	memcpy(rest, w->todo, sizeof(rest));
	n = snprintf(w->todo, sizeof(w->todo), "%s/%s", target, rest);
	if (n < 0 || (size_t)n >= sizeof(w->todo) || ++w->n_links > LINKS_MAX)
		return false;
	go_up(w);
	if (target[0] == '/')
		w->done[0] = '\0';
	return true;
}

bool rootfs_tree_leads_to_file(const struct rootfs_tree *tree, const char *path)
{
	struct walk w = {.n_links = 0};
	char name[NAME_MAX + 1];
	const struct rootfs_entry *e = NULL;

	if (strlen(path) >= sizeof(w.todo))
		return false;
	memcpy(w.todo, path, strlen(path) + 1);
	while (next_name(&w, name)) {
		size_t len = strlen(w.done);

		e = NULL;
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			go_up(&w);
			continue;
		}
		if (len + strlen(name) + 2 > sizeof(w.done))
			return false;
		w.done[len] = '/';
		memcpy(w.done + len + 1, name, strlen(name) + 1);
		e = rootfs_tree_find(tree, w.done);
		if (!e)
			return false;
		if (e->node->kind == ROOTFS_SYMLINK && !follow(&w, e->node->target))
			return false;
	}
	return e && e->node->kind == ROOTFS_FILE;
}

bool rootfs_is_runtime_dir(const char *image_path, size_t len_bytes)
{
	static const char *const dirs[] = {"/dev", "/proc", "/sys", "/run", "/tmp"};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (strlen(dirs[i]) == len_bytes && strncmp(image_path, dirs[i], len_bytes) == 0)
			return true;
	return false;
}
