/*
 * plan: decide, for each content of the new image, where its bytes come from, and how the standby
 * slot gets there.
 *
 * In:  the image's file table (want), the inventory (have), the figures of the standby file system.
 * Out: one action per content, and whether the slot is changed in place or made anew.
 * Pure: no I/O, no clock, no globals; same input, same plan.
 *
 * Elsewhere: searching (inventory), fetching (fetch_pool), writing (standby_writer).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/image/file_table.h"
#include "otaclient/inventory/inventory.h"
#include "otaclient/slot/slot_mount.h"

/* Cheapest first. */
enum plan_action {
	PLAN_KEEP = 0, /* every name that needs it has it */
	PLAN_MOVE,     /* on standby under another name: no byte is written */
	PLAN_REPEAT,   /* on standby, but kept where it is: further names get copies of it */
	PLAN_COPY,     /* from the active slot */
	PLAN_PATCH, /* made of an older content on the active slot, and a patch that is fetched */
	PLAN_FETCH,
	PLAN_ACTIONS,
};

struct plan_sum {
	uint64_t contents, files, bytes; /* files and bytes count every name */
};

struct plan {
	uint8_t *actions;   /* enum plan_action, one per content */
	uint32_t *patch_of; /* per content with PLAN_PATCH: an index of the image's patch_list */
	uint32_t *takers;   /* per content: link groups that still need an inode with it */
	struct plan_sum sums[PLAN_ACTIONS];
	uint64_t write_bytes; /* new blocks on standby, without the slack */
	uint64_t write_inodes;
	bool rebuild; /* make a new file system: in place it does not fit */
	/* In place, but only once the old names are gone: the room is needed, or nothing is taken from the slot. */
	bool prune_first;
};

enum {
	PLAN_SLACK_PCT = 2, /* folders, links and what the file system itself needs for them */
	/* Changing in place takes more inodes than the image has: the store, files that are made beside
	 * what they replace, and those that ext4 counts but keeps for itself. */
	PLAN_SPARE_INODES = 32,
};

struct plan *plan_new(const struct file_table *table);
void plan_free(struct plan *p);
void plan_freep(struct plan **p);
#define AUTO_PLAN CLEANUP(plan_freep)

/*
 * Make the plan. @can_keep_fs: the standby file system is fit to be changed in place. 0, or -ENOSPC
 * with E307 and both figures when the image fits neither way. If the plan says rebuild although
 * @can_keep_fs, the caller makes a new inventory without standby and plans again with can_keep_fs =
 * false.
 */
int plan_make(struct plan *p, const struct file_table *table, const struct inventory *inv,
	const struct slot_space *space, bool can_keep_fs, struct ota_err *err);

/*
 * What was to be fetched is made by a patch instead where its older content is at hand; of several the smallest. The
 * sums are counted again.
 */
void plan_use_patches(struct plan *p, const struct file_table *table, const struct inventory *inv);

/* Count the sums again after actions have changed (a copy that turned out to be of other bytes is
 * fetched). */
void plan_sum_up(struct plan *p, const struct file_table *table, const struct inventory *inv);
