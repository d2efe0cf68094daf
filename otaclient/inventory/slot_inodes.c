/*
 * slot_inodes: what was noted, beside what is. Contract: slot_inodes.h.
 */
#include "otaclient/inventory/slot_inodes.h"

#include <errno.h>

#include "otaclient/inventory/inode_index.h"
#include "otaclient/slot/device_path.h"

struct looking {
	const struct inode_index *known;
	uint32_t n_contents;
	slot_inode_fn *each;
	void *ctx;
};

static bool look_at(void *ctx, const struct ext4_inode_seen *inode)
{
	const struct looking *l = ctx;
	uint32_t content = inode_index_find(l->known, &inode->st);

	if (content < l->n_contents) /* neither unknown nor one that the table has not */
		l->each(l->ctx, content, inode);
	return true;
}

int slot_inodes_each(int slot_fd, const struct file_table *table, slot_inode_fn *each, void *ctx,
	inventory_stop_fn *stop, void *stop_ctx)
{
	AUTO_INODE_INDEX struct inode_index *known = NULL;
	struct looking looking = {.n_contents = table->n_contents, .each = each, .ctx = ctx};
	char device[DEVICE_PATH_MAX];
	int r = inode_index_load(slot_fd, table, &known);

	if (r < 0 || !known || device_path_of(slot_fd, device) < 0)
		return r;
	looking.known = known;
	r = ext4_inodes_read(device, look_at, stop, stop_ctx, &looking);
	return r == -ENOMEM || r == -ECANCELED ? r : 0;
}
