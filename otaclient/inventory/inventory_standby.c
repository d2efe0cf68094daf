/*
 * inventory_standby: what is on the slot that is to be changed. Contract: inventory.h.
 *
 * What the last update has noted (inode_index) is not hashed. All names of an inode are looked at together, for it is
 * kept for one link group or moved.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/workers.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/inventory/slot_search.h"
#include "otaclient/inventory/standby_inodes.h"
#include "otaclient/slot/entry_attrs.h"
#include "otaclient/slot/tree_walk.h"

/* What the last update put into this inode, if nobody has touched it since. */
static uint32_t known_content(const struct search *s, const struct stat *st)
{
	const struct inode_index *known = s->inv->known;
	uint32_t content = known ? inode_index_find(known, st) : FILE_TABLE_NONE;

	if (content == INODE_INDEX_OTHER)
		return CONTENT_UNWANTED;
	/* It has become longer or shorter without its time showing it: the file system is not to be believed. */
	if (content != FILE_TABLE_NONE &&
		s->table->contents[content].size_bytes != (uint64_t)st->st_size &&
		s->table->contents[content].size_bytes != CONTENT_SIZE_UNKNOWN)
		return FILE_TABLE_NONE;
	return content;
}

/*
 * Of what is known to hold @content: has it also the attributes that the image gives @file, and only this name, so that
 * nothing is to be done for it? A file whose time the image does not say is not counted among these: whoever looks at
 * the slot in the end could not tell whether somebody has written to it.
 */
static bool is_as_wanted(
	const struct search *s, const struct stat *st, uint32_t file, uint32_t content)
{
	const struct file_table *t = s->table;
	struct attrs_want want;

	/* The last look passes an empty file over. */
	if (file == FILE_TABLE_NONE || st->st_size == 0 || content != t->files[file].content ||
		st->st_nlink != 1 || t->files[file].group != file || !t->has_attributes ||
		t->mtimes[ENTRY_FILE][file].nsec == MTIME_UNKNOWN)
		return false;
	want = attrs_of_file(t, file);
	return inode_index_note(s->inv->known, st->st_ino)->is_plain && attrs_want_plain(&want) &&
	       attrs_stat_holds(&want, st);
}

static bool is_empty_file(const struct file_table *t, uint32_t file)
{
	return file != FILE_TABLE_NONE && t->contents[t->files[file].content].size_bytes == 0;
}

static int note_candidate(struct search *s, const struct stat *st, const char *path, uint32_t file)
{
	struct candidate c = {
		.ino = st->st_ino,
		.size_bytes = (uint64_t)st->st_size,
		.path = file,
		.content = known_content(s, st),
		.n_links = (uint32_t)st->st_nlink,
		.disk_kib = (uint32_t)(st->st_blocks / 2),
	};

	/* Each file of the image has one path, and so one candidate. Counts once the name is kept. */
	if (is_as_wanted(s, st, file, c.content))
		s->inv->whole[file] = true;
	if (c.content != FILE_TABLE_NONE)
		__atomic_fetch_add(&s->inv->n_known_names, 1, __ATOMIC_RELAXED);
	return search_add(s, c, path);
}

static int note_entry(void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err)
{
	struct search *s = ctx;
	struct stat st;
	uint32_t file;

	if (search_is_stopped(s))
		return -ECANCELED;
	if (!S_ISREG(e->type))
		return 0;
	if (!standby_inodes_find(s->inodes, e->ino, &st)) {
		int r = tree_entry_stat(e, &st, err);

		__atomic_fetch_add(&s->inv->n_asked_names, 1, __ATOMIC_RELAXED);

		if (r != 0)
			return r < 0 ? r : 0;
	}
	/* A folder says what it is, too; where the two differ the file system is damaged. */
	if (!S_ISREG(st.st_mode))
		return 0;
	file = search_file_at(s, e->path);
	if ((st.st_size == 0 && is_empty_file(s->table, file)) ||
		search_size_is_wanted(s, (uint64_t)st.st_size))
		return note_candidate(s, &st, e->path, file);
	/* Never read, but its removal frees its blocks with its last name. */
	__atomic_fetch_add(&s->inv->prune_back_bytes, (uint64_t)st.st_blocks * 512 / st.st_nlink,
		__ATOMIC_RELAXED);
	return 0;
}

static bool is_at_wanted_path(const struct search *s, const struct candidate *c)
{
	uint64_t size;

	if (!candidate_has_file(s, c) || c->size_bytes == 0)
		return false;
	size = s->table->contents[s->table->files[c->path].content].size_bytes;
	return size == c->size_bytes || size == CONTENT_SIZE_UNKNOWN;
}

/*
 * A kept inode belongs to exactly one link group, and a group keeps exactly one inode. Goes through
 * one inode's names (candidates from @from to @to), all with the right content for the group they
 * are in.
 */
static void keep_names_of_inode(const struct search *s, const struct candidate *c, size_t n)
{
	const struct file_table *t = s->table;
	struct inventory *inv = s->inv;
	uint32_t owner = FILE_TABLE_NONE; /* first file of the group that gets the inode */

	for (size_t i = 0; i < n; i++) {
		const struct file_entry *f;
		bool empty;

		if (!candidate_has_file(s, &c[i]))
			continue;
		f = &t->files[c[i].path];
		empty = c[i].size_bytes == 0 && t->contents[f->content].size_bytes == 0;
		if (!empty && c[i].content != f->content)
			continue;
		if (owner == FILE_TABLE_NONE && inv->anchor[f->group] == FILE_TABLE_NONE) {
			owner = f->group;
			inv->anchor[f->group] = c[i].path;
		}
		if (owner != f->group)
			continue;
		inv->kept_ino[c[i].path] = c[i].ino;
	}
}

/* Nor is whole what is not kept, and the further names that a file is to get change its inode. */
static void settle_whole(struct inventory *inv, const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_files; i++) {
		if (inv->kept_ino[i] == 0)
			inv->whole[i] = false;
		if (t->files[i].group != i)
			inv->whole[t->files[i].group] = false;
	}
}

/* Is one of the inode's names kept? */
static bool any_name_kept(const struct search *s, const struct candidate *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (candidate_has_file(s, &c[i]) && s->inv->kept_ino[c[i].path] == c[i].ino)
			return true;
	return false;
}

static size_t same_inode(const struct search *s, size_t from)
{
	size_t n = 1;

	while (from + n < s->n_candidates && s->candidates[from + n].ino == s->candidates[from].ino)
		n++;
	return n;
}

/*
 * Nobody else writes to the slot, so an inode has as many names as it says; else it would not be clear
 * who shares it, and the file system is damaged. Where the walk did not look there are none.
 */
static int check_names(const struct search *s, struct ota_err *err)
{
	size_t n;

	for (size_t i = 0; i < s->n_candidates; i += n) {
		const struct candidate *c = &s->candidates[i];

		n = same_inode(s, i);
		/* Of an empty file only the wanted names have been noted. */
		if (n != c->n_links && c->size_bytes > 0)
			return ota_err_set(err, -EUCLEAN, OTA_E_UNSPECIFIC,
				"The file system is damaged: inode %" PRIu64
				" has %zu names and says %u",
				c->ino, n, c->n_links);
	}
	return 0;
}

/* Write down what the hashing of standby showed. */
static void settle_standby(struct search *s)
{
	struct inventory *inv = s->inv;
	size_t n;

	for (size_t i = 0; i < s->n_candidates; i += n) {
		n = same_inode(s, i);
		keep_names_of_inode(s, &s->candidates[i], n);
	}
	settle_whole(inv, s->table);
	for (size_t i = 0; i < s->n_candidates; i += n) {
		struct candidate *c = &s->candidates[i];
		bool kept;

		n = same_inode(s, i);
		kept = any_name_kept(s, c, n);
		if (candidate_is_found(c)) {
			struct content_source *src = &inv->sources[c->content];

			/* An inode that is free to move is the better source for further names than
			 * a kept one. */
			if (src->place == PLACE_NOWHERE || (src->place == PLACE_KEPT && !kept)) {
				*src = (struct content_source){
					.ino = c->ino,
					.path = c->path,
					.place = kept ? PLACE_KEPT : PLACE_STANDBY,
				};
				if (!kept)
					continue;
			}
		}
		if (!kept)
			inv->prune_back_bytes += (uint64_t)c->disk_kib * 1024;
	}
}

int inventory_scan_standby(struct inventory *inv, const struct file_table *table, int standby_fd,
	const char *device, inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	AUTO_STANDBY_INODES struct standby_inodes *inodes = NULL;
	CLEANUP(search_done)
	struct search s = {
		.inv = inv,
		.table = table,
		.root_fd = standby_fd,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = inv->believes_nothing ? 0 : inode_index_load(standby_fd, table, &inv->known);

	if (r == 0 && device)
		r = standby_inodes_read(device, standby_fd, inv->known, stop, stop_ctx, &inodes);
	s.inodes = inodes;
	if (r == 0)
		r = search_collect_sizes(&s);
	if (r == 0)
		r = tree_walk(standby_fd, WORKERS_FOR_DISK, false, note_entry, &s, err);
	/* Their room is wanted by what follows. */
	s.inodes = NULL;
	standby_inodes_free(TAKE_PTR(inodes));
	search_sort(&s);
	if (r == 0)
		r = check_names(&s, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot look through the standby slot");
	r = search_hash(&s, is_at_wanted_path, err);
	if (r < 0)
		return r;
	/* The second round reads only for what the first has not found. */
	for (size_t i = 0; i < s.n_candidates; i++)
		if (candidate_is_found(&s.candidates[i]))
			inv->sources[s.candidates[i].content].place = PLACE_KEPT;
	r = search_collect_sizes(&s);
	for (uint32_t i = 0; i < table->n_contents; i++)
		inv->sources[i].place = PLACE_NOWHERE;
	if (r == 0)
		r = search_hash(&s, candidate_has_wanted_size, err);
	if (r < 0)
		return r;
	settle_standby(&s);
	return 0;
}
