/*
 * patch_partners: which contents of an older image are likely to be earlier forms of the contents of a new one. Pure:
 * from names and sizes alone; whether they are alike shows when a patch is made.
 */
#pragma once

#include <stdint.h>

#include "common/image/file_table.h"

enum {
	PATCH_PARTNERS_MAX = 3,
};

/* For one content of the new image: contents of the older one, the likeliest first. */
struct patch_partners {
	uint32_t old[PATCH_PARTNERS_MAX];
	uint32_t n;
};

/*
 * Fill one entry for each content of @made, which is empty where @old has the content already. The same path comes
 * first; then the same path but for version numbers in it; then the same file name but for them, in any folder; of
 * several the one of the nearest size. 0 or -ENOMEM.
 */
int patch_partners_find(const struct file_table *made, const struct file_table *old,
	struct patch_partners *ret_partners);

/* The hash of a name in which each version number counts the same: "5.10.0-28" is "6.1.0-3". */
uint64_t patch_partners_fold(const char *name, size_t len_bytes);
