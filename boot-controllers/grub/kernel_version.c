/*
 * kernel_version: compare dotted versions. Contract: kernel_version.h. Pure.
 */
#include "boot-controllers/grub/kernel_version.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static const char separators[] = ".-+~_";

struct part {
	const char *text;
	size_t len;
	bool number;
};

/* The next part of *@at, which moves behind it. An empty part means the end, or two separators in a row. */
static struct part part_next(const char **at)
{
	struct part p = {.text = *at, .len = strcspn(*at, separators)};

	p.number = p.len > 0;
	for (size_t i = 0; i < p.len; i++)
		p.number = p.number && isdigit((unsigned char)p.text[i]);
	*at += p.len;
	if (**at)
		++*at;
	while (p.number && p.len > 1 && *p.text == '0') {
		p.text++;
		p.len--;
	}
	return p;
}

/* A word ("rc1", "generic") comes before a number; a missing part before both. */
static int part_cmp(const struct part *a, const struct part *b)
{
	size_t min = a->len < b->len ? a->len : b->len;
	int r;

	if (a->len == 0 || b->len == 0)
		return (a->len > 0) - (b->len > 0);
	if (a->number != b->number)
		return a->number ? 1 : -1;
	if (a->number && a->len != b->len)
		return a->len < b->len ? -1 : 1;
	r = memcmp(a->text, b->text, min);
	return r ? r : (a->len > b->len) - (a->len < b->len);
}

int kernel_version_cmp(const char *a, const char *b)
{
	while (*a || *b) {
		struct part pa = part_next(&a), pb = part_next(&b);
		int r = part_cmp(&pa, &pb);

		if (r != 0)
			return r;
	}
	return 0;
}

/* The leading "1.2.3" of a version; returns how many numbers there are. */
static size_t release_parse(const char *v, unsigned ret_part[RELEASE_PARTS_MAX])
{
	size_t n = 0;

	if (*v == 'v')
		v++;
	while (n < RELEASE_PARTS_MAX && isdigit((unsigned char)*v)) {
		unsigned x = 0;

		for (; isdigit((unsigned char)*v); v++)
			x = x < 100000000u ? x * 10 + (unsigned)(*v - '0') : x;
		ret_part[n++] = x;
		if (*v != '.')
			break;
		v++;
	}
	return n;
}

int release_is_before(const char *version, const char *limit, bool *ret_before)
{
	unsigned a[RELEASE_PARTS_MAX] = {0}, b[RELEASE_PARTS_MAX] = {0};

	if (release_parse(version, a) == 0 || release_parse(limit, b) == 0)
		return -EINVAL;
	*ret_before = false;
	for (size_t i = 0; i < RELEASE_PARTS_MAX; i++) {
		if (a[i] != b[i]) {
			*ret_before = a[i] < b[i];
			break;
		}
	}
	return 0;
}
