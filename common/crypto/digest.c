/*
 * digest: SHA-256 by libcrypto. Contract: digest.h.
 *
 * Its old functions, not EVP: those allocate for each digest, and so can fail where there is no state in which it would
 * be right to go on. These cannot, and an update hashes hundreds of thousands of small files.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "common/crypto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "common/base/hex.h"

enum {
	READ_BUFFER_BYTES =
		256 * 1024, /* more does not read faster; untouched, it costs no memory */
};

struct digest_ctx {
	SHA256_CTX sha256;
	unsigned char read_buffer[READ_BUFFER_BYTES];
};

const struct digest digest_of_nothing = {
	.bytes = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99,
		  0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99,
		  0x1b, 0x78, 0x52, 0xb8, 0x55},
};

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0;
}

void digest_to_hex(const struct digest *d, char ret_hex[DIGEST_HEX_MAX])
{
	hex_encode(d->bytes, DIGEST_BYTES, ret_hex);
}

int digest_from_hex(const char *text, size_t len_bytes, struct digest *ret_digest)
{
	if (len_bytes != (size_t)2 * DIGEST_BYTES)
		return -EBADMSG;
	return hex_decode(text, len_bytes, ret_digest->bytes);
}

int digest_from_lower_hex(const char *text, size_t len_bytes, struct digest *ret_digest)
{
	char again[DIGEST_HEX_MAX];
	int r = digest_from_hex(text, len_bytes, ret_digest);

	if (r < 0)
		return r;
	digest_to_hex(ret_digest, again);
	return memcmp(again, text, len_bytes) == 0 ? 0 : -EBADMSG;
}

struct digest_ctx *digest_ctx_new(void)
{
	return malloc(sizeof(struct digest_ctx));
}

void digest_ctx_free(struct digest_ctx *ctx)
{
	free(ctx);
}

void digest_ctx_freep(struct digest_ctx **ctx)
{
	digest_ctx_free(*ctx);
}

void digest_start(struct digest_ctx *ctx)
{
	SHA256_Init(&ctx->sha256);
}

void digest_add(struct digest_ctx *ctx, const void *data, size_t len_bytes)
{
	SHA256_Update(&ctx->sha256, data, len_bytes);
}

void digest_final(struct digest_ctx *ctx, struct digest *ret_digest)
{
	SHA256_Final(ret_digest->bytes, &ctx->sha256);
}

void digest_of(const void *data, size_t len_bytes, struct digest *ret_digest)
{
	SHA256_CTX sha256;

	SHA256_Init(&sha256);
	SHA256_Update(&sha256, data, len_bytes);
	SHA256_Final(ret_digest->bytes, &sha256);
}

int digest_of_fd(
	struct digest_ctx *ctx, int fd, struct digest *ret_digest, uint64_t *ret_size_bytes)
{
	return digest_of_fd_unless(ctx, fd, NULL, NULL, ret_digest, ret_size_bytes);
}

int digest_of_fd_unless(struct digest_ctx *ctx, int fd, bool (*stop)(void *ctx), void *stop_ctx,
	struct digest *ret_digest, uint64_t *ret_size_bytes)
{
	uint64_t size_bytes = 0;

	/* A hint only: pipes refuse it. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	digest_start(ctx);
	for (;;) {
		ssize_t n;

		if (stop && stop(stop_ctx))
			return -ECANCELED;
		n = read(fd, ctx->read_buffer, sizeof(ctx->read_buffer));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		digest_add(ctx, ctx->read_buffer, (size_t)n);
		size_bytes += (uint64_t)n;
	}
	digest_final(ctx, ret_digest);
	if (ret_size_bytes)
		*ret_size_bytes = size_bytes;
	return 0;
}
