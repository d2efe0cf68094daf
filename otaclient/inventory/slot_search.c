/*
 * slot_search: candidates and their hashes. Contract: slot_search.h.
 */
#include "otaclient/inventory/slot_search.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "common/base/workers.h"

void search_done(struct search *s)
{
	free(s->sizes);
	free(s->candidates);
	pthread_mutex_destroy(&s->lock);
}

bool search_is_stopped(const struct search *s)
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

/* Of what a content could be made that has no place. */
static void collect_base_sizes(struct search *s, const struct patch_list *list, uint32_t content)
{
	for (uint32_t i = list->first[content]; i < list->first[content + 1]; i++)
		if (s->inv->base_paths[list->patches[i].base] == FILE_TABLE_NONE)
			s->sizes[s->n_sizes++] = list->bases[list->patches[i].base].size_bytes;
}

int search_collect_sizes(struct search *s)
{
	const struct file_table *t = s->table;
	const struct patch_list *list = s->patches;
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

bool search_size_is_wanted(const struct search *s, uint64_t size)
{
	/* A content whose size the list does not give could have any. */
	if (s->n_sizes > 0 && s->sizes[s->n_sizes - 1] == CONTENT_SIZE_UNKNOWN)
		return true;
	return bsearch(&size, s->sizes, s->n_sizes, sizeof(size), compare_u64) != NULL;
}

int search_add_path(struct search *s, const char *path, uint32_t *ret_number)
{
	struct inventory *inv = s->inv;
	int r = array_grow(&inv->foreign_paths, sizeof(*inv->foreign_paths), inv->n_foreign,
		&inv->cap_foreign);
	const char *copy = r < 0 ? NULL : arena_strndup(&inv->arena, path, strlen(path));

	if (!copy)
		return -ENOMEM;
	*ret_number = s->table->n_files + inv->n_foreign;
	inv->foreign_paths[inv->n_foreign++] = copy;
	return 0;
}

bool candidate_has_file(const struct search *s, const struct candidate *c)
{
	return c->path < s->table->n_files;
}

uint32_t search_file_at(const struct search *s, const char *path)
{
	enum entry_kind kind;
	uint32_t index;

	if (file_table_find(s->table, path, strlen(path), &kind, &index) && kind == ENTRY_FILE)
		return index;
	return FILE_TABLE_NONE;
}

int search_add(struct search *s, struct candidate c, const char *path)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = array_grow(&s->candidates, sizeof(c), s->n_candidates, &s->cap_candidates);
	if (r == 0 && c.path == FILE_TABLE_NONE)
		r = search_add_path(s, path, &c.path);
	if (r == 0)
		s->candidates[s->n_candidates++] = c;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* By inode, and names that the image wants first: the order of hashing. */
static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->path < y->path ? -1 : x->path > y->path;
}

static int open_candidate(const struct search *s, const struct candidate *c)
{
	char buf[PATH_MAX];

	return path_open(s->root_fd, inventory_path_by_number(s->inv, s->table, c->path, buf),
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
	struct stat st;
	uint64_t size;
	int r;

	if (search_is_stopped(s))
		return -ECANCELED;
	hash = digest_ctx_new();
	if (!hash)
		return -ENOMEM;
	/* What cannot be read is not there: a bad sector of the old system costs a download, not
	 * the update. */
	c->content = CONTENT_UNWANTED;
	fd = open_candidate(s, c);
	/* One that has grown since might never end. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != c->size_bytes)
		return 0;
	r = digest_of_fd_unless(hash, fd, s->stop, s->stop_ctx, &d, &size);
	if (r < 0)
		return r == -ECANCELED ? r : 0;
	if (file_table_find_content(s->table, &d) != FILE_TABLE_NONE)
		c->content = file_table_find_content(s->table, &d);
	if (s->patches)
		c->base = patch_list_find_base(s->patches, &d);
	pthread_mutex_lock(&s->lock);
	round->hashed_bytes += size;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void search_sort(struct search *s)
{
	if (s->n_candidates > 0)
		qsort(s->candidates, s->n_candidates, sizeof(*s->candidates), compare_candidates);
}

bool candidate_is_found(const struct candidate *c)
{
	return c->content != FILE_TABLE_NONE && c->content != CONTENT_UNWANTED;
}

int search_hash(struct search *s, candidate_fn *wanted, struct ota_err *err)
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

bool candidate_has_wanted_size(const struct search *s, const struct candidate *c)
{
	return c->size_bytes > 0 && search_size_is_wanted(s, c->size_bytes);
}
