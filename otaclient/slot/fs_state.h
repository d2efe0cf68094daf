/*
 * fs_state: what the superblock of an ext4 on a device tells of it, mounted or not. Reads only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	FS_STATE_UUID_MAX = 37, /* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" and the NUL */
};

struct fs_state {
	char uuid[FS_STATE_UUID_MAX]; /* in small letters */
	uint32_t mounted_unix_s;      /* when it was last mounted writable; 0 = never */
	bool closed; /* as it should be: nothing that is known is to be mended or replayed */
};

/* 0, or -errno: -EINVAL: there is no ext4 on @device. */
int fs_state_read(const char *device, struct fs_state *ret_state);
