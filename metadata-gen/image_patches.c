/*
 * image_patches: make patches on all processors. Contract: image_patches.h.
 *
 * One older image after the other; for each content that it lacks, its likely partners in turn, until a patch pays.
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
#include "metadata-gen/patch_partners.h"
#include "metadata-gen/progress.h"

enum {
	LINE_BYTES = 3 * 65 + 20, /* what a patch costs in the list */
	PAYS_PCT = 90,            /* of what it saves a client from fetching */
	LARGE_BYTES = 64 << 20,
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
	uint64_t n_unreadable, n_reused;
};

/* One older image. */
struct round {
	struct patching *all;
	const struct image_reader *old;
	struct patch_partners *partners; /* by content */
	uint32_t *items;                 /* contents that have any, the largest first */
	size_t n_items;
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

static int keep_line(struct patching *all, const struct line *line, struct ota_err *err)
{
	int r;

	pthread_mutex_lock(&all->lock);
	r = array_grow(&all->lines, sizeof(*line), all->n_lines, &all->cap_lines);
	if (r == 0)
		all->lines[all->n_lines++] = *line;
	pthread_mutex_unlock(&all->lock);
	return r < 0 ? no_memory(err) : 0;
}

static struct line line_of(const struct content *made, const struct content *old)
{
	return (struct line){
		.made = made->digest,
		.base = {.digest = old->digest, .size_bytes = old->size_bytes},
	};
}

static int keep_patch(struct round *rd, const struct content *made, const struct content *old,
	const struct buf *patch, struct ota_err *err)
{
	struct line line = line_of(made, old);
	char name[PATCH_NAME_MAX];
	int r;

	line.patch_bytes = patch->len_bytes;
	digest_of(patch->data, patch->len_bytes, &line.patch);
	patch_name(&made->digest, &old->digest, name);
	r = write_patch(rd->all, name, patch, err);
	return r == 0 ? keep_line(rd->all, &line, err) : r;
}

/* 1: an image that has been made before has this very patch. */
static int reuse_patch(struct round *rd, const struct content *made, const struct content *old,
	uint64_t max_bytes, struct ota_err *err)
{
	struct patching *all = rd->all;
	AUTO_DIGEST_CTX struct digest_ctx *ctx = NULL;
	struct line line = line_of(made, old);
	struct patch patch;
	int r;

	if (!all->config->reuse)
		return 0;
	ctx = digest_ctx_new();
	if (!ctx)
		return no_memory(err);
	r = old_image_patch(all->config->reuse, ctx, &made->digest, &old->digest, max_bytes,
		all->config->dir_fd, &patch, err);
	if (r <= 0)
		return r;
	line.patch_bytes = patch.size_bytes;
	line.patch = patch.digest;
	pthread_mutex_lock(&all->lock);
	all->n_reused++;
	pthread_mutex_unlock(&all->lock);
	r = keep_line(all, &line, err);
	return r < 0 ? r : 1;
}

/* An older image of before may have the same content. */
static bool is_made(const struct round *rd, const struct content *made, const struct content *old)
{
	char name[PATCH_NAME_MAX];

	patch_name(&made->digest, &old->digest, name);
	return faccessat(rd->all->config->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The most that a patch may have to be worth it. */
static uint64_t patch_max(const struct round *rd, uint32_t content)
{
	uint64_t served = image_reader_served_bytes(rd->all->config->made, content);
	uint64_t pays = served / 100 * PAYS_PCT;

	return pays > LINE_BYTES ? pays - LINE_BYTES : 0;
}

/* The new content is read when a patch of it has to be made. */
static int need_data(struct round *rd, uint32_t content, void **data, struct ota_err *err)
{
	int r = *data ? 0 : image_reader_content(rd->all->config->made, content, data);

	return r < 0 ? ota_err_wrap(err, r, "Cannot read a content of the new image again") : 0;
}

/* 1: there is a patch now, or there was one; 0: none that pays. */
static int try_partner(struct round *rd, uint32_t content, void **data, uint64_t max_bytes,
	uint32_t partner, struct ota_err *err)
{
	const struct content *made = &rd->all->config->made->table->contents[content];
	const struct content *old = &rd->old->table->contents[partner];
	AUTO_FREE void *old_data = NULL;
	AUTO_BUF struct buf patch = {0};
	int r;

	if (is_made(rd, made, old))
		return 1;
	r = reuse_patch(rd, made, old, max_bytes, err);
	if (r != 0)
		return r;
	r = need_data(rd, content, data, err);
	if (r < 0)
		return r;
	r = image_reader_content(rd->old, partner, &old_data);
	if (r < 0) {
		pthread_mutex_lock(&rd->all->lock);
		rd->all->n_unreadable++;
		pthread_mutex_unlock(&rd->all->lock);
		return r == -ENOMEM ? no_memory(err) : 0;
	}
	r = zstd_patch_make(old_data, old->size_bytes, *data, made->size_bytes,
		rd->all->config->level, max_bytes, &patch);
	if (r < 0)
		return no_memory(err);
	if (r == 0)
		return 0;
	r = keep_patch(rd, made, old, &patch, err);
	return r < 0 ? r : 1;
}

static int patch_content(struct round *rd, uint32_t content, struct ota_err *err)
{
	const struct patch_partners *p = &rd->partners[content];
	uint64_t max_bytes = patch_max(rd, content);
	AUTO_FREE void *data = NULL;
	int r = 0;

	if (max_bytes == 0)
		return 0;
	for (uint32_t i = 0; i < p->n && r == 0; i++)
		r = try_partner(rd, content, &data, max_bytes, p->old[i], err);
	return r < 0 ? r : 0;
}

static int patch_item(void *ctx, size_t index, struct ota_err *err)
{
	struct round *rd = ctx;
	uint32_t content = rd->items[index];
	uint64_t size = rd->all->config->made->table->contents[content].size_bytes;
	bool large = size > LARGE_BYTES;
	int r;

	if (large)
		pthread_mutex_lock(&rd->all->large_lock);
	r = patch_content(rd, content, err);
	if (large)
		pthread_mutex_unlock(&rd->all->large_lock);
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

static int pick_items(struct round *rd)
{
	const struct file_table *t = rd->all->config->made->table;
	int r;

	rd->partners = calloc((size_t)t->n_contents + 1, sizeof(*rd->partners));
	rd->items = calloc((size_t)t->n_contents + 1, sizeof(*rd->items));
	if (!rd->partners || !rd->items)
		return -ENOMEM;
	r = patch_partners_find(t, rd->old->table, rd->partners);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < t->n_contents; i++)
		if (rd->partners[i].n > 0)
			rd->items[rd->n_items++] = i;
	qsort_r(rd->items, rd->n_items, sizeof(*rd->items), by_size, (void *)(uintptr_t)t);
	return 0;
}

static void round_done(struct round *rd)
{
	free(rd->partners);
	free(rd->items);
}

static int patch_from(struct patching *all, const char *old_image, struct ota_err *err)
{
	AUTO_IMAGE_READER struct image_reader old = IMAGE_READER_NONE;
	CLEANUP(round_done) struct round rd = {.all = all, .old = &old};
	uint64_t bytes = 0;
	int r = image_reader_open(old_image, &old, err);

	if (r < 0)
		return r;
	if (pick_items(&rd) < 0)
		return no_memory(err);
	for (size_t i = 0; i < rd.n_items; i++)
		bytes += all->config->made->table->contents[rd.items[i]].size_bytes;
	progress_start(&rd.progress, "Patching", rd.n_items, bytes);
	r = workers_run(rd.n_items, 1, all->config->n_jobs, patch_item, &rd, err);
	progress_end(&rd.progress);
	return r;
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
