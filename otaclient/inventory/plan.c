/*
 * plan: sources and space. Contract: plan.h.
 */
#include "otaclient/inventory/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

enum {
	BLOCK_BYTES = 4096,
};

struct plan *plan_new(const struct file_table *table)
{
	AUTO_PLAN struct plan *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->actions = calloc((size_t)table->n_contents + 1, sizeof(*p->actions));
	p->takers = calloc((size_t)table->n_contents + 1, sizeof(*p->takers));
	p->patch_of = calloc((size_t)table->n_contents + 1, sizeof(*p->patch_of));
	if (!p->actions || !p->takers || !p->patch_of)
		return NULL;
	return TAKE_PTR(p);
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	free(p->actions);
	free(p->takers);
	free(p->patch_of);
	free(p);
}

void plan_freep(struct plan **p)
{
	plan_free(*p);
}

/* An old list may not say the size: count it as nothing, the disk being full then stops the update
 * later. */
static uint64_t known_size(const struct content *c)
{
	return c->size_bytes == CONTENT_SIZE_UNKNOWN ? 0 : c->size_bytes;
}

static uint64_t blocks_of(uint64_t size)
{
	return (size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static uint64_t with_slack(uint64_t bytes)
{
	return bytes + bytes / 100 * PLAN_SLACK_PCT + BLOCK_BYTES;
}

static void count_takers(struct plan *p, const struct file_table *t, const struct inventory *inv)
{
	memset(p->takers, 0, t->n_contents * sizeof(*p->takers));
	for (uint32_t i = 0; i < t->n_files; i++)
		if (t->files[i].group == i && inv->anchor[i] == FILE_TABLE_NONE)
			p->takers[t->files[i].content]++;
}

static enum plan_action choose(const struct content_source *src, uint64_t size, uint32_t takers)
{
	if (takers == 0 || size == 0)
		return PLAN_KEEP;
	switch (src->place) {
	case PLACE_KEPT:
		return PLAN_REPEAT;
	case PLACE_STANDBY:
		return PLAN_MOVE;
	case PLACE_ACTIVE:
	case PLACE_ACTIVE_LIKELY:
		return PLAN_COPY;
	case PLACE_NOWHERE:
		break;
	}
	return PLAN_FETCH;
}

static void choose_actions(struct plan *p, const struct file_table *t, const struct inventory *inv)
{
	p->write_bytes = p->write_inodes = 0;
	for (uint32_t i = 0; i < t->n_contents; i++) {
		uint64_t size = known_size(&t->contents[i]);
		enum plan_action a =
			choose(&inv->sources[i], t->contents[i].size_bytes, p->takers[i]);
		uint32_t new_inodes = p->takers[i];

		if (a == PLAN_MOVE)
			new_inodes--;
		p->actions[i] = (uint8_t)a;
		p->write_inodes += new_inodes;
		p->write_bytes += new_inodes * blocks_of(size);
	}
}

/* What becomes of one name, for people: a further name, or an empty file, is made without moving a byte. */
static enum plan_action action_of_name(
	const struct plan *p, const struct inventory *inv, uint32_t file, uint32_t content)
{
	if (inv->kept_ino[file])
		return PLAN_KEEP;
	return p->actions[content] == PLAN_KEEP ? PLAN_MOVE : (enum plan_action)p->actions[content];
}

void plan_sum_up(struct plan *p, const struct file_table *t, const struct inventory *inv)
{
	memset(p->sums, 0, sizeof(p->sums));
	for (uint32_t i = 0; i < t->n_contents; i++)
		p->sums[p->actions[i]].contents++;
	for (uint32_t i = 0; i < t->n_files; i++) {
		uint32_t content = t->files[i].content;
		enum plan_action a = action_of_name(p, inv, i, content);

		p->sums[a].files++;
		p->sums[a].bytes += known_size(&t->contents[content]);
	}
}

/* The smallest of a content's patches whose older content was found, or FILE_TABLE_NONE. */
static uint32_t best_patch(const struct inventory *inv, uint32_t content)
{
	const struct patch_list *list = inv->patches;
	uint32_t best = FILE_TABLE_NONE;

	for (uint32_t i = list->first[content]; i < list->first[content + 1]; i++) {
		const struct patch *p = &list->patches[i];

		if (inv->base_paths[p->base] == FILE_TABLE_NONE)
			continue;
		if (best == FILE_TABLE_NONE || p->size_bytes < list->patches[best].size_bytes)
			best = i;
	}
	return best;
}

void plan_use_patches(struct plan *p, const struct file_table *t, const struct inventory *inv)
{
	if (!inv->patches)
		return;
	for (uint32_t i = 0; i < t->n_contents; i++) {
		uint32_t patch;

		if (p->actions[i] != PLAN_FETCH)
			continue;
		patch = best_patch(inv, i);
		if (patch == FILE_TABLE_NONE)
			continue;
		p->actions[i] = PLAN_PATCH;
		p->patch_of[i] = patch;
	}
	plan_sum_up(p, t, inv);
}

/* What the whole image takes on an empty file system. */
static void image_needs(const struct file_table *t, uint64_t *ret_bytes, uint64_t *ret_inodes)
{
	*ret_bytes = (uint64_t)t->n_dirs * BLOCK_BYTES;
	*ret_inodes = (uint64_t)t->n_dirs + t->n_symlinks;
	for (uint32_t i = 0; i < t->n_files; i++) {
		if (t->files[i].group != i)
			continue;
		*ret_bytes += blocks_of(known_size(&t->contents[t->files[i].content]));
		++*ret_inodes;
	}
}

/* Of what is on the standby slot: then nothing is lost if it goes at once, and copies find their names free. */
static bool takes_nothing(const struct plan *p)
{
	return p->sums[PLAN_KEEP].files == 0 && p->sums[PLAN_MOVE].contents == 0 &&
	       p->sums[PLAN_REPEAT].contents == 0;
}

static bool knows_all_sizes(const struct file_table *t)
{
	for (uint32_t i = 0; i < t->n_contents; i++)
		if (t->contents[i].size_bytes == CONTENT_SIZE_UNKNOWN)
			return false;
	return true;
}

/*
 * Is there, for certain, room for what is new while all that is old is there still? Also for folders, which copies
 * need.
 */
static bool fits_beside(
	const struct plan *p, const struct file_table *t, const struct slot_space *space)
{
	return knows_all_sizes(t) &&
	       with_slack(p->write_bytes + (uint64_t)t->n_dirs * BLOCK_BYTES) <=
		       space->free_bytes &&
	       p->write_inodes + t->n_dirs + PLAN_SPARE_INODES <= space->free_inodes;
}

int plan_make(struct plan *p, const struct file_table *table, const struct inventory *inv,
	const struct slot_space *space, bool can_keep_fs, struct ota_err *err)
{
	uint64_t image_bytes, image_inodes, need;

	p->rebuild = p->prune_first = false;
	count_takers(p, table, inv);
	choose_actions(p, table, inv);
	plan_sum_up(p, table, inv);

	image_needs(table, &image_bytes, &image_inodes);
	need = with_slack(p->write_bytes);
	if (can_keep_fs && need <= space->free_bytes + inv->prune_back_bytes &&
		image_inodes + PLAN_SPARE_INODES <= space->total_inodes) {
		p->prune_first = takes_nothing(p) || !fits_beside(p, table, space);
		return 0;
	}
	if (with_slack(image_bytes) > space->total_bytes || image_inodes > space->total_inodes)
		return ota_err_set(err, -ENOSPC, OTA_E_STANDBY_SLOT_SPACE,
			"The image does not fit the standby slot: it needs %" PRIu64
			" MiB and %" PRIu64 " inodes, the slot has %" PRIu64 " MiB and %" PRIu64,
			with_slack(image_bytes) >> 20, image_inodes, space->total_bytes >> 20,
			space->total_inodes);
	p->rebuild = true;
	return 0;
}
