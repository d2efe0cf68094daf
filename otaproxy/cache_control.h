/*
 * cache_control: the header ota-file-cache-control, with which clients and proxies tell each other
 * what a body is and whether a cache may be asked for it. Pure.
 *
 * Format: docs/formats.md, "ota-file-cache-control".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/crypto/digest.h"

#define CACHE_CONTROL_NAME "ota-file-cache-control"

enum {
	/* All directives there are take some 150 bytes; the rest is for ones to come. */
	CACHE_CONTROL_MAX_BYTES = 1024,
	CACHE_CONTROL_TEXT_MAX = 160, /* what we write, with the NUL */
};

enum cache_alg {
	CACHE_ALG_NONE,  /* nothing was said: the body is the content itself */
	CACHE_ALG_ZST,   /* "zst" or "zstd" */
	CACHE_ALG_OTHER, /* one that we cannot undo, so such a body can never be verified */
};

struct cache_control {
	bool no_cache;      /* neither take it from a cache nor keep it */
	bool retry_caching; /* what the cache had was wrong: fetch it anew */
	bool has_digest;
	struct digest digest; /* of the content before compression */
	enum cache_alg alg;
};

/*
 * Add the directives of @value to @cc ({0} at first; doubled fields are one list).
 *
 * Flags count by being there, whatever value they have: a request to go round the cache that is
 * misread serves old bytes, the other way round it costs time only. What we do not know is left
 * out. A digest that is none, and two that contradict each other (or two kinds of compression), are
 * refused: whoever asks so would get bytes that it cannot use, or have them kept under a name that
 * is not theirs.
 *
 * Returns 0, or with a sentence, @cc as it was:
 *   -E2BIG    longer than CACHE_CONTROL_MAX_BYTES
 *   -EBADMSG  as above, or control characters
 */
int cache_control_parse(
	const char *value, size_t len_bytes, struct cache_control *cc, struct ota_err *err);

/*
 * The value to send; "" = nothing to say. With CACHE_ALG_OTHER the digest is left out too, because
 * without the compression's name it would be wrong about the body.
 */
const char *cache_control_write(
	const struct cache_control *cc, char ret_text[CACHE_CONTROL_TEXT_MAX]);
