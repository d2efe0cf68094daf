/*
 * content_sketch: a few numbers that say which contents are alike. Pure.
 *
 * Each stretch of 24 bytes of a content has a hash, and the smallest hashes of all are its sketch. Two contents that
 * have most stretches in common, wherever they are, have most of these numbers in common too.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
	SKETCH_VALUES = 32,
};

struct content_sketch {
	uint32_t values[SKETCH_VALUES]; /* ascending, each once */
	uint32_t n;                     /* 0: it is shorter than a stretch, or not known */
};

void content_sketch_make(const void *data, size_t len_bytes, struct content_sketch *ret_sketch);
