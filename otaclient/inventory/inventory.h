/*
 * inventory: which of the wanted contents are on this machine already.
 *
 * Bytes are hashed before they count, but for what the last update of the standby slot has noted
 * and nobody has changed since (inode_index): the whole slot is read and hashed at the end in any
 * case (standby_check). What is cheap narrows the search first: only regular files whose size some
 * missing content has are read, the ones at the wanted path before all others, in the order of
 * their inodes, and no inode twice. What the active slot's own list says, or "same path, same size"
 * there, is taken on trust until it is copied: the copy hashes it, so it is read once, not twice
 * (standby_writer).
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/image/file_table.h"
#include "common/image/patch_list.h"

enum content_place {
	PLACE_NOWHERE = 0, /* must be fetched */
	PLACE_KEPT,        /* at a wanted name on standby already; nothing to do for that name */
	PLACE_STANDBY, /* on standby, not at its place yet; hashed, or noted by the last update */
	PLACE_ACTIVE,  /* on the active slot; hashed */
	PLACE_ACTIVE_LIKELY, /* on the active slot, by its list or by path and size; not hashed yet */
};

/* Where the bytes of one content are: inventory_path(). */
struct content_source {
	uint64_t ino;  /* on standby; 0 = not there */
	uint32_t path; /* of a file of the image, by its index; or beyond them, of foreign_paths */
	enum content_place place;
};

struct inode_index;
struct inode_note;

struct inventory {
	struct content_source *sources; /* one per content of the table */
	uint64_t *kept_ino; /* one per file: its inode if the name is kept as it is, 0 = not kept */
	uint32_t *anchor;   /* one per file, valid at a group's first: a kept name of the group or
			     * FILE_TABLE_NONE */
	uint64_t prune_back_bytes; /* what removing every unwanted file from standby frees */
	uint64_t n_hashed_files, n_hashed_bytes;
	bool believes_nothing;     /* set by the caller: hash them all */
	struct inode_index *known; /* what the last update left on standby; NULL = nobody knows */
	uint8_t *whole;            /* one per file: inventory_whole() */
	uint64_t n_known_names;    /* of standby, that were not hashed */
	uint64_t
		n_asked_names; /* of standby, of files that the file system was asked about one by one */
	const struct patch_list *patches; /* whose bases are looked for; NULL = of none */
	uint32_t *base_paths; /* one per base: on the active slot; FILE_TABLE_NONE = not found */
	const char **foreign_paths; /* that the image has no file at, in the arena */
	uint32_t n_foreign, cap_foreign;
	struct arena arena;
};

struct inventory *inventory_new(const struct file_table *table);
void inventory_free(struct inventory *inv);
void inventory_freep(struct inventory **inv);
#define AUTO_INVENTORY CLEANUP(inventory_freep)

/*
 * Look for the older contents of patches too, whenever the active slot is searched. Borrowed. 0 or
 * -ENOMEM.
 */
int inventory_want_bases(struct inventory *inv, const struct patch_list *patches);

/*
 * Is the file kept, by what the last update has noted, with all its attributes? Then nothing needs
 * to be done for it until it is looked at with the others (standby_check), and this is the note;
 * else NULL. Never one of a link group, whose inode changes with its names.
 */
const struct inode_note *inventory_whole(const struct inventory *inv, uint32_t file);

/* A path by its number, as in content_source. */
const char *inventory_path_by_number(
	const struct inventory *inv, const struct file_table *t, uint32_t path, char buf[PATH_MAX]);

/* The path of a source that is somewhere, on its slot; @buf holds it where it must be put together. */
const char *inventory_path(const struct inventory *inv, const struct file_table *table,
	uint32_t content, char buf[PATH_MAX]);
/* The path of an older content on the active slot, or NULL: it was not found. */
const char *inventory_base_path(const struct inventory *inv, const struct file_table *table,
	uint32_t base, char buf[PATH_MAX]);

/* Polled by long work; true = the update is to be aborted, and the work returns -ECANCELED. */
typedef bool inventory_stop_fn(void *ctx);

/*
 * Look through the standby slot. Fills kept_ino, anchor, prune_back and the sources found there. @device holds its file
 * system; NULL: each file is asked by its name.
 */
int inventory_scan_standby(struct inventory *inv, const struct file_table *table, int standby_fd,
	const char *device, inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err);

/*
 * Look through the active slot for contents still nowhere, and for the older ones that they could be
 * made of. Where the slot has a list of its own (slot_list), that says where; else a content is taken
 * to be at the same path if the file there is as long, and searched otherwise.
 */
int inventory_scan_active(struct inventory *inv, const struct file_table *table, int active_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err);

/*
 * Once more, for contents that were not what they were taken for: hash whatever on the active slot
 * has their size.
 */
int inventory_search_active(struct inventory *inv, const struct file_table *table, int active_fd,
	inventory_stop_fn *stop, void *stop_ctx, struct ota_err *err);
