/*
 * tree_walk: visit every entry below a directory, several directories at once, to keep a cold disk
 * busy.
 *
 * Symbolic links are never followed and mount points never entered, nor folders whose path is longer
 * than the system takes. Used by the inventory (reading) and standby_prune.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/base/err.h"

enum {
	TREE_PATH_MAX = PATH_MAX + NAME_MAX + 2, /* any name in a folder that can be opened */
};

struct tree_entry {
	int dir_fd;       /* the directory that holds it, opened for reading */
	const char *name; /* in that directory */
	const char
		*path; /* from the root, "/usr/bin/env"; < TREE_PATH_MAX; borrowed for the call */
	/* As the folder has it: of what lies below, where something is mounted on a file. */
	uint64_t ino;
	mode_t type;            /* S_IFREG and its like */
	bool may_be_unreadable; /* for tree_entry_stat() */
};

/*
 * Called for each entry, in any order and in several threads at once, but parents before children.
 * @ret_descend is preset to "is a directory on the same file system whose path fits" and may be
 * cleared. A negative return ends the walk. Entries may be removed by the visitor.
 */
typedef int tree_visit_fn(
	void *ctx, const struct tree_entry *e, bool *ret_descend, struct ota_err *err);

/*
 * What the file system says of the entry itself: to ask for each is dear, so the walk does not. 0; 1: it
 * is passed over, as with @skip_unreadable, or gone; -errno with a sentence.
 */
int tree_entry_stat(const struct tree_entry *e, struct stat *ret_st, struct ota_err *err);

/* @skip_unreadable: what the file system does not give is passed over instead of ending the walk. */
int tree_walk(int root_fd, unsigned n_threads, bool skip_unreadable, tree_visit_fn *visit,
	void *ctx, struct ota_err *err);
