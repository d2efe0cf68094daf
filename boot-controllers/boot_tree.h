/*
 * boot_tree: small folders of files that a boot loader or its slots need: make one like another, or take it away.
 *
 * Every change is a named step of common/base/io. Symbolic links are copied as they are and never followed.
 */
#pragma once

#include <stdbool.h>

enum {
	BOOT_TREE_DEPTH_MAX = 16, /* /boot has three levels */
};

/* Have both files the same bytes? */
bool boot_tree_same_content(int a, int b);

/* Remove a file or folder with all that is in it; missing is fine. -ELOOP: deeper than BOOT_TREE_DEPTH_MAX. */
int boot_tree_remove(const char *what, int dir_fd, const char *name);

/*
 * Make the folder @to_fd have the files, links and folders of @from_fd and nothing else. Files that are the same
 * already are not written; devices, sockets and the like are left out. 0 or -errno.
 */
int boot_tree_mirror(const char *what, int from_fd, int to_fd);
