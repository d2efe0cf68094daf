/*
 * buf: a growing byte buffer that always has a NUL behind its content. {0} is a valid empty buffer.
 */
#pragma once

#include <stddef.h>

struct buf {
	char *data; /* NULL while empty */
	size_t len_bytes;
	size_t cap_bytes;
};

/* All return 0 or -ENOMEM (-EINVAL for a bad format); on failure the content is unchanged. */
int buf_append(struct buf *b, const void *data, size_t len_bytes);
int buf_puts(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The content as a string; "" while empty. Borrowed until the next change. */
const char *buf_str(const struct buf *b);

void buf_done(struct buf *b);
#define AUTO_BUF CLEANUP(buf_done)
