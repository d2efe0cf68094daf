/*
 * image_patches: patches from the contents of older images to those of a new one, and their list.
 *
 * A patch is kept where it is clearly smaller than what a client would fetch otherwise. Same images, level and libzstd:
 * same patches, whatever the number of threads. Memory: what patch_partners and sketch_index take for each content, and
 * a pair of contents for each thread, with tables of zstd's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "metadata-gen/image_reader.h"
#include "metadata-gen/old_image.h"
#include "metadata-gen/patch_partners.h"

struct patches_config {
	const struct image_reader *made; /* the new image */
	const char *const *old_images;   /* folders */
	size_t n_old_images;             /* ≤ PATCHES_PER_CONTENT_MAX */
	const struct old_image
		*reuse; /* one that may have some of these patches already; NULL = none */
	int dir_fd;                      /* where the patches are written, each under its name */
	int level;                       /* of zstd, 1…19; what is hard to patch gets 19 */
	unsigned n_jobs;
};

struct patch_sums {
	uint64_t n, patch_bytes;
	uint64_t whole_bytes; /* of what a client would fetch otherwise */
};

struct patches_result {
	struct buf list; /* patches.txt */
	uint64_t n_patches, patch_bytes;
	uint64_t n_reused;     /* of n_patches */
	struct patch_sums by_way[PATCH_WAYS];
	uint64_t n_unreadable; /* contents of the older images that could not be read */
};

/* 0 with the list; or a sentence: an older image cannot be read, or a patch not be written. */
int image_patches_make(const struct patches_config *config, struct patches_result *ret_result,
	struct ota_err *err);
void patches_result_done(struct patches_result *result);
