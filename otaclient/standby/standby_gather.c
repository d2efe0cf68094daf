/*
 * standby_gather: small contents of the active slot, as they lie on its disk. Contract: standby_work.h.
 *
 * To open 80 000 files one by one costs more than to read what is in them, and where the slot was made by an update it
 * need not be: slot_inodes says where their bytes are. All of that is a hint. The slot is in use, and bytes
 * count by their digest alone.
 *
 * Threads: each takes runs of neighbours for itself; a content has one place.
 */
#include "otaclient/standby/standby_work.h"

#include <stdlib.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/crypto/digest.h"
#include "otaclient/inventory/slot_inodes.h"
#include "otaclient/slot/device_path.h"
#include "otaclient/slot/disk_order.h"

struct gathering {
	struct standby_writer *w;
	bool *is_found;    /* one per content */
	uint32_t *file_of; /* one per content: the only file that wants it, or FILE_TABLE_NONE */
	struct disk_item *items; /* one per content that was found */
	size_t n_items;
};

static void gathering_done(struct gathering *g)
{
	free(g->is_found);
	free(g->file_of);
	free(g->items);
}

static int gathering_init(struct gathering *g, struct standby_writer *w)
{
	const struct file_table *t = w->c.table;

	*g = (struct gathering){
		.w = w,
		.is_found = calloc((size_t)t->n_contents + 1, sizeof(*g->is_found)),
		.file_of = malloc(((size_t)t->n_contents + 1) * sizeof(*g->file_of)),
		.items = malloc(((size_t)t->n_contents + 1) * sizeof(*g->items)),
	};
	if (!g->is_found || !g->file_of || !g->items)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n_contents; i++)
		g->file_of[i] = FILE_TABLE_NONE;
	for (uint32_t i = 0; i < t->n_files; i++)
		if (t->files[i].group == i && w->c.plan->takers[t->files[i].content] == 1)
			g->file_of[t->files[i].content] = i;
	return 0;
}

static void note_place(void *ctx, uint32_t content, const struct ext4_inode_seen *inode)
{
	struct gathering *g = ctx;
	uint64_t size = (uint64_t)inode->st.st_size;

	if (g->is_found[content] || !inode->is_one_piece || size > DISK_ORDER_FILE_MAX ||
		size != g->w->c.table->contents[content].size_bytes ||
		!standby_is_to_copy(g->w, content))
		return;
	g->is_found[content] = true;
	g->items[g->n_items++] = (struct disk_item){
		.at_bytes = inode->at_bytes, .len_bytes = (uint32_t)size, .id = content};
}

static int copy_item(void *ctx, const struct disk_item *item, const void *data, struct ota_err *err)
{
	struct gathering *g = ctx;
	const struct writer_config *c = &g->w->c;
	char buf[PATH_MAX];
	struct standby_origin from = {.data = data};
	struct digest have;

	if (standby_stopped(g->w))
		return -ECANCELED;
	if (!data)
		return 0;
	digest_of(data, item->len_bytes, &have);
	if (!digest_equal(&have, &c->table->contents[item->id].digest))
		return 0;
	from.path = inventory_path(c->inv, c->table, item->id, buf);
	return standby_put(g->w, item->id, g->file_of[item->id], &from, err);
}

static bool has_to_copy(const struct standby_writer *w)
{
	for (uint32_t i = 0; i < w->c.table->n_contents; i++)
		if (standby_is_to_copy(w, i))
			return true;
	return false;
}

int standby_gather(struct standby_writer *w, struct ota_err *err)
{
	CLEANUP(gathering_done) struct gathering g = {.w = w};
	char device[DEVICE_PATH_MAX];
	AUTO_CLOSE int fd = -1;
	int r;

	if (!has_to_copy(w) || device_path_of(w->c.active_fd, device) < 0)
		return 0;
	fd = disk_order_open(device);
	if (fd < 0)
		return 0;
	r = gathering_init(&g, w);
	if (r == 0)
		r = slot_inodes_each(
			w->c.active_fd, w->c.table, note_place, &g, w->c.stop, w->c.stop_ctx);
	if (r < 0 || g.n_items == 0)
		return r;
	log_info("Copying from the active slot: %zu contents by their places", g.n_items);
	return disk_order_read(fd, g.items, g.n_items, copy_item, &g, err);
}
