/*
 * digest: SHA-256 over libcrypto's EVP. Contract: digest.h.
 *
 * The algorithm is looked up once for the process: the look-up takes locks and allocates, and an update hashes
 * hundreds of thousands of small files. A libcrypto without SHA-256, or one that fails in the middle of it,
 * ends the process: there is no state in which it would be right to go on without knowing a digest.
 */
#include "common/crypto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "common/base/hex.h"

enum {
	READ_BUFFER_BYTES =
		256 * 1024, /* more does not read faster; untouched, it costs no memory */
};

struct digest_ctx {
	EVP_MD_CTX *evp;
	unsigned char read_buffer[READ_BUFFER_BYTES];
};

const struct digest digest_of_nothing = {
	.bytes = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99,
		  0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99,
		  0x1b, 0x78, 0x52, 0xb8, 0x55},
};

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* never freed: it lives as long as the process */

static void sha256_fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!sha256)
		abort();
}

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

struct digest_ctx *digest_ctx_new(void)
{
	struct digest_ctx *ctx = malloc(sizeof(*ctx));

	if (!ctx)
		return NULL;
	pthread_once(&sha256_once, sha256_fetch);
	ctx->evp = EVP_MD_CTX_new();
	if (!ctx->evp) {
		free(ctx);
		return NULL;
	}
	return ctx;
}

void digest_ctx_free(struct digest_ctx *ctx)
{
	if (!ctx)
		return;
	EVP_MD_CTX_free(ctx->evp);
	free(ctx);
}

void digest_ctx_freep(struct digest_ctx **ctx)
{
	digest_ctx_free(*ctx);
}

void digest_start(struct digest_ctx *ctx)
{
	if (EVP_DigestInit_ex2(ctx->evp, sha256, NULL) != 1)
		abort();
}

void digest_add(struct digest_ctx *ctx, const void *data, size_t len_bytes)
{
	if (EVP_DigestUpdate(ctx->evp, data, len_bytes) != 1)
		abort();
}

void digest_final(struct digest_ctx *ctx, struct digest *ret_digest)
{
	if (EVP_DigestFinal_ex(ctx->evp, ret_digest->bytes, NULL) != 1)
		abort();
}

void digest_of(const void *data, size_t len_bytes, struct digest *ret_digest)
{
	pthread_once(&sha256_once, sha256_fetch);
	if (EVP_Digest(data, len_bytes, ret_digest->bytes, NULL, sha256, NULL) != 1)
		abort();
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
