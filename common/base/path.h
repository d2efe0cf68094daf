/*
 * path: names that come from outside, and opening them so that nothing outside a root is ever
 * reached.
 *
 * Every path of an image is used through these: no ".." and no symbolic link of the slot can lead
 * out of it, and no mount point is crossed.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* One component that may be joined to a folder: not empty, no '/', no NUL, not "." or "..", ≤
 * NAME_MAX. */
bool path_is_component(const char *name, size_t len_bytes);

/*
 * An absolute path in its only spelling: begins with '/', no empty, "." or ".." component, no NUL,
 * no component > NAME_MAX, whole < PATH_MAX. "/" alone is not one (the root of a slot has no line
 * in an image).
 */
bool path_is_canonical(const char *path, size_t len_bytes);

/* Is @path @dir itself or below it? Both canonical. */
bool path_is_below(const char *path, const char *dir);

/*
 * openat2 of @path (absolute or relative; a leading '/' is skipped; "/" or "" is the root itself)
 * below @root_fd with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV. O_CLOEXEC and
 * O_NOFOLLOW are added. Returns the file descriptor or -errno: -ELOOP or -ENOTDIR when something
 * other than a directory is in the way, -EXDEV at a mount point.
 */
int path_open(int root_fd, const char *path, int flags, mode_t mode);

/*
 * Open the directory that holds @path (O_PATH) and point @ret_name at the last component inside
 * @path. Returns the file descriptor or -errno, -EINVAL for the root itself.
 */
int path_open_parent(int root_fd, const char *path, const char **ret_name);

/* As path_open(), but symbolic links are followed as if @root_fd were "/" (RESOLVE_IN_ROOT). */
int path_open_in_root(int root_fd, const char *path, int flags, mode_t mode);
