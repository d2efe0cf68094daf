/*
 * dead_fs: a file system whose server answers until it is told to stop, and never again: what a mount of a server that
 * is gone is to a program. Needs root and /dev/fuse.
 */
#pragma once

#include <sys/types.h>

struct dead_fs {
	const char *point; /* borrowed */
	pid_t server;
	int tell_fd;
};

/* Mount it; its root is an empty folder. */
void dead_fs_init(struct dead_fs *fs, const char *point);

/* From now on nothing is answered. */
void dead_fs_die(struct dead_fs *fs);

/* The mount is gone; who waited for an answer gets an error. */
void dead_fs_done(struct dead_fs *fs);
