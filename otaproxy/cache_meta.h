/*
 * cache_meta: the head of an entry that is kept by URL: what has to be known to serve its body, and to check it.
 *
 * The head is the file's first CACHE_META_BYTES: lines of text and NULs behind them. Format: docs/formats.md,
 * "Cache folder".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/crypto/digest.h"

enum {
	CACHE_META_BYTES = 4096, /* one page, so that the body begins at a page */
	CACHE_META_URL_MAX =
		2048, /* with the NUL; what is asked for by URL is metadata with short names */
	CACHE_META_FIELD_MAX =
		256, /* with the NUL; as much as the HTTP client keeps of a validator */
};

struct cache_meta {
	char url[CACHE_META_URL_MAX];
	char etag[CACHE_META_FIELD_MAX]; /* this and the next three: "" = none */
	char last_modified[CACHE_META_FIELD_MAX];
	char content_type[CACHE_META_FIELD_MAX];
	char content_encoding[CACHE_META_FIELD_MAX];
	uint64_t size_bytes;  /* of the body as it is stored */
	struct digest digest; /* of the same bytes */
};

/*
 * 0, or -EINVAL: there is no URL, a value has a control character (a line end would begin a line of its own, here
 * and in the answer that is made of it), or a size that no file has.
 */
int cache_meta_write(const struct cache_meta *meta, char ret_head[CACHE_META_BYTES]);

/* 0, or -EBADMSG: not @len_bytes == CACHE_META_BYTES, or not exactly what cache_meta_write() writes. */
int cache_meta_read(const char *head, size_t len_bytes, struct cache_meta *ret_meta);
