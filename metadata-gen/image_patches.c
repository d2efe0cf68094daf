/*
 * image_patches: make patches on all processors. Contract: image_patches.h.
 *
 * One older image after the other; for each content that it lacks, its likely partners in turn, until a patch pays. For
 * what then has none, those older contents are read and sketched that it may come from by their names and sizes, and
 * those tried that have most in common with it.
 *
 * Shared under the lock: the lines found so far and the counts. Large pairs are worked on one at a time, since each
 * takes as much memory as both contents and the tables to search them.
 */
#include "metadata-gen/image_patches.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/array.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/workers.h"
#include "common/codec/zstd_patch.h"
#include "common/image/patch_list.h"
#include "metadata-gen/content_sketch.h"
#include "metadata-gen/patch_partners.h"
#include "metadata-gen/progress.h"
#include "metadata-gen/sketch_index.h"

enum {
	LINE_BYTES = 3 * 65 + 20, /* what a patch costs in the list */
	PAYS_PCT = 90,            /* of what it saves a client from fetching */
	LARGE_BYTES = 64 << 20,
	ALIKE_MAX = 2,             /* contents that are tried for what they have in common */
	SKETCHES_MAX = 1 << 18,    /* of an older image: 64 MiB */
	SKETCHED_MIN_BYTES = 1024, /* less is fetched as soon as its patch */
	HARD_LEVEL = 19,
};

struct line {
	struct digest made;
	struct patch_base base;
	uint64_t patch_bytes;
	struct digest patch;
};

/* All images. */
struct patching {
	const struct patches_config *config;
	pthread_mutex_t lock, large_lock;
	struct line *lines;
	uint32_t n_lines, cap_lines;
	struct patch_sums by_way[PATCH_WAYS];
	uint64_t n_unreadable, n_reused;
};

/* One older image. */
struct round {
	struct patching *all;
	const struct image_reader *old;
	struct patch_partners *partners; /* by content */
	bool *patched;                   /* 〃 */
	bool *unreadable;                /* by content of the older image */
	uint32_t *items;                 /* contents to work on, the largest first */
	size_t n_items;
	struct sketch_index *index; /* of contents of the older image */
	struct progress progress;
};

static int no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "patches");
}

/* ---- one patch ---- */

static int write_patch(
	struct patching *all, const char *name, const struct buf *patch, struct ota_err *err)
{
	AUTO_CLOSE int fd = openat(all->config->dir_fd, name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : file_write_all(fd, patch->data, patch->len_bytes);

	return r < 0 ? ota_err_wrap(err, r, "Cannot write the patch %s", name) : 0;
}

static int keep_line(struct patching *all, const struct line *line, enum patch_way way,
	uint64_t whole_bytes, struct ota_err *err)
{
	struct patch_sums *sums = &all->by_way[way];
	int r;

	pthread_mutex_lock(&all->lock);
	r = array_grow(&all->lines, sizeof(*line), all->n_lines, &all->cap_lines);
	if (r == 0) {
		all->lines[all->n_lines++] = *line;
		sums->n++;
		sums->patch_bytes += line->patch_bytes;
		sums->whole_bytes += whole_bytes;
	}
	pthread_mutex_unlock(&all->lock);
	return r < 0 ? no_memory(err) : 0;
}

/* A content of the new image, and its bytes once a patch of it has to be made. */
struct subject {
	struct round *rd;
	uint32_t content;
	const struct content *made;
	void *data;
	uint64_t whole_bytes; /* what a client would fetch without a patch */
	uint64_t max_bytes;   /* the most that a patch may have to be worth it */
};

static void subject_done(struct subject *s)
{
	free(s->data);
}

/* False: nothing would pay. */
static bool subject_init(struct subject *ret, struct round *rd, uint32_t content)
{
	const struct image_reader *made = rd->all->config->made;
	uint64_t whole = image_reader_served_bytes(made, content), pays = whole / 100 * PAYS_PCT;

	*ret = (struct subject){
		.rd = rd,
		.content = content,
		.made = &made->table->contents[content],
		.whole_bytes = whole,
		.max_bytes = pays > LINE_BYTES ? pays - LINE_BYTES : 0,
	};
	return ret->max_bytes > 0;
}

static int need_data(struct subject *s, struct ota_err *err)
{
	int r = s->data ? 0
			: image_reader_content(s->rd->all->config->made, s->content, &s->data);

	return r < 0 ? ota_err_wrap(err, r, "Cannot read a content of the new image again") : 0;
}

static struct line line_of(const struct content *made, const struct content *old)
{
	return (struct line){
		.made = made->digest,
		.base = {.digest = old->digest, .size_bytes = old->size_bytes},
	};
}

static int keep_patch(struct subject *s, const struct content *old, enum patch_way way,
	const struct buf *patch, struct ota_err *err)
{
	struct line line = line_of(s->made, old);
	char name[PATCH_NAME_MAX];
	int r;

	line.patch_bytes = patch->len_bytes;
	digest_of(patch->data, patch->len_bytes, &line.patch);
	patch_name(&s->made->digest, &old->digest, name);
	r = write_patch(s->rd->all, name, patch, err);
	return r == 0 ? keep_line(s->rd->all, &line, way, s->whole_bytes, err) : r;
}

/* 1: an image that has been made before has this very patch. */
static int reuse_patch(struct subject *s, const struct content *old, enum patch_way way,
	struct ota_err *err)
{
	struct patching *all = s->rd->all;
	AUTO_DIGEST_CTX struct digest_ctx *ctx = NULL;
	struct line line = line_of(s->made, old);
	struct patch patch;
	int r;

	if (!all->config->reuse)
		return 0;
	ctx = digest_ctx_new();
	if (!ctx)
		return no_memory(err);
	r = old_image_patch(all->config->reuse, ctx, &s->made->digest, &old->digest, s->max_bytes,
		all->config->dir_fd, &patch, err);
	if (r <= 0)
		return r;
	line.patch_bytes = patch.size_bytes;
	line.patch = patch.digest;
	pthread_mutex_lock(&all->lock);
	all->n_reused++;
	pthread_mutex_unlock(&all->lock);
	r = keep_line(all, &line, way, s->whole_bytes, err);
	return r < 0 ? r : 1;
}

/* An older image of before may have the same content. */
static bool is_made(const struct subject *s, const struct content *old)
{
	char name[PATCH_NAME_MAX];

	patch_name(&s->made->digest, &old->digest, name);
	return faccessat(s->rd->all->config->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* 1, 0: it cannot be read, which is counted once; or -ENOMEM. */
static int read_old(struct round *rd, uint32_t content, void **ret_data, struct ota_err *err)
{
	int r = image_reader_content(rd->old, content, ret_data);

	if (r == 0)
		return 1;
	if (r == -ENOMEM)
		return no_memory(err);
	pthread_mutex_lock(&rd->all->lock);
	rd->all->n_unreadable += !rd->unreadable[content];
	rd->unreadable[content] = true;
	pthread_mutex_unlock(&rd->all->lock);
	return 0;
}

/*
 * What still takes half of the whole has little in common in long pieces, but may have in short ones, which only the
 * highest levels look for: a compressed kernel becomes a half of its patch so. It takes twenty times as long, and
 * tables of 100 MB, so neither all contents nor the largest.
 */
static bool is_hard(const struct subject *s, const struct buf *patch)
{
	return patch->len_bytes > s->whole_bytes / 2 && s->made->size_bytes <= LARGE_BYTES &&
	       s->rd->all->config->level < HARD_LEVEL;
}

/* As zstd_patch_make(). */
static int make_patch(struct subject *s, const void *old, size_t old_len, struct buf *ret_patch)
{
	AUTO_BUF struct buf smaller = {0};
	int r = zstd_patch_make(old, old_len, s->data, s->made->size_bytes,
		s->rd->all->config->level, s->max_bytes, ret_patch);

	if (r <= 0 || !is_hard(s, ret_patch))
		return r;
	r = zstd_patch_make(old, old_len, s->data, s->made->size_bytes, HARD_LEVEL,
		ret_patch->len_bytes - 1, &smaller);
	if (r > 0) {
		buf_done(ret_patch);
		*ret_patch = smaller;
		smaller = (struct buf){0};
	}
	return r < 0 ? r : 1;
}

/* 1: there is a patch now, or there was one; 0: none that pays. */
static int try_partner(struct subject *s, uint32_t partner, enum patch_way way, struct ota_err *err)
{
	const struct content *old = &s->rd->old->table->contents[partner];
	AUTO_FREE void *old_data = NULL;
	AUTO_BUF struct buf patch = {0};
	int r;

	if (is_made(s, old))
		return 1;
	r = reuse_patch(s, old, way, err);
	if (r != 0)
		return r;
	r = need_data(s, err);
	if (r < 0)
		return r;
	r = read_old(s->rd, partner, &old_data, err);
	if (r <= 0)
		return r;
	r = make_patch(s, old_data, old->size_bytes, &patch);
	if (r < 0)
		return no_memory(err);
	if (r == 0)
		return 0;
	r = keep_patch(s, old, way, &patch, err);
	return r < 0 ? r : 1;
}

/* ---- one content, on any thread ---- */

static int try_names(struct subject *s, struct ota_err *err)
{
	const struct patch_partners *p = &s->rd->partners[s->content];
	int r = 0;

	for (uint32_t i = 0; i < p->n && r == 0; i++)
		r = try_partner(s, p->old[i], p->way[i], err);
	return r;
}

static int try_alike(struct subject *s, struct ota_err *err)
{
	uint32_t alike[ALIKE_MAX];
	struct content_sketch sketch;
	unsigned n;
	int r = need_data(s, err);

	if (r < 0)
		return r;
	content_sketch_make(s->data, s->made->size_bytes, &sketch);
	n = sketch_index_find(s->rd->index, &sketch, ALIKE_MAX, alike);
	for (unsigned i = 0; i < n && r == 0; i++)
		if (patch_partners_usable(&s->rd->old->table->contents[alike[i]], s->made))
			r = try_partner(s, alike[i], PATCH_WAY_CONTENT, err);
	return r;
}

/* By names, before there is an index; then by what it has in common with others. */
static int patch_content(struct round *rd, uint32_t content, struct ota_err *err)
{
	CLEANUP(subject_done) struct subject s;
	int r = 0;

	if (subject_init(&s, rd, content))
		r = rd->index ? try_alike(&s, err) : try_names(&s, err);
	if (r == 1)
		rd->patched[content] = true;
	return r < 0 ? r : 0;
}

static int sketch_old(struct round *rd, size_t at, struct ota_err *err)
{
	uint32_t content = rd->items[at];
	struct content_sketch sketch;
	AUTO_FREE void *data = NULL;
	int r = read_old(rd, content, &data, err);

	if (r <= 0)
		return r;
	content_sketch_make(data, rd->old->table->contents[content].size_bytes, &sketch);
	sketch_index_put(rd->index, at, content, &sketch);
	return 0;
}

/* ---- all contents of a round ---- */

static bool begin_large(struct round *rd, uint64_t size_bytes)
{
	if (size_bytes <= LARGE_BYTES)
		return false;
	pthread_mutex_lock(&rd->all->large_lock);
	return true;
}

static void end_large(struct round *rd, bool large)
{
	if (large)
		pthread_mutex_unlock(&rd->all->large_lock);
}

static int patch_item(void *ctx, size_t index, struct ota_err *err)
{
	struct round *rd = ctx;
	uint32_t content = rd->items[index];
	uint64_t size = rd->all->config->made->table->contents[content].size_bytes;
	bool large = begin_large(rd, size);
	int r = patch_content(rd, content, err);

	end_large(rd, large);
	progress_add(&rd->progress, 1, size);
	return r;
}

static int sketch_item(void *ctx, size_t index, struct ota_err *err)
{
	struct round *rd = ctx;
	uint64_t size = rd->old->table->contents[rd->items[index]].size_bytes;
	bool large = begin_large(rd, size);
	int r = sketch_old(rd, index, err);

	end_large(rd, large);
	progress_add(&rd->progress, 1, size);
	return r;
}

/* ---- one older image ---- */

static int by_size(const void *a, const void *b, void *ctx)
{
	const struct file_table *t = ctx;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint64_t xs = t->contents[x].size_bytes, ys = t->contents[y].size_bytes;

	if (xs != ys)
		return xs > ys ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Work on rd->items, contents of @t: the largest first, so that no thread is left with one at the end. */
static int work(struct round *rd, const struct file_table *t, const char *what, workers_fn *fn,
	struct ota_err *err)
{
	uint64_t bytes = 0;
	int r;

	for (size_t i = 0; i < rd->n_items; i++)
		bytes += t->contents[rd->items[i]].size_bytes;
	progress_start(&rd->progress, what, rd->n_items, bytes);
	r = workers_run(rd->n_items, 1, rd->all->config->n_jobs, fn, rd, err);
	progress_end(&rd->progress);
	return r;
}

static void pick(struct round *rd, const struct file_table *t, const bool *picked)
{
	rd->n_items = 0;
	for (uint32_t i = 0; i < t->n_contents; i++)
		if (picked[i])
			rd->items[rd->n_items++] = i;
	qsort_r(rd->items, rd->n_items, sizeof(*rd->items), by_size, (void *)(uintptr_t)t);
}

static int patch_by_names(struct round *rd, bool *picked, struct ota_err *err)
{
	const struct file_table *t = rd->all->config->made->table;

	if (patch_partners_find(t, rd->old->table, rd->partners) < 0)
		return no_memory(err);
	for (uint32_t i = 0; i < t->n_contents; i++)
		picked[i] = rd->partners[i].n > 0;
	pick(rd, t, picked);
	return work(rd, t, "Patching", patch_item, err);
}

static int sketch_alike(struct round *rd, const bool *wanted, struct ota_err *err)
{
	const struct file_table *t = rd->old->table;
	AUTO_FREE bool *alike = calloc((size_t)t->n_contents + 1, sizeof(*alike));
	int r;

	if (!alike || patch_partners_alike(rd->all->config->made->table, wanted, t, alike) < 0)
		return no_memory(err);
	for (uint32_t i = 0; i < t->n_contents; i++)
		alike[i] = alike[i] && t->contents[i].size_bytes <= PATCH_PAIR_MAX_BYTES;
	pick(rd, t, alike);
	rd->n_items = MIN_OF(rd->n_items, (size_t)SKETCHES_MAX);
	rd->index = sketch_index_new(rd->n_items);
	if (!rd->index)
		return no_memory(err);
	r = work(rd, t, "Comparing", sketch_item, err);
	sketch_index_seal(rd->index);
	return r;
}

static int patch_by_contents(struct round *rd, bool *wanted, struct ota_err *err)
{
	const struct file_table *t = rd->all->config->made->table;
	int r;

	for (uint32_t i = 0; i < t->n_contents; i++)
		wanted[i] = !rd->patched[i] && t->contents[i].size_bytes >= SKETCHED_MIN_BYTES &&
			    patch_partners_wanted(t, rd->old->table, i);
	r = sketch_alike(rd, wanted, err);
	if (r < 0)
		return r;
	pick(rd, t, wanted);
	return work(rd, t, "Patching", patch_item, err);
}

static int round_init(struct round *rd, struct ota_err *err)
{
	size_t n_made = (size_t)rd->all->config->made->table->n_contents + 1;
	size_t n_old = (size_t)rd->old->table->n_contents + 1;

	rd->partners = calloc(n_made, sizeof(*rd->partners));
	rd->patched = calloc(n_made, sizeof(*rd->patched));
	rd->unreadable = calloc(n_old, sizeof(*rd->unreadable));
	rd->items = calloc(n_made > n_old ? n_made : n_old, sizeof(*rd->items));
	return rd->partners && rd->patched && rd->unreadable && rd->items ? 0 : no_memory(err);
}

static void round_done(struct round *rd)
{
	free(rd->partners);
	free(rd->patched);
	free(rd->unreadable);
	free(rd->items);
	sketch_index_free(rd->index);
}

static int patch_from(struct patching *all, const char *old_image, struct ota_err *err)
{
	AUTO_IMAGE_READER struct image_reader old = IMAGE_READER_NONE;
	CLEANUP(round_done) struct round rd = {.all = all, .old = &old};
	AUTO_FREE bool *picked =
		calloc((size_t)all->config->made->table->n_contents + 1, sizeof(*picked));
	int r = image_reader_open(old_image, &old, err);

	if (r < 0)
		return r;
	if (!picked)
		return no_memory(err);
	r = round_init(&rd, err);
	if (r == 0)
		r = patch_by_names(&rd, picked, err);
	return r == 0 ? patch_by_contents(&rd, picked, err) : r;
}

/* ---- the list ---- */

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int order = memcmp(&x->made, &y->made, sizeof(x->made));

	return order ? order : memcmp(&x->base.digest, &y->base.digest, sizeof(x->base.digest));
}

static int write_list(struct patching *all, struct patches_result *result, struct ota_err *err)
{
	int r = 0;

	if (all->n_lines > 0)
		qsort(all->lines, all->n_lines, sizeof(*all->lines), compare_lines);
	for (uint32_t i = 0; i < all->n_lines && r == 0; i++) {
		const struct line *l = &all->lines[i];

		if (i > 0)
			r = buf_puts(&result->list, "\n");
		if (r == 0)
			r = patch_list_write(
				&result->list, &l->made, &l->base, l->patch_bytes, &l->patch);
		result->patch_bytes += l->patch_bytes;
	}
	result->n_patches = all->n_lines;
	memcpy(result->by_way, all->by_way, sizeof(result->by_way));
	result->n_unreadable = all->n_unreadable;
	result->n_reused = all->n_reused;
	return r < 0 ? no_memory(err) : 0;
}

int image_patches_make(
	const struct patches_config *config, struct patches_result *ret_result, struct ota_err *err)
{
	struct patching all = {
		.config = config,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.large_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = 0;

	for (size_t i = 0; i < config->n_old_images && r == 0; i++)
		r = patch_from(&all, config->old_images[i], err);
	if (r == 0)
		r = write_list(&all, ret_result, err);
	free(all.lines);
	pthread_mutex_destroy(&all.lock);
	pthread_mutex_destroy(&all.large_lock);
	return r;
}

void patches_result_done(struct patches_result *result)
{
	buf_done(&result->list);
}
