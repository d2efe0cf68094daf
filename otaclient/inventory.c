/*
 * inventory: find the wanted contents on the two slots. Contract: inventory.h.
 *
 * Each search has two parts: walk a slot and note candidates (regular files of a wanted size), then
 * hash the candidates in inode order on many threads and look the digests up. On standby those are not hashed
 * that the last update has noted (inode_index). Only the list of
 * candidates is shared while walking, under its lock; while hashing each thread writes its own
 * candidate.
 */
#include "otaclient/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "otaclient/inode_index.h"
#include "otaclient/standby_attrs.h"
#include "otaclient/tree_walk.h"

/* For a candidate's content: it was hashed, and nobody wants what it holds. */
#define CONTENT_UNWANTED (FILE_TABLE_NONE - 1)

/* A name of a file that may hold a wanted content. */
struct candidate {
	uint64_t ino;
	uint64_t size_bytes;
	uint32_t path; /* as in struct content_source */
	uint32_t
		content; /* what hashing found; FILE_TABLE_NONE = not hashed, or CONTENT_UNWANTED */
	uint32_t base;   /* that it is, or FILE_TABLE_NONE */
	uint32_t n_links;
	uint32_t
		disk_kib; /* what it takes on the disk: a file with holes takes less than its size */
	bool is_as_wanted;
};

/* One look through one slot. */
struct search {
	struct inventory *inv;
	const struct file_table *table;
	int root_fd;
	bool on_standby;
	inventory_stop_fn *stop;
	void *stop_ctx;

	uint64_t *sizes; /* sorted sizes of the contents that are looked for */
	size_t n_sizes;

	pthread_mutex_t lock;
	struct candidate *candidates;
	uint32_t n_candidates, cap_candidates;
};

struct inventory *inventory_new(const struct file_table *table)
{
	AUTO_INVENTORY struct inventory *inv = calloc(1, sizeof(*inv));

	if (!inv)
		return NULL;
	inv->sources = calloc((size_t)table->n_contents + 1, sizeof(*inv->sources));
	inv->kept_ino = calloc((size_t)table->n_files + 1, sizeof(*inv->kept_ino));
	inv->anchor = calloc((size_t)table->n_files + 1, sizeof(*inv->anchor));
	inv->whole = calloc((size_t)table->n_files + 1, sizeof(*inv->whole));
	if (!inv->sources || !inv->kept_ino || !inv->anchor || !inv->whole)
		return NULL;
	for (uint32_t i = 0; i < table->n_files; i++)
		inv->anchor[i] = FILE_TABLE_NONE;
	return TAKE_PTR(inv);
}

void inventory_free(struct inventory *inv)
{
	if (!inv)
		return;
	free(inv->sources);
	free(inv->kept_ino);
	free(inv->anchor);
	free(inv->foreign_paths);
	free(inv->base_paths);
	free(inv->whole);
	inode_index_free(inv->known);
	arena_done(&inv->arena);
	free(inv);
}

void inventory_freep(struct inventory **inv)
{
	inventory_free(*inv);
}

int inventory_want_bases(struct inventory *inv, const struct patch_list *patches)
{
	inv->base_paths = malloc(((size_t)patches->n_bases + 1) * sizeof(*inv->base_paths));
	if (!inv->base_paths)
		return -ENOMEM;
	for (uint32_t i = 0; i < patches->n_bases; i++)
		inv->base_paths[i] = FILE_TABLE_NONE;
	inv->patches = patches;
	return 0;
}

static void search_done(struct search *s)
{
	free(s->sizes);
	free(s->candidates);
	pthread_mutex_destroy(&s->lock);
}

static bool stopped(const struct search *s)
{
	return s->stop && s->stop(s->stop_ctx);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Thousands of files have few sizes. */
static void drop_repeated_sizes(struct search *s)
{
	size_t n = 0;
	uint64_t *less;

	for (size_t i = 0; i < s->n_sizes; i++)
		if (i == 0 || s->sizes[i] != s->sizes[i - 1])
			s->sizes[n++] = s->sizes[i];
	s->n_sizes = n;
	less = realloc(s->sizes, (n + 1) * sizeof(*s->sizes));
	if (less)
		s->sizes = less;
}

/* The patches whose bases this search looks for; standby's are on the move while they would be needed. */
static const struct patch_list *wanted_patches(const struct search *s)
{
	return s->on_standby ? NULL : s->inv->patches;
}

/* Of what a content could be made that has no place. */
static void collect_base_sizes(struct search *s, const struct patch_list *list, uint32_t content)
{
	for (uint32_t i = list->first[content]; i < list->first[content + 1]; i++)
		if (s->inv->base_paths[list->patches[i].base] == FILE_TABLE_NONE)
			s->sizes[s->n_sizes++] = list->bases[list->patches[i].base].size_bytes;
}

/* The sizes of all contents that have no place yet (of all, for the first look at standby). */
static int collect_sizes(struct search *s)
{
	const struct file_table *t = s->table;
	const struct patch_list *list = wanted_patches(s);
	size_t n_max = (size_t)t->n_contents + (list ? list->n_patches : 0) + 1;

	free(s->sizes);
	s->n_sizes = 0;
	s->sizes = malloc(n_max * sizeof(*s->sizes));
	if (!s->sizes)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_contents; i++) {
		if (s->inv->sources[i].place != PLACE_NOWHERE || t->contents[i].size_bytes == 0)
			continue;
		s->sizes[s->n_sizes++] = t->contents[i].size_bytes;
		if (list)
			collect_base_sizes(s, list, i);
	}
	qsort(s->sizes, s->n_sizes, sizeof(*s->sizes), compare_u64);
	drop_repeated_sizes(s);
	return 0;
}

static bool size_is_wanted(const struct search *s, uint64_t size)
{
	/* A content whose size the list does not give could have any. */
	if (s->n_sizes > 0 && s->sizes[s->n_sizes - 1] == CONTENT_SIZE_UNKNOWN)
		return true;
	return bsearch(&size, s->sizes, s->n_sizes, sizeof(size), compare_u64) != NULL;
}

/* The number for a path that the image has no file at. */
static int add_foreign_path(
	struct inventory *inv, uint32_t n_files, const char *path, uint32_t *ret)
{
	int r = array_grow(&inv->foreign_paths, sizeof(*inv->foreign_paths), inv->n_foreign,
		&inv->cap_foreign);
	const char *copy = r < 0 ? NULL : arena_strndup(&inv->arena, path, strlen(path));

	if (!copy)
		return -ENOMEM;
	*ret = n_files + inv->n_foreign;
	inv->foreign_paths[inv->n_foreign++] = copy;
	return 0;
}

/* What the last update put into this inode, if nobody has touched it since. */
static uint32_t known_content(const struct search *s, const struct stat *st)
{
	const struct inode_index *known = s->on_standby ? s->inv->known : NULL;
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

	if (file == FILE_TABLE_NONE || content != t->files[file].content || st->st_nlink != 1 ||
		t->files[file].group != file || !t->has_attributes ||
		t->mtimes[ENTRY_FILE][file].nsec == MTIME_UNKNOWN)
		return false;
	want = attrs_of_file(t, file);
	return inode_index_note(s->inv->known, st->st_ino)->is_plain && attrs_want_plain(&want) &&
	       attrs_stat_holds(&want, st);
}

/* @file: the image has it at this very path; FILE_TABLE_NONE: it has none there. */
static int add_candidate(struct search *s, const struct tree_entry *e, uint32_t file)
{
	struct candidate c = {
		.ino = e->st.st_ino,
		.size_bytes = (uint64_t)e->st.st_size,
		.path = file,
		.content = known_content(s, &e->st),
		.base = FILE_TABLE_NONE,
		.n_links = (uint32_t)e->st.st_nlink,
		.disk_kib = (uint32_t)(e->st.st_blocks / 2),
	};
	int r;

	c.is_as_wanted = is_as_wanted(s, &e->st, file, c.content);

	pthread_mutex_lock(&s->lock);
	r = array_grow(&s->candidates, sizeof(c), s->n_candidates, &s->cap_candidates);
	if (r == 0 && file == FILE_TABLE_NONE)
		r = add_foreign_path(s->inv, s->table->n_files, e->path, &c.path);
	if (r == 0)
		s->candidates[s->n_candidates++] = c;
	if (r == 0 && c.content != FILE_TABLE_NONE)
		s->inv->n_known_names++;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Is the candidate's name one that the image has a file at? */
static bool has_file(const struct file_table *t, const struct candidate *c)
{
	return c->path < t->n_files;
}

static uint32_t wanted_file_at(const struct file_table *t, const char *path)
{
	enum entry_kind kind;
	uint32_t index;

	if (file_table_find(t, path, strlen(path), &kind, &index) && kind == ENTRY_FILE)
		return index;
	return FILE_TABLE_NONE;
}

static int note_candidate(
	void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err)
{
	struct search *s = ctx;
	uint32_t file;

	if (stopped(s))
		return -ECANCELED;
	if (!S_ISREG(e->st.st_mode))
		return 0;
	if (!s->on_standby && strlen(e->path) >= PATH_MAX)
		return 0; /* nobody could open it */
	file = wanted_file_at(s->table, e->path);
	if (file != FILE_TABLE_NONE && s->on_standby && e->st.st_size == 0 &&
		s->table->contents[s->table->files[file].content].size_bytes == 0)
		return add_candidate(s, e, file);
	if (size_is_wanted(s, (uint64_t)e->st.st_size))
		return add_candidate(s, e, file);
	if (s->on_standby) {
		/* Never read, but its removal frees its blocks with its last name. */
		pthread_mutex_lock(&s->lock);
		s->inv->prune_back_bytes += (uint64_t)e->st.st_blocks * 512 / e->st.st_nlink;
		pthread_mutex_unlock(&s->lock);
	}
	return 0;
}

/* By inode, and names that the image wants first: the order of hashing. */
static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->path < y->path ? -1 : x->path > y->path;
}

static const char *path_by_number(
	const struct inventory *inv, const struct file_table *t, uint32_t path, char buf[PATH_MAX])
{
	return path < t->n_files ? text_path(t->files[path].path, buf)
				 : inv->foreign_paths[path - t->n_files];
}

const char *inventory_path(const struct inventory *inv, const struct file_table *table,
	uint32_t content, char buf[PATH_MAX])
{
	return path_by_number(inv, table, inv->sources[content].path, buf);
}

const char *inventory_base_path(const struct inventory *inv, const struct file_table *table,
	uint32_t base, char buf[PATH_MAX])
{
	uint32_t path = inv->base_paths ? inv->base_paths[base] : FILE_TABLE_NONE;

	return path == FILE_TABLE_NONE ? NULL : path_by_number(inv, table, path, buf);
}

static int open_candidate(const struct search *s, const struct candidate *c)
{
	char buf[PATH_MAX];

	return path_open(s->root_fd, path_by_number(s->inv, s->table, c->path, buf),
		O_RDONLY | O_NOATIME | O_NONBLOCK, 0);
}

/* Candidates of one round, one per inode. */
struct hash_round {
	struct search *s;
	uint32_t *picked; /* indices of candidates */
	size_t n_picked;
	uint64_t hashed_bytes; /* under the search's lock */
};

static int hash_candidate(void *ctx, size_t index, struct ota_err *err)
{
	struct hash_round *round = ctx;
	struct search *s = round->s;
	struct candidate *c = &s->candidates[round->picked[index]];
	AUTO_DIGEST_CTX struct digest_ctx *hash = NULL;
	AUTO_CLOSE int fd = -1;
	struct digest d;
	uint64_t size;
	int r;

	if (stopped(s))
		return -ECANCELED;
	hash = digest_ctx_new();
	if (!hash)
		return -ENOMEM;
	/* What cannot be read is not there: a bad sector of the old system costs a download, not
	 * the update. */
	c->content = CONTENT_UNWANTED;
	fd = open_candidate(s, c);
	r = fd < 0 ? fd : digest_of_fd_unless(hash, fd, s->stop, s->stop_ctx, &d, &size);
	if (r < 0)
		return r == -ECANCELED ? r : 0;
	if (file_table_find_content(s->table, &d) != FILE_TABLE_NONE)
		c->content = file_table_find_content(s->table, &d);
	if (wanted_patches(s))
		c->base = patch_list_find_base(s->inv->patches, &d);
	pthread_mutex_lock(&s->lock);
	round->hashed_bytes += size;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void sort_candidates(struct search *s)
{
	if (s->n_candidates > 0)
		qsort(s->candidates, s->n_candidates, sizeof(*s->candidates), compare_candidates);
}

static bool is_found(const struct candidate *c)
{
	return c->content != FILE_TABLE_NONE && c->content != CONTENT_UNWANTED;
}

/*
 * Hash the first candidate of each inode that @wanted says yes to, and give the result to all names
 * of the inode. Candidates are sorted.
 */
static int hash_round(struct search *s,
	bool (*wanted)(const struct search *s, const struct candidate *c), struct ota_err *err)
{
	AUTO_FREE uint32_t *picked = malloc((s->n_candidates + 1) * sizeof(*picked));
	struct hash_round round = {.s = s, .picked = picked};
	int r;

	if (!picked)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_candidates; i++)
		if ((i == 0 || s->candidates[i].ino != s->candidates[i - 1].ino) &&
			s->candidates[i].content == FILE_TABLE_NONE && wanted(s, &s->candidates[i]))
			picked[round.n_picked++] = (uint32_t)i;
	r = workers_run(round.n_picked, 8, WORKERS_FOR_DISK, hash_candidate, &round, err);
	if (r < 0)
		return r;
	for (size_t i = 1; i < s->n_candidates; i++)
		if (s->candidates[i].ino == s->candidates[i - 1].ino)
			s->candidates[i].content = s->candidates[i - 1].content;
	s->inv->n_hashed_files += round.n_picked;
	s->inv->n_hashed_bytes += round.hashed_bytes;
	return 0;
}

static bool is_at_wanted_path(const struct search *s, const struct candidate *c)
{
	uint64_t size;

	if (!has_file(s->table, c) || c->size_bytes == 0)
		return false;
	size = s->table->contents[s->table->files[c->path].content].size_bytes;
	return size == c->size_bytes || size == CONTENT_SIZE_UNKNOWN;
}

static bool has_missing_size(const struct search *s, const struct candidate *c)
{
	return c->size_bytes > 0 && size_is_wanted(s, c->size_bytes);
}

/*
 * A kept inode belongs to exactly one link group, and a group keeps exactly one inode. Goes through
 * one inode's names (candidates from @from to @to), all with the right content for the group they
 * are in.
 */
static void keep_names_of_inode(
	struct inventory *inv, const struct file_table *t, const struct candidate *c, size_t n)
{
	uint32_t owner = FILE_TABLE_NONE; /* first file of the group that gets the inode */

	for (size_t i = 0; i < n; i++) {
		const struct file_entry *f;
		bool empty;

		if (!has_file(t, &c[i]))
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
		inv->whole[c[i].path] = c[i].is_as_wanted;
	}
}

/* The further names that a file is to get change its inode. */
static void take_groups_out(struct inventory *inv, const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_files; i++)
		if (t->files[i].group != i)
			inv->whole[t->files[i].group] = false;
}

const struct inode_note *inventory_whole(const struct inventory *inv, uint32_t file)
{
	return inv->whole[file] ? inode_index_note(inv->known, inv->kept_ino[file]) : NULL;
}

/* Is one of the inode's names kept? */
static bool any_name_kept(const struct inventory *inv, const struct file_table *t,
	const struct candidate *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (has_file(t, &c[i]) && inv->kept_ino[c[i].path] == c[i].ino)
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
		keep_names_of_inode(inv, s->table, &s->candidates[i], n);
	}
	take_groups_out(inv, s->table);
	for (size_t i = 0; i < s->n_candidates; i += n) {
		struct candidate *c = &s->candidates[i];
		bool kept;

		n = same_inode(s, i);
		kept = any_name_kept(inv, s->table, c, n);
		if (is_found(c)) {
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
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	CLEANUP(search_done)
	struct search s = {
		.inv = inv,
		.table = table,
		.root_fd = standby_fd,
		.on_standby = true,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = inv->believes_nothing ? 0 : inode_index_load(standby_fd, table, &inv->known);

	if (r == 0)
		r = collect_sizes(&s);
	if (r == 0)
		r = tree_walk(standby_fd, WORKERS_FOR_DISK, false, note_candidate, &s, err);
	sort_candidates(&s);
	if (r == 0)
		r = check_names(&s, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot look through the standby slot");
	r = hash_round(&s, is_at_wanted_path, err);
	if (r < 0)
		return r;
	/* The second round reads only for what the first has not found. */
	for (size_t i = 0; i < s.n_candidates; i++)
		if (is_found(&s.candidates[i]))
			inv->sources[s.candidates[i].content].place = PLACE_KEPT;
	r = collect_sizes(&s);
	for (uint32_t i = 0; i < table->n_contents; i++)
		inv->sources[i].place = PLACE_NOWHERE;
	if (r == 0)
		r = hash_round(&s, has_missing_size, err);
	if (r < 0)
		return r;
	settle_standby(&s);
	return 0;
}

/* State of inventory_guess_active() for its threads. */
struct guess {
	struct inventory *inv;
	const struct file_table *table;
	int active_fd;
	inventory_stop_fn *stop;
	void *stop_ctx;
	pthread_mutex_t lock;
};

static int guess_file(void *ctx, size_t index, struct ota_err *err)
{
	struct guess *g = ctx;
	const struct file_entry *f = &g->table->files[index];
	struct content_source *src = &g->inv->sources[f->content];
	const struct content *c = &g->table->contents[f->content];
	AUTO_CLOSE int fd = -1;
	char path[PATH_MAX];
	struct stat st;

	if (c->size_bytes == 0 || __atomic_load_n(&src->place, __ATOMIC_RELAXED) != PLACE_NOWHERE)
		return 0;
	if (g->stop && g->stop(g->stop_ctx))
		return -ECANCELED;
	fd = path_open(g->active_fd, text_path(f->path, path), O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != c->size_bytes)
		return 0;
	pthread_mutex_lock(&g->lock);
	if (src->place == PLACE_NOWHERE) {
		src->path = (uint32_t)index;
		__atomic_store_n(&src->place, PLACE_ACTIVE_LIKELY, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&g->lock);
	return 0;
}

int inventory_guess_active(struct inventory *inv, const struct file_table *table, int active_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	struct guess g = {
		.inv = inv,
		.table = table,
		.active_fd = active_fd,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = workers_run(table->n_files, 64, WORKERS_FOR_DISK, guess_file, &g, err);

	pthread_mutex_destroy(&g.lock);
	return r;
}

/* Write down what the hashing of the active slot showed. */
static void settle_active(struct search *s)
{
	for (size_t i = 0; i < s->n_candidates; i++) {
		const struct candidate *c = &s->candidates[i];

		if (c->base != FILE_TABLE_NONE)
			s->inv->base_paths[c->base] = c->path;
		if (is_found(c) && s->inv->sources[c->content].place == PLACE_NOWHERE)
			s->inv->sources[c->content] =
				(struct content_source){.path = c->path, .place = PLACE_ACTIVE};
	}
}

int inventory_search_active(struct inventory *inv, const struct file_table *table, int active_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	CLEANUP(search_done)
	struct search s = {
		.inv = inv,
		.table = table,
		.root_fd = active_fd,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = collect_sizes(&s);

	if (r < 0 || s.n_sizes == 0)
		return r;
	r = tree_walk(active_fd, WORKERS_FOR_DISK, true, note_candidate, &s, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot look through the active slot");
	sort_candidates(&s);
	r = hash_round(&s, has_missing_size, err);
	if (r < 0)
		return r;
	settle_active(&s);
	return 0;
}
