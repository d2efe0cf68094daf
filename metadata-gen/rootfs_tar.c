/*
 * rootfs_tar: a tar stream as rootfs_tree. Contract: rootfs_tar.h.
 *
 * This thread reads, unpacks and hashes; the threads of a fill_queue compress and write behind it.
 */
#include "metadata-gen/rootfs_tar.h"

#include <assert.h>
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "metadata-gen/fill_queue.h"
#include "metadata-gen/progress.h"
#include "metadata-gen/rootfs_select.h"
#include "metadata-gen/tar_acl.h"

enum {
	TAR_BLOCK_BYTES = 1 << 17, /* handed to libarchive at a time */
	TAR_UNIT_BYTES = 512,      /* the format's own blocks */
};

struct tar {
	struct archive *archive;
	locale_t c_locale;
	const char *name; /* of the stream */
	struct rootfs_tree *tree;
	struct blob_store *store;
	const struct ignore_rules *rules;
	const struct rootfs_xattr_rule *xattrs;
	struct fill_queue *queue;
	struct digest_ctx *digest;
	struct progress progress;
	char path[PATH_MAX]; /* of the entry being read, "/etc/hosts"; "" is the root */
};

static int no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "the tar stream");
}

static int damaged(struct tar *t, struct ota_err *err)
{
	const char *why = archive_error_string(t->archive);

	if (archive_errno(t->archive) == ENOMEM)
		return no_memory(err);
	return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC, "The tar stream %s is damaged: %s",
		t->name, why ? why : "its end is missing");
}

/*
 * The one spelling of a name of the stream: "./a//b/" is "/a/b", "." is "". False: it leads out of the root or is
 * too long.
 */
static bool canonical_path(const char *text, char ret_path[PATH_MAX])
{
	size_t at = 0;

	for (;;) {
		size_t len;

		text += strspn(text, "/");
		len = strcspn(text, "/");
		if (len == 0)
			break;
		if (len == 2 && text[0] == '.' && text[1] == '.')
			return false;
		if (!(len == 1 && text[0] == '.')) {
			if (at + len + 2 > PATH_MAX)
				return false;
			ret_path[at++] = '/';
			memcpy(ret_path + at, text, len);
			at += len;
		}
		text += len;
	}
	ret_path[at] = '\0';
	return true;
}

static int take_path(struct tar *t, const char *text, char ret_path[PATH_MAX], struct ota_err *err)
{
	if (!text) /* libarchive has a reason */
		return damaged(t, err);
	if (!canonical_path(text, ret_path))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The tar stream %s has the name \"%.200s\", which leads out of the root or "
			"is too "
			"long",
			t->name, text);
	return 0;
}

/* ---- owners, times, attributes ---- */

/* One of the two ACLs of an entry, if it has it. */
static int add_acl(struct tar *t, struct rootfs_node *node, struct archive_entry *e, int type,
	const char *xattr, struct ota_err *err)
{
	AUTO_BUF struct buf value = {0};
	int r = tar_acl_to_xattr(e, type, &value);

	if (r == -EINVAL)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"The ACL of %s names users or groups without their numbers; make the tar "
			"with --xattrs --xattrs-include='*' instead of --acls",
			t->path);
	if (r == 0 && value.len_bytes > 0)
		r = rootfs_node_add_xattr(
			t->tree, node, xattr, value.data, value.len_bytes, NULL, 0);
	return r < 0 ? no_memory(err) : 0;
}

static int add_xattrs(
	struct tar *t, struct rootfs_node *node, struct archive_entry *e, struct ota_err *err)
{
	const char *name;
	const void *value;
	size_t len;
	int r;

	if (t->xattrs->none)
		return 0;
	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &len) == ARCHIVE_OK)
		if (rootfs_node_add_xattr(t->tree, node, name, value, len, t->xattrs->more,
			    t->xattrs->n_more) < 0)
			return no_memory(err);
	r = add_acl(t, node, e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", err);
	if (r < 0)
		return r;
	return add_acl(t, node, e, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", err);
}

static enum rootfs_kind kind_of(struct archive_entry *e)
{
	switch (archive_entry_filetype(e)) {
	case AE_IFDIR:
		return ROOTFS_DIR;
	case AE_IFLNK:
		return ROOTFS_SYMLINK;
	case AE_IFREG:
		return ROOTFS_FILE;
	default:
		return ROOTFS_SPECIAL;
	}
}

static bool id_fits(int64_t id)
{
	return id >= 0 && id < UINT32_MAX;
}

static int make_node(
	struct tar *t, struct archive_entry *e, struct rootfs_node **ret_node, struct ota_err *err)
{
	struct rootfs_node *node = rootfs_node_new(t->tree, kind_of(e));

	if (!node)
		return no_memory(err);
	if (!id_fits(archive_entry_uid(e)) || !id_fits(archive_entry_gid(e)))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The owner of %s in the tar stream %s is no user or group number", t->path,
			t->name);
	node->mode = (uint16_t)(archive_entry_perm(e) & 07777);
	node->uid = (uint32_t)archive_entry_uid(e);
	node->gid = (uint32_t)archive_entry_gid(e);
	if (archive_entry_mtime_is_set(e)) {
		node->mtime_sec = archive_entry_mtime(e);
		node->mtime_nsec = (uint32_t)archive_entry_mtime_nsec(e);
	}
	if (node->kind == ROOTFS_SYMLINK) {
		const char *target = archive_entry_symlink(e);

		if (!target)
			return damaged(t, err);
		node->target = rootfs_tree_strndup(t->tree, target, strlen(target));
		if (!node->target)
			return no_memory(err);
	}
	*ret_node = node;
	return node->kind == ROOTFS_SPECIAL ? 0 : add_xattrs(t, node, e, err);
}

/* ---- contents ---- */

/* Called with each piece of a content; zeros for the holes of a sparse file. */
typedef int piece_fn(void *ctx, const void *data, size_t len, uint64_t at);

static int fill_hole(piece_fn *fn, void *ctx, uint64_t from, uint64_t to)
{
	static const char zeros[1 << 16];

	while (from < to) {
		size_t n = (size_t)MIN_OF(to - from, (uint64_t)sizeof(zeros));
		int r = fn(ctx, zeros, n, from);

		if (r < 0)
			return r;
		from += n;
	}
	return 0;
}

static int content_failed(struct tar *t, int r, struct ota_err *err)
{
	return ota_err_wrap(err, r, "Cannot write the content of %s", t->path);
}

/* Hand the content of the current entry, @size_bytes long, to @fn. */
static int read_content(
	struct tar *t, uint64_t size_bytes, piece_fn *fn, void *ctx, struct ota_err *err)
{
	uint64_t at = 0;
	int r;

	for (;;) {
		const void *data;
		size_t len;
		la_int64_t offset;

		r = archive_read_data_block(t->archive, &data, &len, &offset);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK)
			return damaged(t, err);
		if (offset < 0 || (uint64_t)offset < at || (uint64_t)offset + len > size_bytes)
			return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
				"The tar stream %s is damaged at %s", t->name, t->path);
		r = fill_hole(fn, ctx, at, (uint64_t)offset);
		if (r == 0 && len > 0)
			r = fn(ctx, data, len, (uint64_t)offset);
		if (r < 0)
			return content_failed(t, r, err);
		at = (uint64_t)offset + len;
	}
	r = fill_hole(fn, ctx, at, size_bytes);
	return r < 0 ? content_failed(t, r, err) : 0;
}

struct memory_piece {
	struct digest_ctx *digest;
	char *data;
};

static int piece_to_memory(void *ctx, const void *data, size_t len, uint64_t at)
{
	struct memory_piece *m = ctx;

	memcpy(m->data + at, data, len);
	digest_add(m->digest, data, len);
	return 0;
}

static int take_small(struct tar *t, struct rootfs_node *node, bool spare, struct ota_err *err)
{
	AUTO_FREE char *data = malloc((size_t)node->size_bytes + 1);
	struct memory_piece m = {.digest = t->digest, .data = data};
	struct digest digest;
	int r;

	if (!data)
		return no_memory(err);
	digest_start(t->digest);
	r = read_content(t, node->size_bytes, piece_to_memory, &m, err);
	digest_final(t->digest, &digest);
	if (r < 0)
		return r;
	r = blob_claim(t->store, &digest, node->size_bytes, &node->blob, err);
	return r == 1 ? fill_queue_push(t->queue, node->blob, TAKE_PTR(data), spare, err) : r;
}

struct file_piece {
	struct digest_ctx *digest;
	int fd;
};

static int piece_to_file(void *ctx, const void *data, size_t len, uint64_t at)
{
	struct file_piece *f = ctx;

	digest_add(f->digest, data, len);
	return file_write_all(f->fd, data, len);
}

/* Too large for memory: by way of a file in the image that is being built. */
static int take_large(struct tar *t, struct rootfs_node *node, bool spare, struct ota_err *err)
{
	char spool[BLOB_SPOOL_NAME_MAX];
	struct file_piece f = {.digest = t->digest};
	AUTO_CLOSE int fd = -1;
	struct digest digest;
	bool is_new = false;
	int r = blob_spool_open(t->store, spool, &fd, err);

	if (r < 0)
		return r;
	f.fd = fd;
	digest_start(t->digest);
	r = read_content(t, node->size_bytes, piece_to_file, &f, err);
	digest_final(t->digest, &digest);
	if (r == 0)
		r = blob_spool_keep(
			t->store, spool, &digest, node->size_bytes, &node->blob, &is_new, err);
	if (r < 0 || !is_new || spare)
		return r;
	return fill_queue_push(t->queue, node->blob, NULL, false, err);
}

static int take_content(
	struct tar *t, struct rootfs_entry *entry, struct archive_entry *e, struct ota_err *err)
{
	struct rootfs_node *node = entry->node;
	bool spare = rootfs_fate_of(t->tree, entry, t->rules) != FATE_LISTED;
	int r;

	if (archive_entry_size(e) < 0)
		return damaged(t, err);
	node->size_bytes = (uint64_t)archive_entry_size(e);
	r = node->size_bytes <= BLOB_MEMORY_MAX ? take_small(t, node, spare, err)
						: take_large(t, node, spare, err);
	if (r == 0)
		progress_add(&t->progress, 1, node->size_bytes);
	return r;
}

/* ---- names ---- */

/* Folders that the stream uses without naming them: 0755, root, no time. */
static int make_parents(struct tar *t, struct ota_err *err)
{
	char parent[PATH_MAX];

	memcpy(parent, t->path, strlen(t->path) + 1);
	for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct rootfs_entry *e;
		struct rootfs_node *node;

		*slash = '\0';
		e = rootfs_tree_find(t->tree, parent);
		if (e && e->node->kind != ROOTFS_DIR)
			return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
				"The tar stream %s has %s, but %s is no folder", t->name, t->path,
				parent);
		if (!e) {
			node = rootfs_node_new(t->tree, ROOTFS_DIR);
			if (!node)
				return no_memory(err);
			node->mode = 0755;
			if (rootfs_tree_add(t->tree, parent, node, NULL) < 0)
				return no_memory(err);
		}
		*slash = '/';
	}
	return 0;
}

/* Give the name in t->path to @node. A folder that is named again keeps what is below it. */
static int put_entry(struct tar *t, struct rootfs_node *node, struct rootfs_entry **ret_entry,
	struct ota_err *err)
{
	struct rootfs_entry *old = rootfs_tree_find(t->tree, t->path);
	int r;

	if (old && old->node->kind == ROOTFS_DIR && node->kind == ROOTFS_DIR) {
		old->node = node;
		*ret_entry = old;
		return 0;
	}
	if (old)
		rootfs_tree_drop(t->tree, old);
	r = make_parents(t, err);
	if (r < 0)
		return r;
	return rootfs_tree_add(t->tree, t->path, node, ret_entry) < 0 ? no_memory(err) : 0;
}

static int take_hard_link(struct tar *t, const char *target_text, struct ota_err *err)
{
	char target[PATH_MAX];
	struct rootfs_entry *first, *entry;
	int r = take_path(t, target_text, target, err);

	if (r < 0)
		return r;
	first = rootfs_tree_find(t->tree, target);
	if (!first || first->node->kind == ROOTFS_DIR)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"The tar stream %s has %s as a hard link to %s, which is not before it",
			t->name, t->path, target);
	if (strcmp(target, t->path) == 0)
		return 0;
	return put_entry(t, first->node, &entry, err);
}

static int take_entry(struct tar *t, struct archive_entry *e, struct ota_err *err)
{
	const char *hard_link = archive_entry_hardlink(e);
	char path[PATH_MAX];
	struct rootfs_entry *entry;
	struct rootfs_node *node = NULL;
	int r = take_path(t, archive_entry_pathname(e), path, err);

	if (r < 0)
		return r;
	memcpy(t->path, path, sizeof(path));
	if (hard_link)
		return take_hard_link(t, hard_link, err);
	r = make_node(t, e, &node, err);
	if (r < 0)
		return r;
	assert(node);
	if (t->path[0] == '\0') {
		if (node->kind != ROOTFS_DIR)
			return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
				"The root of the tar stream %s is no folder", t->name);
		t->tree->root = node;
		return 0;
	}
	r = put_entry(t, node, &entry, err);
	if (r < 0)
		return r;
	return node->kind == ROOTFS_FILE ? take_content(t, entry, e, err) : 0;
}

/*
 * A tar ends with a block of zeros. libarchive also takes the plain end of the data for it, but then a stream
 * that broke off between two files would make a short image.
 */
static int check_end(struct tar *t, int64_t before, struct ota_err *err)
{
	if (archive_filter_bytes(t->archive, 0) - before >= TAR_UNIT_BYTES)
		return 0;
	return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
		"The tar stream %s breaks off after %s: its end mark is missing", t->name,
		t->path[0] ? t->path : "the root");
}

/*
 * In a UTF-8 locale libarchive brings names into composed form, so that two different names would become one. In
 * the C locale it fails to convert them and hands them over byte by byte, as they are in the stream.
 */
static int next_header(struct tar *t, struct archive_entry **ret_entry)
{
	locale_t before = uselocale(t->c_locale);
	int r = archive_read_next_header(t->archive, ret_entry);

	uselocale(before);
	return r;
}

static int read_all(struct tar *t, struct ota_err *err)
{
	for (;;) {
		int64_t before = archive_filter_bytes(t->archive, 0);
		struct archive_entry *e;
		int r = next_header(t, &e);

		if (r == ARCHIVE_EOF)
			return check_end(t, before, err);
		/* ARCHIVE_WARN is said of every name beyond ASCII, see next_header(). */
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return damaged(t, err);
		r = take_entry(t, e, err);
		if (r < 0)
			return r;
		if (archive_read_data_skip(t->archive) < ARCHIVE_WARN)
			return damaged(t, err);
	}
}

static int open_archive(struct tar *t, int fd, struct ota_err *err)
{
	t->c_locale = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
	t->archive = archive_read_new();
	if (!t->c_locale || !t->archive)
		return no_memory(err);
	archive_read_support_filter_gzip(t->archive);
	archive_read_support_filter_bzip2(t->archive);
	archive_read_support_filter_xz(t->archive);
	archive_read_support_filter_zstd(t->archive);
	archive_read_support_filter_lz4(t->archive);
	archive_read_support_format_tar(t->archive);
	if (archive_read_open_fd(t->archive, fd, TAR_BLOCK_BYTES) != ARCHIVE_OK)
		return damaged(t, err);
	return 0;
}

static int read_stream(struct tar *t, int fd, unsigned n_jobs, struct ota_err *err)
{
	AUTO_DIGEST_CTX struct digest_ctx *digest = digest_ctx_new();
	AUTO_FILL_QUEUE struct fill_queue *queue = NULL;
	int r;

	if (!digest)
		return no_memory(err);
	r = open_archive(t, fd, err);
	if (r == 0)
		r = fill_queue_new(t->store, n_jobs, &queue, err);
	if (r < 0)
		return r;
	t->digest = digest;
	t->queue = queue;
	r = read_all(t, err);
	return r == 0 ? fill_queue_finish(queue, err) : r;
}

int rootfs_tar_read(struct rootfs_tree *tree, int fd, const char *name, struct blob_store *store,
	const struct ignore_rules *rules, const struct rootfs_xattr_rule *xattrs, unsigned n_jobs,
	struct ota_err *err)
{
	struct tar t = {
		.name = name, .tree = tree, .store = store, .rules = rules, .xattrs = xattrs};
	int r;

	progress_start(&t.progress, "Reading", 0, 0);
	r = read_stream(&t, fd, n_jobs, err);
	progress_end(&t.progress);
	if (t.archive)
		archive_read_free(t.archive);
	if (t.c_locale)
		freelocale(t.c_locale);
	return r;
}

int rootfs_tar_settle(const struct rootfs_tree *tree, struct blob_store *store, unsigned n_jobs,
	struct ota_err *err)
{
	AUTO_FILL_QUEUE struct fill_queue *queue = NULL;
	int r = 0;

	for (size_t i = 0; i < tree->n_entries && r == 0; i++) {
		struct rootfs_entry *e = tree->entries[i];
		struct blob *blob = e->node->blob;

		if (e->fate != FATE_LISTED || e->node->kind != ROOTFS_FILE || blob->wanted)
			continue;
		blob->wanted = true; /* from here on it is a thread's */
		if (blob->tried)
			continue;
		if (!queue)
			r = fill_queue_new(store, n_jobs, &queue, err);
		if (r == 0)
			r = fill_queue_push(queue, blob, NULL, false, err);
	}
	return r == 0 && queue ? fill_queue_finish(queue, err) : r;
}
