/*
 * body_check: hash a body, unpacked if it is compressed. Contract: body_check.h.
 *
 * The decoder holds a window of up to 128 MiB, so it lives for one check only: gone with the verdict. The limit is
 * counted here and not by the decoder, which has one answer for "broken" and "too much".
 */
#include "otaproxy/body_check.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_stream.h"

struct body_check {
	struct digest_ctx *hash;
	struct zstd_decoder *decoder; /* NULL: CACHE_PLAIN, or there is a verdict */
	struct digest want;
	uint64_t left_bytes; /* of content that may still come */
	int verdict;         /* VERDICT_OPEN, or what every further call returns */
};

enum {
	VERDICT_OPEN = 1,
};

struct body_check *body_check_new(void)
{
	struct body_check *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->verdict = -EBADMSG; /* nothing was started */
	c->hash = digest_ctx_new();
	if (!c->hash) {
		free(c);
		return NULL;
	}
	return c;
}

void body_check_free(struct body_check *c)
{
	if (!c)
		return;
	zstd_decoder_free(c->decoder);
	digest_ctx_free(c->hash);
	free(c);
}

void body_check_freep(struct body_check **c)
{
	body_check_free(*c);
}

static int settle(struct body_check *c, int verdict)
{
	zstd_decoder_free(TAKE_PTR(c->decoder));
	c->verdict = verdict;
	return verdict;
}

int body_check_start(struct body_check *c, const struct digest *digest, enum cache_form form,
	uint64_t plain_max_bytes)
{
	settle(c, -EBADMSG);
	if (form == CACHE_ZST) {
		c->decoder = zstd_decoder_new();
		if (!c->decoder)
			return settle(c, -ENOMEM);
		zstd_decoder_start(c->decoder, UINT64_MAX);
	}
	digest_start(c->hash);
	c->want = *digest;
	c->left_bytes = plain_max_bytes;
	c->verdict = VERDICT_OPEN;
	return 0;
}

static int take_content(void *ctx, const void *data, size_t len_bytes)
{
	struct body_check *c = ctx;

	if (len_bytes > c->left_bytes)
		return -EFBIG;
	c->left_bytes -= len_bytes;
	digest_add(c->hash, data, len_bytes);
	return 0;
}

int body_check_feed(struct body_check *c, const void *data, size_t len_bytes)
{
	int r;

	if (c->verdict != VERDICT_OPEN)
		return c->verdict < 0 ? c->verdict : -EBADMSG; /* more bytes after the end */
	r = c->decoder ? zstd_decoder_feed(c->decoder, data, len_bytes, take_content, c)
		       : take_content(c, data, len_bytes);
	return r < 0 ? settle(c, r) : 0;
}

int body_check_finish(struct body_check *c)
{
	struct digest have;

	if (c->verdict != VERDICT_OPEN)
		return c->verdict;
	if (c->decoder && zstd_decoder_finish(c->decoder) < 0)
		return settle(c, -EBADMSG);
	digest_final(c->hash, &have);
	return settle(c, digest_equal(&have, &c->want) ? 0 : -EBADMSG);
}
