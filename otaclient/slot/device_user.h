/*
 * device_user: who has a block device mounted, in whatever mount namespace, and who works on it.
 */
#pragma once

#include <sys/types.h>

#include "common/base/buf.h"

/*
 * Append who has @dev: "it is mounted on /media/x, used by bash (process 12)", or "firefox (process 12) has it mounted
 * on /media/x" for another namespace. Nothing is appended if nobody is found. 0 or -errno.
 */
int device_user_find(dev_t dev, struct buf *ret_text);

/* Append the first process that has something open on the file system of @dev, as ", used by …" above. */
int device_user_find_process(dev_t dev, struct buf *ret_text);
