/*
 * folder: go through the names in a folder, and remove what they name, whatever it is.
 *
 * Symbolic links are never followed and mount points never entered. Silent: -errno.
 */
#pragma once

#include <sys/types.h>

enum {
	FOLDER_DEPTH_MAX =
		32, /* open folders at once; what lies deeper was put there by nobody of us */
};

/*
 * Call @visit for each name in @dir_fd (any descriptor of the folder but O_PATH's, its position is not used), in no
 * order; it may remove the name. A return other than 0 ends it and is returned. 0 after the last.
 */
typedef int folder_visit_fn(void *ctx, int dir_fd, const char *name);
int folder_each(int dir_fd, folder_visit_fn *visit, void *ctx);

/*
 * Remove @name and all below it. What cannot be removed (a mount point, too deep) does not stop the rest. 0, also
 * if it is not there; else the first failure.
 */
int folder_remove(int dir_fd, const char *name);

/* The same with everything in the folder. */
int folder_empty(int dir_fd);

/*
 * Remove of @name and all below it whatever is not @owner's, with all that is below that. Safe for root in a tree that
 * @owner may change meanwhile: nothing but what lies in it can go. What cannot be removed does not stop the rest; the
 * number of names that are gone is added to @ret_n. 0, also if it is not there; else the first failure.
 */
int folder_remove_strange(int dir_fd, const char *name, uid_t owner, unsigned *ret_n);
