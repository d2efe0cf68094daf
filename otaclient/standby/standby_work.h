/*
 * standby_work: what the parts of standby_writer share; for them alone.
 *
 *     standby_writer   the object, and the store
 *     standby_prune    what goes
 *     standby_copy     what comes from the active slot: by its place (standby_gather), else by its name
 *     standby_put      a content's way to its name, or to the store
 *     standby_place    what is made, and the attributes
 *
 * Threads: each phase is a parallel loop over contents, entries or directories and ends before the
 * next begins. Shared within a phase: the counters, and what a part says of itself.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/io.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/standby/standby_writer.h"

struct standby_writer {
	struct writer_config c;
	int store_fd;
	atomic_uint *shares; /* per content: groups that still want it while placing */
	/* Per first file of a group: as it was left, once it has its name and attributes; ino 0: not yet. */
	struct inode_note *made;
	struct {
		atomic_uint_fast64_t processed_files, processed_bytes, removed_entries,
			written_bytes;
	} counts;
};

static inline bool standby_is_placed(const struct standby_writer *w, uint32_t file)
{
	return w->made[file].ino != 0;
}

static inline bool standby_stopped(const struct standby_writer *w)
{
	return w->c.stop && w->c.stop(w->c.stop_ctx);
}

static inline void standby_count(struct standby_writer *w, uint64_t files, uint64_t bytes)
{
	atomic_fetch_add(&w->counts.processed_files, files);
	atomic_fetch_add(&w->counts.processed_bytes, bytes);
}

/* 0: nobody knows. */
static inline uint64_t standby_content_size(const struct standby_writer *w, uint32_t content)
{
	uint64_t size = w->c.table->contents[content].size_bytes;

	return size == CONTENT_SIZE_UNKNOWN ? 0 : size;
}

/* "Cannot @what @path: …"; returns @r. */
int standby_error(struct ota_err *err, int r, const char *what, const char *path);

/* A new empty inode in the store under a temporary name. Returns its file descriptor or -errno. */
int standby_make_tmp(struct standby_writer *w, char ret_name[IO_TMP_NAME_MAX]);

/* All attributes of a file of the image. @path for the sentence. */
int standby_apply_file(
	struct standby_writer *w, uint32_t file, int fd, const char *path, struct ota_err *err);

/* Has the plan a copy of this content made that has not been made yet? */
static inline bool standby_is_to_copy(const struct standby_writer *w, uint32_t content)
{
	return w->c.plan->actions[content] == PLAN_COPY &&
	       w->c.inv->sources[content].place != PLACE_STANDBY;
}

/*
 * Copy the small contents whose places on the active slot's device are known, in the order of these. What is not what
 * was noted, or not to be read, is left for standby_copy() to look for by name.
 */
int standby_gather(struct standby_writer *w, struct ota_err *err);

/* Where a content's bytes come from: a file, which is hashed on the way, or memory, where they have been. */
struct standby_origin {
	const char *path; /* in sentences */
	int fd;           /* read from where it stands */
	const void *data; /* NULL: @fd */
};

/*
 * Make a copy of @content: under the name of @file, the only one that wants it, or in the store if that is
 * FILE_TABLE_NONE, or the name is not free. 0, or -ENODATA without a sentence: what @from has is another.
 */
int standby_put(struct standby_writer *w, uint32_t content, uint32_t file,
	const struct standby_origin *from, struct ota_err *err);

/* Nothing will be done any more to the file at @fd, at least under this name: it is placed, and noted as it is. */
int standby_note_made(
	struct standby_writer *w, uint32_t file, int fd, const char *path, struct ota_err *err);

/* Are the flags that keep an entry from being changed cleared? Tries to; what resists shows later. */
void standby_unlock(int dir_fd, const char *name);

/* As standby_remove_tree(), asking the caller's stop; @w may be NULL. */
int standby_remove(
	const struct standby_writer *w, int dir_fd, const char *name, struct ota_err *err);

/* Remove what neither the image has at its path nor the plan takes a content from. */
int standby_make_room(struct standby_writer *w, struct ota_err *err);

/* Does the plan take this content from an inode of the standby slot? */
static inline bool standby_takes_from_slot(enum plan_action a)
{
	return a == PLAN_MOVE || a == PLAN_REPEAT;
}
