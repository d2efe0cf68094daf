/*
 * inventory_active: what the running system has of the new one. Contract: inventory.h.
 *
 * A slot that an update has made has a list of its own (slot_list), which says where a content is without a walk
 * through all of it. Without a list a content is looked for where it is in the image, then by its size.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"
#include "otaclient/inventory/slot_inodes.h"
#include "otaclient/inventory/slot_list.h"
#include "otaclient/inventory/slot_search.h"
#include "otaclient/slot/tree_walk.h"

enum {
	BASE_FILES_MAX = 4,
};

static struct search search_of_active(struct inventory *inv, const struct file_table *table,
	int active_fd, inventory_stop_fn *stop, void *stop_ctx)
{
	return (struct search){
		.inv = inv,
		.table = table,
		.root_fd = active_fd,
		.patches = inv->patches,
		.stop = stop,
		.stop_ctx = stop_ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
}

/* Is the file there, and as long as @size_bytes? No reading. */
static bool is_there(const struct search *s, const char *path, uint64_t size_bytes)
{
	AUTO_CLOSE int fd = path_open(s->root_fd, path, O_PATH, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == size_bytes;
}

/* ---- without a list ----------------------------------------------------------------------------- */

static int guess_file(void *ctx, size_t index, struct ota_err *err)
{
	struct search *s = ctx;
	const struct file_entry *f = &s->table->files[index];
	struct content_source *src = &s->inv->sources[f->content];
	const struct content *c = &s->table->contents[f->content];
	char path[PATH_MAX];

	if (c->size_bytes == 0 || c->size_bytes == CONTENT_SIZE_UNKNOWN ||
		__atomic_load_n(&src->place, __ATOMIC_RELAXED) != PLACE_NOWHERE)
		return 0;
	if (search_is_stopped(s))
		return -ECANCELED;
	if (!is_there(s, text_path(f->path, path), c->size_bytes))
		return 0;
	pthread_mutex_lock(&s->lock);
	if (src->place == PLACE_NOWHERE) {
		src->path = (uint32_t)index;
		__atomic_store_n(&src->place, PLACE_ACTIVE_LIKELY, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int note_entry(void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err)
{
	struct search *s = ctx;
	struct stat st;
	int r;

	if (search_is_stopped(s))
		return -ECANCELED;
	/* Nobody could open a longer path. */
	if (!S_ISREG(e->type) || strlen(e->path) >= PATH_MAX)
		return 0;
	r = tree_entry_stat(e, &st, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!S_ISREG(st.st_mode) || !search_size_is_wanted(s, (uint64_t)st.st_size))
		return 0;
	return search_add(s,
		(struct candidate){
			.ino = st.st_ino,
			.size_bytes = (uint64_t)st.st_size,
			.path = search_file_at(s, e->path),
			.content = FILE_TABLE_NONE,
			.base = FILE_TABLE_NONE,
		},
		e->path);
}

/* Write down what the hashing of the active slot showed. */
static void settle_active(struct search *s)
{
	for (size_t i = 0; i < s->n_candidates; i++) {
		const struct candidate *c = &s->candidates[i];

		if (c->base != FILE_TABLE_NONE)
			s->inv->base_paths[c->base] = c->path;
		if (candidate_is_found(c) && s->inv->sources[c->content].place == PLACE_NOWHERE)
			s->inv->sources[c->content] =
				(struct content_source){.path = c->path, .place = PLACE_ACTIVE};
	}
}

int inventory_search_active(struct inventory *inv, const struct file_table *table, int active_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	CLEANUP(search_done)
	struct search s = search_of_active(inv, table, active_fd, stop, stop_ctx);
	int r = search_collect_sizes(&s);

	if (r < 0 || s.n_sizes == 0)
		return r;
	r = tree_walk(active_fd, WORKERS_FOR_DISK, true, note_entry, &s, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot look through the active slot");
	search_sort(&s);
	r = search_hash(&s, candidate_has_wanted_size, err);
	if (r == 0)
		settle_active(&s);
	return r;
}

static int look_without_list(struct search *s, struct ota_err *err)
{
	int r = workers_run(s->table->n_files, 64, WORKERS_FOR_DISK, guess_file, s, err);

	return r < 0 ? r
		     : inventory_search_active(
			       s->inv, s->table, s->root_fd, s->stop, s->stop_ctx, err);
}

/* ---- by the slot's list ------------------------------------------------------------------------- */

/* Of these bases a content could be made that has no place: so many files of each are read. NULL: there are none. */
static int collect_wanted_bases(const struct search *s, uint8_t **ret_wanted)
{
	const struct patch_list *list = s->patches;
	uint8_t *wanted = list ? calloc((size_t)list->n_bases + 1, 1) : NULL;

	*ret_wanted = wanted;
	if (!list)
		return 0;
	if (!wanted)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->table->n_contents; i++) {
		if (s->inv->sources[i].place != PLACE_NOWHERE)
			continue;
		for (uint32_t p = list->first[i]; p < list->first[i + 1]; p++)
			wanted[list->patches[p].base] = BASE_FILES_MAX;
	}
	return 0;
}

struct listed {
	struct search *s;
	uint8_t *wanted_bases;
	uint64_t n_lines;
	bool again; /* the places that the first reading found have been looked at */
};

/* It is hashed when it is copied. */
static int note_content(const struct listed *l, uint32_t content, const char *path)
{
	struct search *s = l->s;
	struct content_source *src = &s->inv->sources[content];

	if (src->place != PLACE_NOWHERE)
		return 0;
	/* All of them at once are looked at by many threads; few are left by then. */
	if (l->again && !is_there(s, path, s->table->contents[content].size_bytes))
		return 0;
	src->place = PLACE_ACTIVE_LIKELY;
	src->path = search_file_at(s, path);
	return src->path == FILE_TABLE_NONE ? search_add_path(s, path, &src->path) : 0;
}

/*
 * It is hashed before it counts. Of the files that the list says it is in, a few are enough. Each line counts as an
 * inode of its own: few files have several names.
 */
static int note_base(
	struct listed *l, const char *path, const struct digest *digest, uint64_t size_bytes)
{
	const struct search *s = l->s;
	uint32_t base =
		l->wanted_bases ? patch_list_find_base(s->patches, digest) : FILE_TABLE_NONE;

	if (l->again || base == FILE_TABLE_NONE || l->wanted_bases[base] == 0 ||
		s->patches->bases[base].size_bytes != size_bytes)
		return 0;
	l->wanted_bases[base]--;
	return search_add(l->s,
		(struct candidate){
			.ino = l->n_lines,
			.size_bytes = size_bytes,
			.path = search_file_at(s, path),
			.content = FILE_TABLE_NONE,
			.base = FILE_TABLE_NONE,
		},
		path);
}

static int note_line(void *ctx, const char *path, const struct digest *digest, uint64_t size_bytes,
	struct ota_err *err)
{
	struct listed *l = ctx;
	uint32_t content = file_table_find_content(l->s->table, digest);
	int r;

	l->n_lines++;
	if (search_is_stopped(l->s))
		return -ECANCELED;
	if (path[0] != '/' || size_bytes == 0)
		return 0;
	r = note_base(l, path, digest, size_bytes);
	if (r == 0 && content != FILE_TABLE_NONE)
		r = note_content(l, content, path);
	return r;
}

struct places {
	struct search *s;
	uint8_t *is_seen; /* one per content: an inode has it */
	atomic_size_t n_wrong;
};

static void see_content(void *ctx, uint32_t content, const struct ext4_inode_seen *inode)
{
	const struct places *p = ctx;

	if ((uint64_t)inode->st.st_size == p->s->table->contents[content].size_bytes)
		p->is_seen[content] = 1;
}

/* What is gone or has another length has changed since the list was made. */
static int check_place(void *ctx, size_t index, struct ota_err *err)
{
	struct places *p = ctx;
	struct search *s = p->s;
	struct content_source *src = &s->inv->sources[index];
	char buf[PATH_MAX];

	if (src->place != PLACE_ACTIVE_LIKELY || p->is_seen[index])
		return 0;
	if (search_is_stopped(s))
		return -ECANCELED;
	if (!is_there(s, inventory_path(s->inv, s->table, (uint32_t)index, buf),
		    s->table->contents[index].size_bytes)) {
		src->place = PLACE_NOWHERE;
		atomic_fetch_add(&p->n_wrong, 1);
	}
	return 0;
}

static bool is_noted(const struct search *s, const struct candidate *c)
{
	return true;
}

/* A damaged list may have said some things before it broke off. */
static void forget_noted(struct search *s)
{
	for (uint32_t i = 0; i < s->table->n_contents; i++)
		if (s->inv->sources[i].place == PLACE_ACTIVE_LIKELY)
			s->inv->sources[i].place = PLACE_NOWHERE;
	s->n_candidates = 0;
}

/* 1: there is no list, or none that can be read to its end. */
static int read_list(struct listed *l)
{
	struct ota_err why = {0};
	int r = slot_list_read(l->s->root_fd, note_line, l, &why);

	if (r == 0 || r == -ENOMEM || r == -ECANCELED)
		return r;
	forget_noted(l->s);
	return 1;
}

/* A list is asked for contents of a known size only: any file could be taken for one of an unknown size. */
static bool knows_sizes(const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_contents; i++)
		if (t->contents[i].size_bytes == CONTENT_SIZE_UNKNOWN)
			return false;
	return true;
}

static bool has_places(const struct search *s)
{
	for (uint32_t i = 0; i < s->table->n_contents; i++)
		if (s->inv->sources[i].place == PLACE_ACTIVE_LIKELY)
			return true;
	return false;
}

/* Of what no inode is known to have the name is asked. */
static int check_places(struct search *s, size_t *ret_n_wrong, struct ota_err *err)
{
	AUTO_FREE uint8_t *is_seen = calloc((size_t)s->table->n_contents + 1, 1);
	struct places p = {.s = s, .is_seen = is_seen};
	int r = is_seen ? 0 : -ENOMEM;

	if (r == 0 && has_places(s))
		r = slot_inodes_each(s->root_fd, s->table, see_content, &p, s->stop, s->stop_ctx);
	if (r == 0)
		r = workers_run(s->table->n_contents, 64, WORKERS_FOR_DISK, check_place, &p, err);
	*ret_n_wrong = p.n_wrong;
	return r;
}

/* 1: there is no list that can be used. */
static int look_by_list(struct search *s, struct ota_err *err)
{
	AUTO_FREE uint8_t *wanted_bases = NULL;
	struct listed listed = {.s = s};
	size_t n_wrong = 0;
	int r;

	if (!knows_sizes(s->table))
		return 1;
	r = collect_wanted_bases(s, &wanted_bases);
	listed.wanted_bases = wanted_bases;
	if (r == 0)
		r = read_list(&listed);
	if (r != 0)
		return r;
	r = check_places(s, &n_wrong, err);
	/* What is not where the first line said may be where another does. */
	listed.again = true;
	if (r == 0 && n_wrong > 0)
		r = read_list(&listed);
	if (r == 0)
		r = search_hash(s, is_noted, err);
	if (r == 0)
		settle_active(s);
	return r;
}

int inventory_scan_active(struct inventory *inv, const struct file_table *table, int active_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err)
{
	CLEANUP(search_done)
	struct search s = search_of_active(inv, table, active_fd, stop, stop_ctx);
	int r = look_by_list(&s, err);

	return r > 0 ? look_without_list(&s, err) : r;
}
