/*
 * sketch_index: all numbers of all sketches in one sorted array. Contract: sketch_index.h.
 *
 * To look for one content takes as many searches as its sketch has numbers, however many contents there are, and no two
 * sketches are ever compared.
 */
#include "metadata-gen/sketch_index.h"

#include <stdlib.h>

enum {
	OWNERS_MAX = 48, /* of a number that still tells something */
	COMMON_MIN = 3,  /* of 32: a tenth of the stretches; patches from less hardly ever pay */
};

struct mark {
	uint32_t value, content;
};

struct sketch_index {
	struct mark *marks; /* before the seal SKETCH_VALUES for each content, n of them used */
	uint8_t *n;         /* for each content */
	size_t n_max, n_marks;
};

struct sketch_index *sketch_index_new(size_t n_max)
{
	struct sketch_index *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->n_max = n_max;
	x->marks = calloc(n_max + 1, SKETCH_VALUES * sizeof(*x->marks));
	x->n = calloc(n_max + 1, sizeof(*x->n));
	if (x->marks && x->n)
		return x;
	sketch_index_free(x);
	return NULL;
}

void sketch_index_free(struct sketch_index *x)
{
	if (!x)
		return;
	free(x->marks);
	free(x->n);
	free(x);
}

void sketch_index_freep(struct sketch_index **x)
{
	sketch_index_free(*x);
}

void sketch_index_put(
	struct sketch_index *x, size_t at, uint32_t content, const struct content_sketch *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		x->marks[at * SKETCH_VALUES + i] = (struct mark){s->values[i], content};
	x->n[at] = (uint8_t)s->n;
}

static int compare_marks(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return x->content < y->content ? -1 : x->content > y->content;
}

void sketch_index_seal(struct sketch_index *x)
{
	for (size_t at = 0; at < x->n_max; at++)
		for (uint32_t i = 0; i < x->n[at]; i++)
			x->marks[x->n_marks++] = x->marks[at * SKETCH_VALUES + i];
	qsort(x->marks, x->n_marks, sizeof(*x->marks), compare_marks);
}

/* The first mark that is not before @value. */
static size_t lower_bound(const struct sketch_index *x, uint32_t value)
{
	size_t low = 0, high = x->n_marks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (x->marks[middle].value < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Whose number is it? Returns how many they are; 0: nobody's, or too many's. */
static size_t owners_of(const struct sketch_index *x, uint32_t value, uint32_t ret[OWNERS_MAX])
{
	size_t from = lower_bound(x, value), n = 0;

	for (; from + n < x->n_marks && x->marks[from + n].value == value; n++) {
		if (n == OWNERS_MAX)
			return 0;
		ret[n] = x->marks[from + n].content;
	}
	return n;
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

struct hit {
	uint32_t content, n;
};

/* The best so far, the best first. */
struct best {
	struct hit *hits;
	unsigned n, max;
};

static void note_hit(struct best *b, const struct hit *hit)
{
	unsigned at = b->n;

	while (at > 0 && b->hits[at - 1].n < hit->n)
		at--;
	if (at == b->max)
		return;
	if (b->n < b->max)
		b->n++;
	for (unsigned i = b->n - 1; i > at; i--)
		b->hits[i] = b->hits[i - 1];
	b->hits[at] = *hit;
}

unsigned sketch_index_find(const struct sketch_index *x, const struct content_sketch *s,
	unsigned max, uint32_t *ret_contents)
{
	uint32_t owners[SKETCH_VALUES * OWNERS_MAX] = {0};
	struct hit hits[SKETCH_VALUES] = {0};
	struct best best = {.hits = hits, .max = MIN_OF(max, (unsigned)SKETCH_VALUES)};
	size_t n = 0;

	for (uint32_t i = 0; i < s->n; i++)
		n += owners_of(x, s->values[i], owners + n);
	qsort(owners, n, sizeof(*owners), compare_numbers);
	for (size_t from = 0, to; from < n; from = to) {
		for (to = from; to < n && owners[to] == owners[from];)
			to++;
		if (to - from >= COMMON_MIN)
			note_hit(&best, &(struct hit){owners[from], (uint32_t)(to - from)});
	}
	for (unsigned i = 0; i < best.n; i++)
		ret_contents[i] = hits[i].content;
	return best.n;
}
