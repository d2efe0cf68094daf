/*
 * digest: SHA-256, the name of every content.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DIGEST_BYTES = 32,
	DIGEST_HEX_MAX = 2 * DIGEST_BYTES + 1, /* with the NUL */
};

struct digest {
	uint8_t bytes[DIGEST_BYTES];
};

/* The digest of no bytes: every empty file. */
extern const struct digest digest_of_nothing;

bool digest_equal(const struct digest *a, const struct digest *b);

/* Lower-case hex, the form of all names and lists. */
void digest_to_hex(const struct digest *d, char ret_hex[DIGEST_HEX_MAX]);

/* Exactly 64 hex digits of either case; 0 or -EBADMSG. */
int digest_from_hex(const char *text, size_t len_bytes, struct digest *ret_digest);

/* The same in lower case alone, where there is to be one spelling. */
int digest_from_lower_hex(const char *text, size_t len_bytes, struct digest *ret_digest);

/* A digest in the making; one per thread, reusable after digest_final(). */
struct digest_ctx;

struct digest_ctx *digest_ctx_new(void); /* NULL: no memory */
void digest_ctx_free(struct digest_ctx *ctx);
void digest_ctx_freep(struct digest_ctx **ctx);
#define AUTO_DIGEST_CTX CLEANUP(digest_ctx_freep)

void digest_start(struct digest_ctx *ctx);
void digest_add(struct digest_ctx *ctx, const void *data, size_t len_bytes);
void digest_final(struct digest_ctx *ctx, struct digest *ret_digest);

void digest_of(const void *data, size_t len_bytes, struct digest *ret_digest);

/*
 * Hash @fd from its current position to its end, with a buffer of @ctx; 0 or read's -errno. @ret_size_bytes
 * may be NULL.
 */
int digest_of_fd(
	struct digest_ctx *ctx, int fd, struct digest *ret_digest, uint64_t *ret_size_bytes);

/* The same, asking @stop after each piece whether to go on; -ECANCELED if not. */
int digest_of_fd_unless(struct digest_ctx *ctx, int fd, bool (*stop)(void *ctx), void *stop_ctx,
	struct digest *ret_digest, uint64_t *ret_size_bytes);
