/*
 * patch_partners: which contents of an older image are likely to be earlier forms of the contents of a new one. Pure:
 * from names and sizes alone; whether they are alike shows when a patch is made.
 *
 * Elsewhere: what is alike by its bytes, whatever its name (sketch_index).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/image/file_table.h"

enum {
	PATCH_PARTNERS_MAX = 3,
};

/* How a partner was found, the likeliest first. */
enum patch_way {
	PATCH_WAY_PATH,      /* the same path */
	PATCH_WAY_VERSIONED, /* the same but for version numbers */
	PATCH_WAY_NAME,      /* the same name but for them, in any folder */
	PATCH_WAY_CONTENT,   /* much in common */
	PATCH_WAYS,
};

/* For one content of the new image: contents of the older one, the likeliest first. */
struct patch_partners {
	uint32_t old[PATCH_PARTNERS_MAX];
	enum patch_way way[PATCH_PARTNERS_MAX];
	uint32_t n;
};

/*
 * Fill one entry for each content of @made, which is empty where @old has the content already. The same path comes
 * first; then the same path but for version numbers in it; then the same file name but for them, in any folder; of
 * several the one of the nearest size. 0 or -ENOMEM.
 */
int patch_partners_find(const struct file_table *made, const struct file_table *old,
	struct patch_partners *ret_partners);

/* Has the older image not that content, and is there something to patch? */
bool patch_partners_wanted(
	const struct file_table *made, const struct file_table *old, uint32_t content);

/* Can there be a patch from the one to the other, as far as sizes go? */
bool patch_partners_usable(const struct content *old, const struct content *made);

/*
 * Where to look for what @wanted (one for each content of @made) may come from, if names do not tell: sets @ret_alike
 * (one for each content of @old) for those that have about the size of one of them, and a name in the same folder but
 * for version numbers or with the same ending. 0 or -ENOMEM.
 */
int patch_partners_alike(const struct file_table *made, const bool *wanted,
	const struct file_table *old, bool *ret_alike);

/* The hash of a name in which each version number counts the same: "5.10.0-28" is "6.1.0-3". */
uint64_t patch_partners_fold(const char *name, size_t len_bytes);
