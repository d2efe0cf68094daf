/*
 * file: reading small files with a limit.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "common/base/buf.h"

/*
 * Append the whole of @path (below @dir_fd, or AT_FDCWD) to @buf. Only a regular file is read (or
 * one of /proc and /sys), never a FIFO or device. 0, or -EFBIG if there are more than @max_bytes,
 * -EINVAL if it is no regular file, or open's and read's errno; on failure @buf is as before.
 */
int file_read(int dir_fd, const char *path, size_t max_bytes, struct buf *buf);
int file_read_fd(int fd, size_t max_bytes, struct buf *buf);

/* The same below @root_fd, of a tree that is another system's: -ELOOP if a link is on the way, or is the file. */
int file_read_beneath(int root_fd, const char *path, size_t max_bytes, struct buf *buf);

/*
 * As file_read_beneath(), into the caller's memory with a NUL behind it: for what must be known however short memory
 * is. Returns the bytes without the NUL, or -errno; -EFBIG: @size_bytes do not hold it. On failure @ret_text is "".
 */
ssize_t file_read_word(int root_fd, const char *path, char *ret_text, size_t size_bytes);

/* Why file_read() returned @r, for the end of a sentence: "it is not a regular file", or what strerror() says. */
const char *file_read_why(int r);

/* Write all of @data; 0 or -errno. */
int file_write_all(int fd, const void *data, size_t len_bytes);
