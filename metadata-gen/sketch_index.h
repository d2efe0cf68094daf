/*
 * sketch_index: contents by the numbers of their sketches, to find those that have most in common with another.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "metadata-gen/content_sketch.h"

struct sketch_index;

/* For up to @n_max contents; 8 bytes for each number of theirs. NULL: no memory. */
struct sketch_index *sketch_index_new(size_t n_max);
void sketch_index_free(struct sketch_index *x);
void sketch_index_freep(struct sketch_index **x);
#define AUTO_SKETCH_INDEX CLEANUP(sketch_index_freep)

/* The content that is the @at-th below n_max. Any thread, each @at once. One that is left out is like nothing. */
void sketch_index_put(
	struct sketch_index *x, size_t at, uint32_t content, const struct content_sketch *s);

/* All are in: once, before the first is looked for. */
void sketch_index_seal(struct sketch_index *x);

/*
 * The contents that have most in common with @s, the likest first, of equals the first by its number; none that has
 * next to nothing. Returns how many, at most @max. What many contents have tells nothing, and does not count. Any
 * thread.
 */
unsigned sketch_index_find(const struct sketch_index *x, const struct content_sketch *s,
	unsigned max, uint32_t *ret_contents);
