/*
 * cache_key: what an entry of the cache is found by, and the name of its file.
 */
#pragma once

#include <stdint.h>

#include "common/crypto/digest.h"

enum cache_form {
	CACHE_PLAIN, /* the body is the content as it is */
	CACHE_ZST,   /* the body is one zstd frame of the content */
};

enum cache_kind {
	CACHE_BY_DIGEST,
	CACHE_BY_URL,
};

struct cache_key {
	enum cache_kind kind;
	enum cache_form form; /* CACHE_BY_URL: always CACHE_PLAIN, which says nothing */
	struct digest digest; /* of the plain content, or of the URL's text */
};

struct cache_key cache_key_of_content(const struct digest *digest, enum cache_form form);
struct cache_key cache_key_of_url(const char *url);

/* Where the body begins in the entry's file: behind the head if the entry is kept by URL. */
uint64_t cache_key_body_offset(const struct cache_key *key);

/* "<64 hex>", "<64 hex>.zst" or "url-<64 hex>". */
enum {
	CACHE_NAME_MAX = DIGEST_HEX_MAX + 4,
};
void cache_key_name(const struct cache_key *key, char ret_name[CACHE_NAME_MAX]);

/* 0, or -EBADMSG: no name that cache_key_name() makes. */
int cache_key_from_name(const char *name, struct cache_key *ret_key);
