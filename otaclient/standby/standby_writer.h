/*
 * standby_writer: move the standby slot from what is on it to exactly the image, following a plan.
 *
 *     open → harvest → copy → (fetch_pool) → prune → place → finish      or, if the plan says so,
 *     open → harvest → prune → copy → (fetch_pool) → place → finish
 *
 * Everything needed that is not kept in place first gets a name in the store,
 * /.ota-resources/<digest>, but for a copy whose own name is free; so moves, swaps and a directory
 * that becomes a link have no order, and an interrupted run leaves contents that the next one finds.
 * The data of an existing inode is never written. Nothing is synced here but at the end, once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/image/file_table.h"
#include "otaclient/inventory/inventory.h"
#include "otaclient/inventory/plan.h"

/* Totals, only ever growing; read by the reporter while the writer works (atomically). */
struct writer_counts {
	uint64_t processed_files, processed_bytes; /* as the API counts them */
	uint64_t removed_entries;
	uint64_t written_bytes; /* contents, not metadata */
};

struct writer_config {
	const struct file_table *table;
	struct inventory *inv; /* sources that turn out wrong are set to PLACE_NOWHERE */
	struct plan *plan;
	int standby_fd; /* root of the writable standby slot */
	int active_fd;  /* root of the read-only active slot */
	void (*note)(
		void *ctx, const char *sentence); /* what a person should know; NULL = nobody */
	inventory_stop_fn *stop;
	void *stop_ctx; /* for both */
};

struct standby_writer;

/*
 * On a full slot open and harvest first remove files that the image has not at their path and whose
 * inode the plan needs not. -ENOSPC: even that does not make room; the file system should be made anew.
 */
int standby_writer_open(const struct writer_config *config, struct standby_writer **ret_writer,
	struct ota_err *err);
void standby_writer_free(struct standby_writer *w);
void standby_writer_freep(struct standby_writer **w);
#define AUTO_STANDBY_WRITER CLEANUP(standby_writer_freep)

void standby_writer_counts(const struct standby_writer *w, struct writer_counts *ret_counts);

/*
 * Of the files that were made, moved or given attributes, what their inodes were left as; one note per file, ino 0:
 * none, as of those with several names. The caller frees it. Behind standby_finish_dirs(), and then nothing but to free
 * the writer.
 */
struct inode_note *standby_writer_take_notes(struct standby_writer *w);

/* The store's directory, where fetch_pool puts contents. Borrowed. */
int standby_writer_store_fd(const struct standby_writer *w);

/* Give every content of PLAN_MOVE and PLAN_REPEAT its name in the store, and clear the store of
 * anything else. */
int standby_harvest(struct standby_writer *w, struct ota_err *err);

/*
 * Copy every content of PLAN_COPY from the active slot, hashing it on the way; its source is
 * PLACE_STANDBY then, and a second call passes it over. What a single file wants is that file from
 * then on, if nothing is in its place; any other copy is in the store. A content whose bytes turn out to be others
 * is no error: its source becomes PLACE_NOWHERE and its action PLAN_FETCH. -ENOSPC with E307.
 */
int standby_copy(struct standby_writer *w, struct ota_err *err);

/* The contents of PLAN_PATCH and PLAN_FETCH, in a list malloc'ed for the caller. */
int standby_missing(const struct standby_writer *w, uint32_t **ret_contents, size_t *ret_n);

/* What fetch_pool got: counts them as processed. */
void standby_add_fetched(struct standby_writer *w, uint64_t files, uint64_t plain_bytes);

/*
 * Remove whatever is not a kept name, a real directory of the image, the store or /lost+found.
 * What is in /lost+found goes too. -EBUSY: something could not be removed although its flags were
 * cleared; the file system should be made anew.
 */
int standby_prune(struct standby_writer *w, struct ota_err *err);

/* Make directories, links and files, and set the attributes of everything but directories. */
int standby_place(struct standby_writer *w, struct ota_err *err);

/* Set the attributes of all directories and of the root. Call it last: it fixes their times. */
int standby_finish_dirs(struct standby_writer *w, struct ota_err *err);

/* Remove the store with all that is left in it. */
int standby_drop_store(struct standby_writer *w, struct ota_err *err);

/* Remove @name below @dir_fd with everything in it; flags are cleared, mount points refuse
 * (-EBUSY). */
int standby_remove_tree(int dir_fd, const char *name, struct ota_err *err);

/*
 * Keep the image's lists on the slot, /.ota-meta (0700): the identity of what is installed, and for
 * a later update a hint where contents are. Replaces what was there. Beside them stands the mark that the system is on
 * trial.
 */
struct image;
int standby_save_image(int standby_fd, const struct image *image, struct ota_err *err);
