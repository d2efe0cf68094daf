/*
 * array: plain arrays of a file_table that grow while it is built. Private to this folder.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum {
	ARRAY_FIRST = 64, /* elements that an array starts with */
};

/* Make room for one more element; ×1.5, so that at most a third is idle, and only until the seal.
 */
static inline int array_grow(void *array_p, size_t size_bytes, uint32_t n, uint32_t *cap)
{
	uint32_t want = *cap ? *cap + *cap / 2 : ARRAY_FIRST;
	void **array = array_p;
	void *p;

	if (n < *cap)
		return 0;
	p = reallocarray(*array, want, size_bytes);
	if (!p)
		return -ENOMEM;
	*array = p;
	*cap = want;
	return 0;
}

/* Give back what is idle. */
static inline void array_trim(void *array_p, size_t size_bytes, uint32_t n, uint32_t *cap)
{
	void **array = array_p;
	void *p = *array && n > 0 ? reallocarray(*array, n, size_bytes) : NULL;

	if (p) {
		*array = p;
		*cap = n;
	}
}
