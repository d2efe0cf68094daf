/*
 * array: plain arrays that grow while a table is built. @array_p is the address of the caller's pointer, which is of
 * any type: it is read and written with memcpy.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	ARRAY_FIRST = 64, /* elements that an array starts with */
};

/* Make room for one more element; ×1.5, so that at most a third is idle, and only until the table is trimmed. */
static inline int array_grow(void *array_p, size_t size_bytes, uint32_t n, uint32_t *cap)
{
	uint32_t want = *cap ? *cap + *cap / 2 : ARRAY_FIRST;
	void *p, *grown;

	if (n < *cap)
		return 0;
	memcpy(&p, array_p, sizeof(p));
	grown = reallocarray(p, want, size_bytes);
	if (!grown)
		return -ENOMEM;
	memcpy(array_p, &grown, sizeof(grown));
	*cap = want;
	return 0;
}

/* Give back what is idle. */
static inline void array_trim(void *array_p, size_t size_bytes, uint32_t n, uint32_t *cap)
{
	void *p, *trimmed;

	memcpy(&p, array_p, sizeof(p));
	trimmed = p && n > 0 ? reallocarray(p, n, size_bytes) : NULL;
	if (trimmed) {
		memcpy(array_p, &trimmed, sizeof(trimmed));
		*cap = n;
	}
}
