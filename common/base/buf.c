/*
 * buf: a growing byte buffer. Contract: buf.h.
 */
#include "common/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int buf_reserve(struct buf *b, size_t more)
{
	size_t cap = b->cap_bytes ? b->cap_bytes : 64;
	char *p;

	if (more >= SIZE_MAX / 2 - b->len_bytes)
		return -ENOMEM;
	while (cap < b->len_bytes + more + 1)
		cap *= 2;
	if (cap == b->cap_bytes)
		return 0;
	p = realloc(b->data, cap);
	if (!p)
		return -ENOMEM;
	b->data = p;
	b->cap_bytes = cap;
	return 0;
}

int buf_append(struct buf *b, const void *data, size_t len_bytes)
{
	int r = buf_reserve(b, len_bytes);

	if (r < 0)
		return r;
	if (len_bytes > 0)
		memcpy(b->data + b->len_bytes, data, len_bytes);
	b->len_bytes += len_bytes;
	b->data[b->len_bytes] = '\0';
	return 0;
}

int buf_puts(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = buf_reserve(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len_bytes, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len_bytes += (size_t)n;
	return 0;
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}
