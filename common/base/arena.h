/*
 * arena: many small things that live and die together. No single free; not thread safe.
 */
#pragma once

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *head; /* newest first; NULL = empty, so {0} is a valid arena */
	size_t used_bytes;        /* in all blocks, for memory accounting */
};

/* Zeroed memory aligned for any type, or NULL when memory is short. */
void *arena_alloc(struct arena *a, size_t size_bytes);

/* A copy of @len bytes with a NUL behind it, byte-aligned, or NULL. */
char *arena_strndup(struct arena *a, const char *s, size_t len_bytes);

void arena_done(struct arena *a);
#define AUTO_ARENA CLEANUP(arena_done)
