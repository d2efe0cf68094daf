/*
 * grub_default: /etc/default/grub of a slot, with the settings that two slots need.
 */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum {
	GRUB_DEFAULT_MAX_BYTES = 256 * 1024, /* a real one has 2 kB */
	GRUB_DEFAULT_KEYS_MAX = 512,
};

/* Append the new file to @ret: assignments only, the last of each name, ours forced. 0, -E2BIG, -ENOMEM. */
int grub_default_rewrite(const char *text, size_t len_bytes, struct buf *ret, struct ota_err *err);

/*
 * Append the value of @key as a shell would have it (quotes and backslashes taken off, nothing expanded).
 * -ENOENT: it is not set.
 */
int grub_default_value(const char *text, size_t len_bytes, const char *key, struct buf *ret);
