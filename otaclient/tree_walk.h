/*
 * tree_walk: visit every entry below a directory, several directories at once, to keep a cold disk
 * busy.
 *
 * Symbolic links are never followed and mount points never entered. Used by inventory (reading) and
 * standby_writer (pruning).
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "common/base/err.h"

struct tree_entry {
	int dir_fd;       /* the directory that holds it, opened for reading */
	const char *name; /* in that directory */
	const char *path; /* from the root, "/usr/bin/env"; borrowed for the call */
	struct stat st;   /* of the entry itself */
};

/*
 * Called for each entry, in any order and in several threads at once, but parents before children.
 * @ret_descend is preset to "is a directory on the same file system" and may be cleared. A negative
 * return ends the walk. Entries may be removed by the visitor.
 */
typedef int tree_visit_fn(
	void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err);

int tree_walk(
	int root_fd, unsigned n_threads, tree_visit_fn *visit, void *ctx, struct ota_err *err);
