/*
 * old_file: one file of an older image for a new one. It is linked where none but us could change it afterwards, and
 * copied anywhere else. Whoever takes it checks what has the new name then, not what the older image has.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

/* Open the regular file @name for reading, links not followed; -EINVAL: it is something else. */
int old_file_open(int dir_fd, const char *name, int *ret_fd, struct stat *ret_st);

/* Link the file that has @st to a name in another folder, where there is none. false: it may not, or cannot be. */
bool old_file_link(
	int old_dir_fd, const char *old_name, int dir_fd, const char *name, const struct stat *st);

/*
 * Put the file that is open at @fd, with @st, at its name in another folder, where there is none; @fd is then open
 * on what that name has, for reading from its start. 1; 0: it cannot be read; or why it cannot be written.
 */
int old_file_put(int old_dir_fd, int dir_fd, const char *name, const struct stat *st, int *fd);
