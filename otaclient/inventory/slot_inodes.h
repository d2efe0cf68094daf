/*
 * slot_inodes: which inodes of a slot still have the content that an update gave them, and where on the device it lies.
 *
 * Told by what that update has noted (inode_index) and by the tables of inodes; no folder is read and no file opened.
 * For a hint it is good on a slot that is in use, too: whoever changes a file changes the time of its inode, but
 * the tables may be behind.
 */
#pragma once

#include <stdint.h>

#include "common/image/file_table.h"
#include "otaclient/inventory/inventory.h"
#include "otaclient/slot/ext4_inodes.h"

/* @content of the table. In the order of the inodes; a content may come more than once. */
typedef void slot_inode_fn(void *ctx, uint32_t content, const struct ext4_inode_seen *inode);

/*
 * 0, also where nothing is to be learned: nobody has noted anything; it is no ext4. -ENOMEM; -ECANCELED: stop() said
 * so.
 */
int slot_inodes_each(int slot_fd, const struct file_table *table, slot_inode_fn *each, void *ctx,
	inventory_stop_fn *stop, void *stop_ctx);
