/*
 * heap: what is free goes back to the kernel. Contract: heap.h.
 */
#include "common/base/heap.h"

#include <malloc.h>

enum {
	/* As many as have shown to be enough. Workers come and go, and what each arena keeps for
	 * the next is little, but there would be sixteen. */
	ARENAS = 2,
	/* A larger block is the kernel's as soon as it is free. Left to itself, malloc learns from
	 * the first large ones to keep up to 64 MiB for later, which a million files need once. */
	LARGE_BYTES = 1 << 20,
};

void heap_keep_small(void)
{
	mallopt(M_ARENA_MAX, ARENAS);
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	mallopt(M_TRIM_THRESHOLD, LARGE_BYTES);
}
