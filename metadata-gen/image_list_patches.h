/*
 * image_list_patches: patches to the lists of a new image from the same lists of older ones. What they cost in
 * metadata.jwt, where each has a word, counts.
 *
 * Elsewhere: patches of contents (image_patches).
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"
#include "common/image/image_meta.h"
#include "metadata-gen/image_patches.h"

/* A list of the new image. */
struct list_to_patch {
	const struct image_part *part; /* in the meta that gets the words */
	const struct buf *text;
};

struct image_list_patches_config {
	struct list_to_patch lists[LIST_PATCH_KEYS];
	int image_fd;                  /* the new image, for what is there compressed */
	int dir_fd;                    /* where patches are written, each under its name */
	const char *const *old_images; /* folders */
	size_t n_old_images;           /* ≤ PATCHES_PER_CONTENT_MAX */
	int level;                     /* of zstd, 1…19 */
};

struct image_list_patches_result {
	struct patch_sums sums;
	uint64_t n_unreadable; /* lists of the older images */
};

/* 0 with the words in @meta; or a sentence: an older image cannot be read, or a patch not be written. */
int image_list_patches_make(const struct image_list_patches_config *config, struct image_meta *meta,
	struct image_list_patches_result *ret_result, struct ota_err *err);
