/*
 * arena: bump allocation in blocks that grow. Contract: arena.h.
 */
#include "common/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

struct arena_block {
	struct arena_block *next;
	size_t size_bytes; /* of data */
	size_t used_bytes;
	alignas(max_align_t) char data[];
};

enum {
	BLOCK_MIN_BYTES = 4096,
	BLOCK_MAX_BYTES = 256 * 1024, /* larger blocks would only waste their unused end */
};

static void *arena_take(struct arena *a, size_t size, size_t align)
{
	struct arena_block *b = a->head;
	size_t start = b ? (b->used_bytes + align - 1) & ~(align - 1) : 0;

	if (!b || start > b->size_bytes || size > b->size_bytes - start) {
		size_t want = b ? MIN_OF(b->size_bytes * 2, (size_t)BLOCK_MAX_BYTES)
				: (size_t)BLOCK_MIN_BYTES;

		want = MAX_OF(want, size);
		if (want > SIZE_MAX - sizeof(*b))
			return NULL;
		b = malloc(sizeof(*b) + want);
		if (!b)
			return NULL;
		*b = (struct arena_block){.next = a->head, .size_bytes = want};
		a->head = b;
		start = 0;
	}
	b->used_bytes = start + size;
	a->used_bytes += size;
	return b->data + start;
}

void *arena_alloc(struct arena *a, size_t size_bytes)
{
	void *p = arena_take(a, size_bytes, alignof(max_align_t));

	if (p)
		memset(p, 0, size_bytes);
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t len_bytes)
{
	char *p = len_bytes < SIZE_MAX ? arena_take(a, len_bytes + 1, 1) : NULL;

	if (!p)
		return NULL;
	memcpy(p, s, len_bytes);
	p[len_bytes] = '\0';
	return p;
}

void arena_done(struct arena *a)
{
	while (a->head) {
		struct arena_block *next = a->head->next;

		free(a->head);
		a->head = next;
	}
	a->used_bytes = 0;
}
