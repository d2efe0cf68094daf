/*
 * test_body_check: a body passes only if it is whole and its content has the digest, and a wrong one costs little.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/codec/zstd_stream.h"
#include "otaproxy/body_check.h"

enum {
	BOMB_BYTES = 64 << 20,
};

static const char text[] = "what the image says is in the file, and no byte more";

static int sink_buf(void *ctx, const void *data, size_t len_bytes)
{
	return buf_append(ctx, data, len_bytes);
}

static void compress(const void *data, size_t len_bytes, struct buf *frame)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(3);

	assert_non_null(e);
	assert_int_equal(zstd_encoder_start(e, len_bytes), 0);
	assert_int_equal(zstd_encoder_feed(e, data, len_bytes, sink_buf, frame), 0);
	assert_int_equal(zstd_encoder_finish(e, sink_buf, frame), 0);
}

static int check_in_pieces(struct body_check *c, const void *body, size_t len_bytes, size_t piece)
{
	for (size_t at = 0; at < len_bytes; at += piece) {
		int r = body_check_feed(c, (const char *)body + at, MIN_OF(piece, len_bytes - at));

		if (r < 0) {
			/* The verdict stays. */
			assert_int_equal(body_check_finish(c), r);
			return r;
		}
	}
	return body_check_finish(c);
}

static int check(const void *body, size_t len_bytes, const struct digest *digest,
	enum cache_form form, uint64_t plain_max_bytes)
{
	AUTO_BODY_CHECK struct body_check *c = body_check_new();
	int whole;

	assert_non_null(c);
	assert_int_equal(body_check_start(c, digest, form, plain_max_bytes), 0);
	whole = check_in_pieces(c, body, len_bytes, len_bytes ? len_bytes : 1);
	/* The same again, byte by byte: how the pieces fall never changes the verdict. */
	if (len_bytes < 4096) {
		assert_int_equal(body_check_start(c, digest, form, plain_max_bytes), 0);
		assert_int_equal(check_in_pieces(c, body, len_bytes, 1), whole);
	}
	return whole;
}

static void a_plain_body_passes_by_its_digest_alone(void **state)
{
	struct digest d;

	digest_of(text, sizeof(text), &d);
	assert_int_equal(check(text, sizeof(text), &d, CACHE_PLAIN, sizeof(text)), 0);
	assert_int_equal(check(text, sizeof(text) - 1, &d, CACHE_PLAIN, sizeof(text)), -EBADMSG);
	assert_int_equal(check("", 0, &d, CACHE_PLAIN, sizeof(text)), -EBADMSG);
	assert_int_equal(check(text, sizeof(text), &d, CACHE_PLAIN, sizeof(text) - 1), -EFBIG);
	assert_int_equal(check("", 0, &digest_of_nothing, CACHE_PLAIN, 0), 0);
}

static void a_frame_passes_by_the_digest_of_its_content(void **state)
{
	AUTO_BUF struct buf frame = {0};
	AUTO_BUF struct buf empty = {0};
	struct digest d, of_frame;

	compress(text, sizeof(text), &frame);
	compress("", 0, &empty);
	digest_of(text, sizeof(text), &d);
	digest_of(frame.data, frame.len_bytes, &of_frame);
	assert_int_equal(check(frame.data, frame.len_bytes, &d, CACHE_ZST, sizeof(text)), 0);
	assert_int_equal(
		check(frame.data, frame.len_bytes, &of_frame, CACHE_ZST, sizeof(text)), -EBADMSG);
	assert_int_equal(check(frame.data, frame.len_bytes, &d, CACHE_PLAIN, 4096), -EBADMSG);
	assert_int_equal(check(text, sizeof(text), &d, CACHE_ZST, sizeof(text)), -EBADMSG);
	assert_int_equal(check(empty.data, empty.len_bytes, &digest_of_nothing, CACHE_ZST, 0), 0);
	/* No bytes are no frame. */
	assert_int_equal(check("", 0, &digest_of_nothing, CACHE_ZST, 0), -EBADMSG);
}

static void a_frame_that_is_cut_or_followed_by_anything_is_refused(void **state)
{
	AUTO_BUF struct buf frame = {0};
	struct digest d;

	compress(text, sizeof(text), &frame);
	digest_of(text, sizeof(text), &d);
	for (size_t len = 0; len < frame.len_bytes; len++)
		assert_int_equal(check(frame.data, len, &d, CACHE_ZST, sizeof(text)), -EBADMSG);
	assert_int_equal(buf_append(&frame, "x", 1), 0);
	assert_int_equal(check(frame.data, frame.len_bytes, &d, CACHE_ZST, sizeof(text)), -EBADMSG);
}

static void a_bomb_ends_at_the_limit(void **state)
{
	AUTO_FREE char *zeros = calloc(1, BOMB_BYTES);
	AUTO_BUF struct buf frame = {0};
	AUTO_BODY_CHECK struct body_check *c = body_check_new();
	struct digest d;
	size_t at = 0;
	int r;

	assert_non_null(zeros);
	compress(zeros, BOMB_BYTES, &frame);
	digest_of(zeros, BOMB_BYTES, &d);
	assert_int_equal(check(frame.data, frame.len_bytes, &d, CACHE_ZST, BOMB_BYTES), 0);
	assert_int_equal(check(frame.data, frame.len_bytes, &d, CACHE_ZST, BOMB_BYTES - 1), -EFBIG);
	/* Long before its end. */
	assert_int_equal(body_check_start(c, &d, CACHE_ZST, BOMB_BYTES / 16), 0);
	do
		r = body_check_feed(c, frame.data + at++, 1);
	while (r == 0);
	assert_int_equal(r, -EFBIG);
	assert_true(at < frame.len_bytes / 8);
}

static void a_check_serves_again_after_any_verdict(void **state)
{
	AUTO_BODY_CHECK struct body_check *c = body_check_new();
	AUTO_BUF struct buf frame = {0};
	struct digest d;

	digest_of(text, sizeof(text), &d);
	compress(text, sizeof(text), &frame);
	/* Nothing was started, so nothing is right. */
	assert_int_equal(body_check_feed(c, text, 1), -EBADMSG);
	assert_int_equal(body_check_finish(c), -EBADMSG);
	assert_int_equal(body_check_start(c, &d, CACHE_ZST, 100), 0);
	assert_int_equal(body_check_feed(c, "no frame", 8), -EBADMSG);
	assert_int_equal(body_check_feed(c, frame.data, frame.len_bytes), -EBADMSG);
	assert_int_equal(body_check_start(c, &d, CACHE_ZST, 100), 0);
	assert_int_equal(body_check_feed(c, frame.data, frame.len_bytes), 0);
	/* Left in the middle for another one. */
	assert_int_equal(body_check_start(c, &d, CACHE_PLAIN, 100), 0);
	assert_int_equal(body_check_feed(c, text, sizeof(text)), 0);
	assert_int_equal(body_check_finish(c), 0);
	assert_int_equal(body_check_finish(c), 0);
	assert_int_equal(body_check_feed(c, text, 1), -EBADMSG);
	body_check_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_body_passes_by_its_digest_alone),
		cmocka_unit_test(a_frame_passes_by_the_digest_of_its_content),
		cmocka_unit_test(a_frame_that_is_cut_or_followed_by_anything_is_refused),
		cmocka_unit_test(a_bomb_ends_at_the_limit),
		cmocka_unit_test(a_check_serves_again_after_any_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
