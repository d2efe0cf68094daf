/*
 * file_table: the entries of a root file system in flat arrays, with an index by digest and one by
 * path.
 *
 * Building appends; contents are told apart at once, because every file needs the number of its
 * own. All that concerns more than one entry (unique paths, parents, groups) is checked once, by
 * the seal, which also gives back what the arrays have too much.
 *
 * The indexes are open hash tables of 32-bit references, at most three quarters full: about 100
 * bytes per file altogether. Each table has a hash of its own, so that nobody can write a list whose
 * paths, digests or inodes all have one place.
 *
 * Elsewhere: the text forms (list_text), what is done with the entries (the plan, the standby
 * writer).
 */
#include "common/image/file_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/image/text.h"
#include "common/image/utf8.h"

enum {
	CAP_DIRS,
	CAP_SYMLINKS,
	CAP_FILES,
	CAP_CONTENTS,
	INDEX_FIRST = 64, /* elements that an index starts with */
	INDEX_BATCH = 16, /* entries whose slots are fetched together */
};

/*
 * A reference in an index, from the top: kind (of a content: 0), some bits of the hash, index
 * within the kind. The hash bits spare nearly all looks at what only shares a slot.
 * FILE_TABLE_NONE, of a kind that there is not, is a free slot.
 */
enum {
	REF_INDEX_BITS = 24,
	REF_HASH_BITS = 6,
	REF_KIND_SHIFT = REF_INDEX_BITS + REF_HASH_BITS,
	REF_INDEX_MASK = (1 << REF_INDEX_BITS) - 1,
	REF_HASH_MASK = ((1 << REF_HASH_BITS) - 1) << REF_INDEX_BITS,
};
_Static_assert(
	(int)FILE_TABLE_ENTRIES_MAX <= (int)REF_INDEX_MASK + 1, "an index must fit a reference");

static const char *const kind_names[] = {"a directory", "a symbolic link", "a file"};

/* Which file was the first with an inode number; open addressing, 0 = free. Only files with other
 * names. */
struct group_map {
	uint32_t n_used, n_slots;
	struct group_slot {
		uint64_t inode;
		uint32_t file, n_names;
	} * slots;
};

/* ---- hashes ---- */

/* A place for each of @n references, at most three quarters used, all free. */
static uint32_t *slots_new(uint32_t n, uint32_t *ret_slots)
{
	uint32_t n_slots = n + n / 3 + 2;
	uint32_t *slots = malloc(n_slots * sizeof(*slots));

	if (!slots)
		return NULL;
	memset(slots, 0xFF, n_slots * sizeof(*slots));
	*ret_slots = n_slots;
	return slots;
}

static bool slots_full(uint32_t n_used, uint32_t n_slots)
{
	return (uint64_t)n_used * 4 >= (uint64_t)n_slots * 3;
}

static uint32_t slot_first(uint32_t hash, uint32_t n_slots)
{
	return (uint32_t)((uint64_t)hash * n_slots >> 32);
}

static uint32_t slot_next(uint32_t slot, uint32_t n_slots)
{
	return slot + 1 < n_slots ? slot + 1 : 0;
}

static uint32_t hash_of(const struct file_table *t, const void *data, size_t len)
{
	return (uint32_t)(keyed_hash(&t->hash_key, data, len) >> 32);
}

/* A slot is chosen by the high bits of the hash, so the low ones are news. */
static uint32_t ref_hash(uint32_t hash)
{
	return hash << REF_INDEX_BITS & REF_HASH_MASK;
}

/* ---- life ---- */

const char *text_path(struct text path, char buf[PATH_MAX])
{
	assert(path.len < PATH_MAX); /* file_table_seal() saw to it */
	memcpy(buf, path.at, path.len);
	buf[path.len] = '\0';
	return buf;
}

struct file_table *file_table_new(void)
{
	struct file_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->root_mtime.nsec = MTIME_UNKNOWN;
	hash_key_choose(&t->hash_key);
	t->entries_max = FILE_TABLE_ENTRIES_MAX;
	return t;
}

static void groups_free(struct group_map *g)
{
	if (g)
		free(g->slots);
	free(g);
}

void file_table_free(struct file_table *t)
{
	if (!t)
		return;
	groups_free(t->groups);
	free(t->dirs);
	free(t->symlinks);
	free(t->files);
	free(t->contents);
	for (size_t i = 0; i < ARRAY_SIZE(t->mtimes); i++)
		free(t->mtimes[i]);
	free(t->xattrs);
	free(t->content_index);
	free(t->path_index);
	arena_done(&t->arena);
	free(t);
}

void file_table_freep(struct file_table **t)
{
	file_table_free(*t);
}

struct arena *file_table_arena(struct file_table *t)
{
	return &t->arena;
}

static uint32_t n_entries(const struct file_table *t)
{
	return t->n_dirs + t->n_symlinks + t->n_files;
}

/* ---- contents ---- */

/* The slot that holds the digest, or the free one where it belongs; @ret_hash: what a reference in
 * it must carry. */
static uint32_t *content_slot(
	const struct file_table *t, const struct digest *digest, uint32_t *ret_hash)
{
	uint32_t hash = hash_of(t, digest->bytes, sizeof(digest->bytes));
	uint32_t i = slot_first(hash, t->content_slots);

	*ret_hash = ref_hash(hash);
	for (;; i = slot_next(i, t->content_slots)) {
		uint32_t ref = t->content_index[i];

		if (ref == FILE_TABLE_NONE)
			break;
		if ((ref & REF_HASH_MASK) == *ret_hash &&
			digest_equal(&t->contents[ref & REF_INDEX_MASK].digest, digest))
			break;
	}
	return &t->content_index[i];
}

uint32_t file_table_find_content(const struct file_table *t, const struct digest *digest)
{
	uint32_t hash, ref;

	if (!t->content_index)
		return FILE_TABLE_NONE;
	ref = *content_slot(t, digest, &hash);
	return ref == FILE_TABLE_NONE ? ref : ref & REF_INDEX_MASK;
}

static int content_index_make(struct file_table *t, uint32_t n)
{
	uint32_t n_slots;
	uint32_t *slots = slots_new(n, &n_slots);

	if (!slots)
		return -ENOMEM;
	free(t->content_index);
	t->content_index = slots;
	t->content_slots = n_slots;
	for (uint32_t i = 0; i < t->n_contents; i++) {
		uint32_t hash;
		uint32_t *slot = content_slot(t, &t->contents[i].digest, &hash);

		*slot = i | hash;
	}
	return 0;
}

void file_table_expect_files(struct file_table *t, size_t n_files)
{
	/* Without memory for so many it grows as it must, and says so then. */
	if (!t->content_index && n_files > INDEX_FIRST)
		(void)content_index_make(t, (uint32_t)MIN_OF(n_files, (size_t)t->entries_max));
}

/* The same content again: of a known and an unknown size the known one counts, and a blob serves
 * all. */
static int content_merge(struct content *old, const struct content *c)
{
	if (old->size_bytes == CONTENT_SIZE_UNKNOWN)
		old->size_bytes = c->size_bytes;
	else if (c->size_bytes != CONTENT_SIZE_UNKNOWN && c->size_bytes != old->size_bytes)
		return -EBADMSG;
	old->has_zst |= c->has_zst;
	return 0;
}

static int content_add(struct file_table *t, const struct content *c, uint32_t *ret_index)
{
	uint32_t hash, *slot;
	int r = 0;

	if (!t->content_index || slots_full(t->n_contents + 1, t->content_slots))
		r = content_index_make(t, MAX_OF(t->n_contents * 2, (uint32_t)INDEX_FIRST));
	if (r < 0)
		return r;
	slot = content_slot(t, &c->digest, &hash);
	if (*slot != FILE_TABLE_NONE) {
		*ret_index = *slot & REF_INDEX_MASK;
		return content_merge(&t->contents[*ret_index], c);
	}
	r = array_grow(&t->contents, sizeof(*c), t->n_contents, &t->caps[CAP_CONTENTS]);
	if (r < 0)
		return r;
	*ret_index = t->n_contents;
	*slot = t->n_contents | hash;
	t->contents[t->n_contents++] = *c;
	return 0;
}

/* ---- hard link groups ---- */

static struct group_slot *group_slot(
	const struct file_table *t, struct group_slot *slots, uint32_t n_slots, uint64_t inode)
{
	uint32_t i = slot_first(hash_of(t, &inode, sizeof(inode)), n_slots);

	while (slots[i].inode != 0 && slots[i].inode != inode)
		i = slot_next(i, n_slots);
	return &slots[i];
}

static int groups_grow(const struct file_table *t)
{
	struct group_map *g = t->groups;
	uint32_t n_slots = g->n_slots ? g->n_slots * 2 : INDEX_FIRST;
	struct group_slot *slots = calloc(n_slots, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < g->n_slots; i++)
		if (g->slots[i].inode != 0)
			*group_slot(t, slots, n_slots, g->slots[i].inode) = g->slots[i];
	free(g->slots);
	g->slots = slots;
	g->n_slots = n_slots;
	return 0;
}

/* The first file with this inode number: @file itself if there has been none. */
static int group_of(struct file_table *t, uint64_t inode, uint32_t file, uint32_t *ret_first)
{
	struct group_slot *slot;
	int r = 0;

	if (!t->groups)
		t->groups = calloc(1, sizeof(*t->groups));
	if (!t->groups)
		return -ENOMEM;
	if (slots_full(t->groups->n_used + 1, t->groups->n_slots))
		r = groups_grow(t);
	if (r < 0)
		return r;
	slot = group_slot(t, t->groups->slots, t->groups->n_slots, inode);
	if (slot->inode == 0) {
		*slot = (struct group_slot){.inode = inode, .file = file};
		t->groups->n_used++;
	}
	slot->n_names++;
	*ret_first = slot->file;
	return 0;
}

/* ---- building ---- */

static int room_for_entry(const struct file_table *t)
{
	return n_entries(t) < t->entries_max ? 0 : -E2BIG;
}

int file_table_add_dir(struct file_table *t, const struct dir_entry *d)
{
	int r = room_for_entry(t);

	if (r == 0)
		r = array_grow(&t->dirs, sizeof(*d), t->n_dirs, &t->caps[CAP_DIRS]);
	if (r == 0)
		t->dirs[t->n_dirs++] = *d;
	return r;
}

int file_table_add_symlink(struct file_table *t, const struct symlink_entry *s)
{
	int r = room_for_entry(t);

	assert(!t->path_index);
	if (r == 0)
		r = array_grow(&t->symlinks, sizeof(*s), t->n_symlinks, &t->caps[CAP_SYMLINKS]);
	if (r == 0)
		t->symlinks[t->n_symlinks++] = *s;
	return r;
}

int file_table_add_file(struct file_table *t, const struct file_entry *f,
	const struct digest *digest, uint64_t size_bytes, bool has_zst, uint64_t inode)
{
	uint64_t counted = size_bytes == CONTENT_SIZE_UNKNOWN ? 0 : size_bytes;
	struct content c = {
		.digest = *digest,
		.size_bytes = size_bytes,
		.first_file = t->n_files,
		.has_zst = has_zst,
	};
	struct file_entry file = *f;
	int r = room_for_entry(t);

	assert(!t->path_index);
	if (r == 0 && counted > UINT64_MAX - t->total_size_bytes)
		r = -E2BIG;
	if (r == 0)
		r = array_grow(&t->files, sizeof(file), t->n_files, &t->caps[CAP_FILES]);
	if (r == 0)
		r = content_add(t, &c, &file.content);
	file.group = t->n_files;
	if (r == 0 && inode != 0)
		r = group_of(t, inode, t->n_files, &file.group);
	if (r < 0)
		return r;
	t->files[t->n_files++] = file;
	t->total_size_bytes += counted;
	return 0;
}

/* ---- the path index ---- */

static uint32_t ref_make(enum entry_kind kind, uint32_t index)
{
	return (uint32_t)kind << REF_KIND_SHIFT | index;
}

static enum entry_kind ref_kind(uint32_t ref)
{
	return (enum entry_kind)(ref >> REF_KIND_SHIFT);
}

static struct text ref_path(const struct file_table *t, uint32_t ref)
{
	uint32_t i = ref & REF_INDEX_MASK;

	switch (ref_kind(ref)) {
	case ENTRY_DIR:
		return t->dirs[i].path;
	case ENTRY_SYMLINK:
		return t->symlinks[i].path;
	default:
		return t->files[i].path;
	}
}

/* The slot that holds the path, or the free one where it belongs; @ret_hash: what a reference in it
 * must carry. */
static uint32_t *path_slot(
	const struct file_table *t, struct text path, uint32_t hash, uint32_t *ret_hash)
{
	uint32_t i = slot_first(hash, t->path_slots);

	*ret_hash = ref_hash(hash);
	for (;; i = slot_next(i, t->path_slots)) {
		uint32_t ref = t->path_index[i];

		if (ref == FILE_TABLE_NONE)
			break;
		if ((ref & REF_HASH_MASK) == *ret_hash && text_equal(ref_path(t, ref), path))
			break;
	}
	return &t->path_index[i];
}

static uint32_t path_find(const struct file_table *t, struct text path)
{
	uint32_t hash;

	return *path_slot(t, path, hash_of(t, path.at, path.len), &hash);
}

/* Call @fn for each entry, directories first; stop at its first failure. */
static int each_entry(struct file_table *t, struct ota_err *err,
	int (*fn)(struct file_table *t, uint32_t ref, struct ota_err *err))
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < t->n_dirs; i++)
		r = fn(t, ref_make(ENTRY_DIR, i), err);
	for (uint32_t i = 0; r == 0 && i < t->n_symlinks; i++)
		r = fn(t, ref_make(ENTRY_SYMLINK, i), err);
	for (uint32_t i = 0; r == 0 && i < t->n_files; i++)
		r = fn(t, ref_make(ENTRY_FILE, i), err);
	return r;
}

static int index_entry(struct file_table *t, uint32_t ref, uint32_t whole_hash, struct ota_err *err)
{
	struct text path = ref_path(t, ref);
	char shown[UTF8_SHOW_MAX];
	uint32_t hash;
	uint32_t *slot = path_slot(t, path, whole_hash, &hash);

	if (*slot != FILE_TABLE_NONE)
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"The image lists %s twice, first as %s, then as %s",
			utf8_show(path.at, path.len, shown), kind_names[ref_kind(*slot)],
			kind_names[ref_kind(ref)]);
	*slot = ref | hash;
	return 0;
}

static int no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "the image's list of files");
}

/*
 * The slots of some entries are asked for together, before the first of them is used: with a million entries each is a
 * wait for memory.
 */
static int index_kind(struct file_table *t, enum entry_kind kind, uint32_t n, struct ota_err *err)
{
	uint32_t hashes[INDEX_BATCH];
	int r = 0;

	for (uint32_t from = 0; r == 0 && from < n; from += INDEX_BATCH) {
		uint32_t n_batch = MIN_OF(n - from, (uint32_t)INDEX_BATCH);

		for (uint32_t i = 0; i < n_batch; i++) {
			struct text path = ref_path(t, ref_make(kind, from + i));

			hashes[i] = hash_of(t, path.at, path.len);
			__builtin_prefetch(&t->path_index[slot_first(hashes[i], t->path_slots)], 1);
		}
		for (uint32_t i = 0; r == 0 && i < n_batch; i++)
			r = index_entry(t, ref_make(kind, from + i), hashes[i], err);
	}
	return r;
}

static int path_index_make(struct file_table *t, uint32_t n, struct ota_err *err)
{
	uint32_t n_slots;
	uint32_t *slots = slots_new(n, &n_slots);
	int r;

	if (!slots)
		return no_memory(err);
	free(t->path_index);
	t->path_index = slots;
	t->path_slots = n_slots;
	r = index_kind(t, ENTRY_DIR, t->n_dirs, err);
	if (r == 0)
		r = index_kind(t, ENTRY_SYMLINK, t->n_symlinks, err);
	return r == 0 ? index_kind(t, ENTRY_FILE, t->n_files, err) : r;
}

bool file_table_find(const struct file_table *t, const char *path, size_t len_bytes,
	enum entry_kind *ret_kind, uint32_t *ret_index)
{
	uint32_t ref;

	if (len_bytes > UINT32_MAX)
		return false;
	ref = path_find(t, (struct text){path, (uint32_t)len_bytes});
	if (ref == FILE_TABLE_NONE)
		return false;
	*ret_kind = ref_kind(ref);
	*ret_index = ref & REF_INDEX_MASK;
	return true;
}

/* ---- the seal ---- */

static int refuse_path(struct ota_err *err, struct text path, const char *why)
{
	char shown[UTF8_SHOW_MAX];

	return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "The image lists %s, but %s",
		utf8_show(path.at, path.len, shown), why);
}

static int check_target(const struct symlink_entry *s, struct ota_err *err)
{
	if (s->target.len == 0)
		return refuse_path(err, s->path, "this symbolic link has no target");
	if (s->target.len >= PATH_MAX)
		return refuse_path(err, s->path, "the target of this symbolic link is too long");
	if (memchr(s->target.at, '\0', s->target.len))
		return refuse_path(
			err, s->path, "the target of this symbolic link has a NUL in it");
	if (!utf8_is_valid(s->target.at, s->target.len))
		return refuse_path(err, s->path, "the target of this symbolic link is not UTF-8");
	return 0;
}

/* What can be said of an entry without looking at another. */
static int check_entry(struct file_table *t, uint32_t ref, struct ota_err *err)
{
	struct text path = ref_path(t, ref);

	if (!path_is_canonical(path.at, path.len))
		return refuse_path(err, path,
			"a path must begin with \"/\", have no empty, \".\" or \"..\" part and no "
			"NUL, and be no longer than the system allows");
	if (!utf8_is_valid(path.at, path.len))
		return refuse_path(err, path, "this path is not UTF-8");
	if (text_begins(path, "/.ota-"))
		return refuse_path(err, path, "what begins with /.ota- belongs to the updater");
	if (text_is(path, "/lost+found") && ref_kind(ref) != ENTRY_DIR)
		return refuse_path(err, path, "this is where the file system has a folder");
	return ref_kind(ref) == ENTRY_SYMLINK
		       ? check_target(&t->symlinks[ref & REF_INDEX_MASK], err)
		       : 0;
}

/* The path of the folder that holds @path; empty for a path in the root. */
static struct text parent_of(struct text path)
{
	const char *slash = memrchr(path.at, '/', path.len);

	return (struct text){path.at, (uint32_t)(slash - path.at)};
}

static int add_implied(struct file_table *t, struct text path, struct ota_err *err)
{
	struct dir_entry d = {.path = path, .mode = 0755, .implied = true};
	char shown[UTF8_SHOW_MAX];
	uint32_t hash, *slot;
	int r;

	if (slots_full(n_entries(t) + 1, t->path_slots)) {
		r = path_index_make(t, n_entries(t) * 2, err);
		if (r < 0)
			return r;
	}
	r = file_table_add_dir(t, &d);
	if (r == -E2BIG)
		return ota_err_set(err, r, OTA_E_OTA_IMAGE_INVALID,
			"The image has more than %u entries with the directory %s", t->entries_max,
			utf8_show(path.at, path.len, shown));
	if (r < 0)
		return no_memory(err);
	slot = path_slot(t, path, hash_of(t, path.at, path.len), &hash);
	*slot = ref_make(ENTRY_DIR, t->n_dirs - 1) | hash;
	return 0;
}

/* All folders above an entry are directories; those without a line get one. */
static int check_parents(struct file_table *t, uint32_t ref, struct ota_err *err)
{
	struct text parent = parent_of(ref_path(t, ref));

	/* The files of a folder stand together in most lists. */
	if (parent.len > 0 && text_equal(parent, t->last_parent))
		return 0;
	t->last_parent = parent;
	while (parent.len > 0) {
		uint32_t found = path_find(t, parent);
		int r;

		if (found != FILE_TABLE_NONE) {
			char shown[UTF8_SHOW_MAX], above[UTF8_SHOW_MAX];
			struct text path = ref_path(t, ref);

			if (ref_kind(found) == ENTRY_DIR)
				return 0; /* its own parents are checked in its own turn */
			return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
				"The image lists %s, but %s above it is %s",
				utf8_show(path.at, path.len, shown),
				utf8_show(parent.at, parent.len, above),
				kind_names[ref_kind(found)]);
		}
		r = add_implied(t, parent, err);
		if (r < 0)
			return r;
		parent = parent_of(parent);
	}
	return 0;
}

/* What the file system cannot hold is refused before anything is touched. */
static int check_names(const struct file_table *t, struct ota_err *err)
{
	for (uint32_t i = 0; t->groups && i < t->groups->n_slots; i++) {
		const struct group_slot *slot = &t->groups->slots[i];
		char shown[UTF8_SHOW_MAX];
		struct text path;

		if (slot->n_names <= FILE_TABLE_NAMES_MAX)
			continue;
		path = t->files[slot->file].path;
		return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"The image gives the file %s %u names, but ext4 has at most %d for a file",
			utf8_show(path.at, path.len, shown), slot->n_names, FILE_TABLE_NAMES_MAX);
	}
	return 0;
}

/* One inode has one owner, one mode and one content: those of the group's first line. */
static int settle_groups(struct file_table *t, struct ota_err *err)
{
	for (uint32_t i = 0; i < t->n_files; i++) {
		struct file_entry *f = &t->files[i];
		const struct file_entry *first = &t->files[f->group];
		char shown[UTF8_SHOW_MAX], other[UTF8_SHOW_MAX];

		if (f->content != first->content)
			return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
				"The image lists %s as another name of %s, but with another digest",
				utf8_show(f->path.at, f->path.len, shown),
				utf8_show(first->path.at, first->path.len, other));
		f->uid = first->uid;
		f->gid = first->gid;
		f->mode = first->mode;
	}
	return 0;
}

static int compare_dirs(const void *a, const void *b)
{
	return text_compare(
		((const struct dir_entry *)a)->path, ((const struct dir_entry *)b)->path);
}

/* Builders write their lists in order, and where nothing has to move no index has to be made again. */
static void sort_dirs(struct file_table *t)
{
	for (uint32_t i = 1; i < t->n_dirs; i++)
		if (compare_dirs(&t->dirs[i - 1], &t->dirs[i]) > 0) {
			qsort(t->dirs, t->n_dirs, sizeof(*t->dirs), compare_dirs);
			return;
		}
}

/* An index with twice the slots that it needs is made anew; for less it is not worth the time. */
static bool is_wasteful(uint32_t n_used, uint32_t n_slots)
{
	return n_slots / 2 > n_used + n_used / 3 + 2;
}

static void trim(struct file_table *t)
{
	groups_free(t->groups);
	t->groups = NULL;
	array_trim(&t->dirs, sizeof(*t->dirs), t->n_dirs, &t->caps[CAP_DIRS]);
	array_trim(&t->symlinks, sizeof(*t->symlinks), t->n_symlinks, &t->caps[CAP_SYMLINKS]);
	array_trim(&t->files, sizeof(*t->files), t->n_files, &t->caps[CAP_FILES]);
	array_trim(&t->contents, sizeof(*t->contents), t->n_contents, &t->caps[CAP_CONTENTS]);
}

int file_table_seal(struct file_table *t, struct ota_err *err)
{
	uint32_t n_listed;
	int r;

	assert(!t->path_index);
	n_listed = t->n_dirs;
	sort_dirs(t);
	r = each_entry(t, err, check_entry);
	if (r == 0)
		r = path_index_make(t, n_entries(t), err);
	if (r == 0)
		r = each_entry(t, err, check_parents);
	if (r == 0)
		r = settle_groups(t, err);
	if (r == 0)
		r = check_names(t, err);
	if (r < 0)
		return r;
	trim(t);
	if (is_wasteful(t->n_contents, t->content_slots) &&
		content_index_make(t, t->n_contents) < 0)
		return no_memory(err);
	if (t->n_dirs == n_listed)
		return 0;
	sort_dirs(t);
	return path_index_make(t, n_entries(t), err);
}
