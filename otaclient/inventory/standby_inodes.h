/*
 * standby_inodes: of the inodes that are as the last update left them (inode_index), what else they say: size, links,
 * owner, mode, times. All are read at once from the device, so that not every file of the slot is asked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/inventory/inventory.h"

struct standby_inodes;

/*
 * @device holds the slot at @slot_fd. NULL in @ret_inodes if there is nothing to be had from it: nobody knows what the
 * slot was, it is mounted writable (the disk may be behind; a slot that has become read-only since is not for this), or
 * the tables cannot be read. -ENOMEM; -ECANCELED: stop() said so.
 */
int standby_inodes_read(const char *device, int slot_fd, const struct inode_index *known,
	inventory_stop_fn *stop, void *stop_ctx, struct standby_inodes **ret_inodes);

/* True: the inode is among them, and @ret_st says all but where it is, and the lower 32 bits of when it changed. */
bool standby_inodes_find(const struct standby_inodes *s, uint64_t ino, struct stat *ret_st);

void standby_inodes_free(struct standby_inodes *s);
void standby_inodes_freep(struct standby_inodes **s);
#define AUTO_STANDBY_INODES CLEANUP(standby_inodes_freep)
