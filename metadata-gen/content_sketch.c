/*
 * content_sketch: the smallest of all hashes of a rolling window. Contract: content_sketch.h.
 *
 * The window is a polynomial modulo 2^64, whose low bits are poor, so what is compared is a mix of it.
 */
#include "metadata-gen/content_sketch.h"

#include <stdbool.h>
#include <string.h>

enum {
	WINDOW_BYTES = 24, /* machine code seldom has longer stretches between two addresses */
};

#define FACTOR ((uint64_t)0x9e3779b97f4a7c15)
#define MIXER  ((uint64_t)0xff51afd7ed558ccd)

static uint64_t factor_to_the(unsigned power)
{
	uint64_t product = 1;

	while (power-- > 0)
		product *= FACTOR;
	return product;
}

static uint32_t mixed(uint64_t window)
{
	return (uint32_t)(((window ^ window >> 29) * MIXER) >> 32);
}

/* Keep @value if it is among the smallest and not there yet. */
static void keep(struct content_sketch *s, uint32_t value)
{
	uint32_t at = s->n;

	while (at > 0 && s->values[at - 1] > value)
		at--;
	if (at > 0 && s->values[at - 1] == value)
		return;
	if (s->n < SKETCH_VALUES)
		s->n++;
	memmove(&s->values[at + 1], &s->values[at], (s->n - 1 - at) * sizeof(s->values[0]));
	s->values[at] = value;
}

static bool is_small_enough(const struct content_sketch *s, uint32_t value)
{
	return s->n < SKETCH_VALUES || value < s->values[SKETCH_VALUES - 1];
}

void content_sketch_make(const void *data, size_t len_bytes, struct content_sketch *ret_sketch)
{
	const unsigned char *bytes = data;
	const uint64_t leaving = factor_to_the(WINDOW_BYTES);
	struct content_sketch s = {.n = 0};
	uint64_t window = 0;

	/* A byte counts one more, so that zeros are not the same as nothing. */
	for (size_t i = 0; i < len_bytes; i++) {
		uint32_t value;

		window = window * FACTOR + bytes[i] + 1;
		if (i >= WINDOW_BYTES)
			window -= leaving * (bytes[i - WINDOW_BYTES] + (uint64_t)1);
		value = mixed(window);
		if (i >= WINDOW_BYTES - 1 && is_small_enough(&s, value))
			keep(&s, value);
	}
	*ret_sketch = s;
}
