/*
 * list_patches: "x_list_patches" of metadata.jwt, the patches that an image offers for its lists: each makes a list of
 * the image out of the same list of an older one. An offer, as patch_list is: who cannot use it takes the whole list.
 *
 * Format: docs/formats.md, "patches of lists".
 */
#pragma once

#include <stdint.h>

#include "common/base/buf.h"
#include "common/crypto/digest.h"

enum {
	LIST_PATCH_KEYS = 5,            /* lists that may have patches */
	LIST_PATCHES_PER_LIST_MAX = 16, /* as many older images */
	LIST_PATCHES_MAX = LIST_PATCH_KEYS * LIST_PATCHES_PER_LIST_MAX,
};

struct list_patch {
	const char *key;     /* of the list in metadata.jwt; a constant */
	uint64_t list_bytes; /* of the list that it makes */
	uint64_t old_bytes, patch_bytes;
	struct digest old, patch;
};

struct list_patches {
	struct list_patch at[LIST_PATCHES_MAX];
	unsigned n;
	const char *unusable; /* why no patch counts, a constant; NULL = they do */
};

/* Read the words. Whatever is wrong with them, @ret_patches says. */
void list_patches_read(const char *text, struct list_patches *ret_patches);

/* The patch to the list with @key from the one with digest @old; NULL: there is none. */
const struct list_patch *list_patches_find(
	const struct list_patches *patches, const char *key, const struct digest *old);

/* For builders: one more, whose key is any copy of its text; at most 16 for a list. */
void list_patches_add(struct list_patches *patches, const struct list_patch *patch);
/* Append the words. 0 or -ENOMEM. */
int list_patches_write(const struct list_patches *patches, struct buf *out);
