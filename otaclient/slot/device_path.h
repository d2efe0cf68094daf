/*
 * device_path: the block device that a file system is on.
 */
#pragma once

enum {
	DEVICE_PATH_MAX = 64,
};

/*
 * The path in /dev of the device that has the file system of @fd. 0; -ENODEV: there is none, or it cannot be told
 * (overlay, btrfs, a network); -errno.
 */
int device_path_of(int fd, char ret_path[DEVICE_PATH_MAX]);
