/*
 * test_zstd_stream: what the decoder takes and what it refuses, and that the encoder's frames are its like.
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

enum {
	TEXT_BYTES = 500 * 1000, /* several blocks */
};

static int sink_buf(void *ctx, const void *data, size_t len_bytes)
{
	return buf_append(ctx, data, len_bytes);
}

static int sink_full_disk(void *ctx, const void *data, size_t len_bytes)
{
	return -ENOSPC;
}

/* Lines that compress, but not to nothing. */
static char *make_text(size_t len_bytes)
{
	char *text = malloc(len_bytes + 1);
	uint32_t x = 1;

	assert_non_null(text);
	for (size_t i = 0; i < len_bytes; i++) {
		x = x * 1664525 + 1013904223;
		text[i] = (char)('a' + (x >> 28));
	}
	text[len_bytes] = '\0';
	return text;
}

static void compress_in_pieces(const char *text, size_t len_bytes, size_t piece, struct buf *frame)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(10);

	assert_non_null(e);
	assert_int_equal(zstd_encoder_start(e, len_bytes), 0);
	for (size_t at = 0; at < len_bytes; at += piece)
		assert_int_equal(zstd_encoder_feed(e, text + at, MIN_OF(piece, len_bytes - at),
					 sink_buf, frame),
			0);
	assert_int_equal(zstd_encoder_finish(e, sink_buf, frame), 0);
}

static int decompress_in_pieces(
	const void *frame, size_t len_bytes, size_t piece, uint64_t max_bytes, struct buf *plain)
{
	AUTO_ZSTD_DECODER struct zstd_decoder *d = zstd_decoder_new();
	const char *p = frame;

	assert_non_null(d);
	zstd_decoder_start(d, max_bytes);
	for (size_t at = 0; at < len_bytes; at += piece) {
		int r = zstd_decoder_feed(
			d, p + at, MIN_OF(piece, len_bytes - at), sink_buf, plain);

		if (r < 0)
			return r;
	}
	return zstd_decoder_finish(d);
}

static int decompress(const void *frame, size_t len_bytes, uint64_t max_bytes)
{
	AUTO_BUF struct buf plain = {0};
	int whole = decompress_in_pieces(
		frame, len_bytes, len_bytes ? len_bytes : 1, max_bytes, &plain);
	AUTO_BUF struct buf again = {0};

	/* How the pieces fall never changes the verdict. */
	assert_int_equal(decompress_in_pieces(frame, len_bytes, 1, max_bytes, &again), whole);
	return whole;
}

static void a_content_survives_whatever_the_pieces(void **state)
{
	static const size_t pieces[] = {1, 7, 4096, 131072, TEXT_BYTES};
	AUTO_FREE char *text = make_text(TEXT_BYTES);
	AUTO_BUF struct buf first = {0};

	compress_in_pieces(text, TEXT_BYTES, TEXT_BYTES, &first);
	assert_true(first.len_bytes < TEXT_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		AUTO_BUF struct buf frame = {0};
		AUTO_BUF struct buf plain = {0};

		compress_in_pieces(text, TEXT_BYTES, pieces[i], &frame);
		assert_int_equal(frame.len_bytes, first.len_bytes);
		assert_memory_equal(frame.data, first.data, first.len_bytes);
		assert_int_equal(decompress_in_pieces(frame.data, frame.len_bytes, pieces[i],
					 TEXT_BYTES, &plain),
			0);
		assert_int_equal(plain.len_bytes, TEXT_BYTES);
		assert_memory_equal(plain.data, text, TEXT_BYTES);
	}
}

static void no_bytes_are_a_frame_too(void **state)
{
	AUTO_BUF struct buf frame = {0};
	AUTO_BUF struct buf plain = {0};

	compress_in_pieces("", 0, 1, &frame);
	assert_int_equal(decompress_in_pieces(frame.data, frame.len_bytes, 1, 0, &plain), 0);
	assert_int_equal(plain.len_bytes, 0);
}

static void a_decoder_is_reusable_also_after_a_failure(void **state)
{
	AUTO_ZSTD_DECODER struct zstd_decoder *d = zstd_decoder_new();
	AUTO_BUF struct buf frame = {0};
	AUTO_BUF struct buf plain = {0};

	compress_in_pieces("hello", 5, 5, &frame);
	zstd_decoder_start(d, 5);
	assert_int_equal(zstd_decoder_feed(d, "no frame", 8, sink_buf, &plain), -EBADMSG);
	assert_int_equal(
		zstd_decoder_feed(d, frame.data, frame.len_bytes, sink_buf, &plain), -EBADMSG);
	assert_int_equal(zstd_decoder_finish(d), -EBADMSG);
	zstd_decoder_start(d, 5);
	assert_int_equal(zstd_decoder_feed(d, frame.data, frame.len_bytes, sink_buf, &plain), 0);
	assert_int_equal(zstd_decoder_finish(d), 0);
	assert_string_equal(buf_str(&plain), "hello");
}

static void the_header_says_the_size_and_needs_no_checksum(void **state)
{
	AUTO_FREE char *text = make_text(1000);
	AUTO_BUF struct buf frame = {0};
	unsigned char descriptor;

	compress_in_pieces(text, 1000, 100, &frame);
	descriptor = (unsigned char)frame.data[4];
	assert_int_equal(descriptor >> 6, 1); /* content size in two bytes */
	assert_int_equal(descriptor & 4, 0);  /* no checksum */
	assert_int_equal(descriptor & 3, 0);  /* no dictionary */
}

static void a_cut_frame_is_refused_wherever_it_is_cut(void **state)
{
	AUTO_FREE char *text = make_text(5000);
	AUTO_BUF struct buf frame = {0};

	compress_in_pieces(text, 5000, 5000, &frame);
	for (size_t len = 0; len < frame.len_bytes; len += 1 + len / 16)
		assert_int_equal(decompress(frame.data, len, 5000), -EBADMSG);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 5000), 0);
}

static void whatever_follows_the_frame_is_refused(void **state)
{
	AUTO_BUF struct buf frame = {0};
	size_t one;

	compress_in_pieces("hello", 5, 5, &frame);
	one = frame.len_bytes;
	buf_append(&frame, "\n", 1);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 100), -EBADMSG);
	frame.len_bytes = one;
	compress_in_pieces("again", 5, 5, &frame);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 100), -EBADMSG);
}

static void a_leading_skippable_frame_is_refused(void **state)
{
	AUTO_BUF struct buf frame = {0};

	buf_append(&frame, "\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
	compress_in_pieces("hello", 5, 5, &frame);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 100), -EBADMSG);
}

static void more_than_the_limit_is_refused(void **state)
{
	AUTO_FREE char *text = make_text(5000);
	AUTO_BUF struct buf frame = {0};

	compress_in_pieces(text, 5000, 5000, &frame);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 4999), -EBADMSG);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 5000), 0);
}

/* Frames with a window descriptor, no content size, and one last raw block "ab". */
static int decompress_window(unsigned window_log, uint64_t max_bytes)
{
	unsigned char frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0, 0x11, 0x00, 0x00, 'a', 'b'};

	frame[5] = (unsigned char)((window_log - 10) << 3);
	return decompress(frame, sizeof(frame), max_bytes);
}

static void a_window_beyond_128_mib_is_refused(void **state)
{
	assert_int_equal(decompress_window(17, 2), 0);
	assert_int_equal(decompress_window(27, 2), 0);
	assert_int_equal(decompress_window(28, 2), -EBADMSG);
	assert_int_equal(decompress_window(31, 2), -EBADMSG);
}

static void the_limit_holds_without_a_declared_size(void **state)
{
	assert_int_equal(decompress_window(17, 1), -EBADMSG);
}

static void a_failing_sink_ends_the_decoding(void **state)
{
	AUTO_ZSTD_DECODER struct zstd_decoder *d = zstd_decoder_new();
	AUTO_BUF struct buf frame = {0};

	compress_in_pieces("hello", 5, 5, &frame);
	zstd_decoder_start(d, 5);
	assert_int_equal(
		zstd_decoder_feed(d, frame.data, frame.len_bytes, sink_full_disk, NULL), -ENOSPC);
	assert_int_equal(zstd_decoder_finish(d), -EBADMSG);
}

static void a_content_of_another_size_than_said_is_noticed(void **state)
{
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(1);
	AUTO_BUF struct buf frame = {0};

	assert_int_equal(zstd_encoder_start(e, 4), 0);
	assert_int_equal(zstd_encoder_feed(e, "abc", 3, sink_buf, &frame), 0);
	assert_int_equal(zstd_encoder_finish(e, sink_buf, &frame), -EBADMSG);

	assert_int_equal(zstd_encoder_start(e, 2), 0);
	if (zstd_encoder_feed(e, "abc", 3, sink_buf, &frame) == 0)
		assert_int_equal(zstd_encoder_finish(e, sink_buf, &frame), -EBADMSG);

	frame.len_bytes = 0;
	assert_int_equal(zstd_encoder_start(e, 3), 0);
	assert_int_equal(zstd_encoder_feed(e, "abc", 3, sink_buf, &frame), 0);
	assert_int_equal(zstd_encoder_finish(e, sink_buf, &frame), 0);
	assert_int_equal(decompress(frame.data, frame.len_bytes, 3), 0);
}

static void a_large_content_gives_one_frame_however_many_threads_share_it(void **state)
{
	enum {
		LARGE_BYTES = ZSTD_SHARED_MIN_BYTES + 12345,
	};
	static const struct {
		unsigned n_threads;
		size_t piece;
	} ways[] = {
		{1, LARGE_BYTES},
		{2, 1 << 20    },
		{4, 777777     },
		{0, 1 << 20    },
	};
	AUTO_FREE char *text = malloc(LARGE_BYTES);
	AUTO_BUF struct buf first = {0};
	AUTO_BUF struct buf plain = {0};
	AUTO_ZSTD_ENCODER struct zstd_encoder *e = zstd_encoder_new(1);

	assert_non_null(text);
	for (size_t i = 0; i < LARGE_BYTES; i++)
		text[i] = (char)((i * i >> 11) % 61 + '0');
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		AUTO_BUF struct buf frame = {0};

		zstd_encoder_share(e, ways[i].n_threads);
		assert_int_equal(zstd_encoder_start(e, LARGE_BYTES), 0);
		for (size_t at = 0; at < LARGE_BYTES; at += ways[i].piece)
			assert_int_equal(
				zstd_encoder_feed(e, text + at,
					MIN_OF(ways[i].piece, LARGE_BYTES - at), sink_buf, &frame),
				0);
		assert_int_equal(zstd_encoder_finish(e, sink_buf, &frame), 0);
		if (i == 0)
			assert_int_equal(buf_append(&first, frame.data, frame.len_bytes), 0);
		assert_int_equal(frame.len_bytes, first.len_bytes);
		assert_memory_equal(frame.data, first.data, first.len_bytes);
	}
	assert_int_equal(
		decompress_in_pieces(first.data, first.len_bytes, 1 << 20, LARGE_BYTES, &plain), 0);
	assert_int_equal(plain.len_bytes, LARGE_BYTES);
	assert_memory_equal(plain.data, text, LARGE_BYTES);

	/* A small one after it is as ever, and a sink that fails ends a large one. */
	assert_int_equal(zstd_encoder_start(e, 3), 0);
	assert_int_equal(zstd_encoder_feed(e, "abc", 3, sink_buf, &plain), 0);
	assert_int_equal(zstd_encoder_finish(e, sink_buf, &plain), 0);
	assert_int_equal(zstd_encoder_start(e, LARGE_BYTES), 0);
	if (zstd_encoder_feed(e, text, LARGE_BYTES, sink_full_disk, NULL) == 0)
		assert_int_equal(zstd_encoder_finish(e, sink_full_disk, NULL), -ENOSPC);
	assert_int_equal(zstd_encoder_start(e, 3), 0);
	assert_int_equal(zstd_encoder_feed(e, "abc", 3, sink_buf, &plain), 0);
	assert_int_equal(zstd_encoder_finish(e, sink_buf, &plain), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_content_survives_whatever_the_pieces),
		cmocka_unit_test(no_bytes_are_a_frame_too),
		cmocka_unit_test(a_decoder_is_reusable_also_after_a_failure),
		cmocka_unit_test(the_header_says_the_size_and_needs_no_checksum),
		cmocka_unit_test(a_cut_frame_is_refused_wherever_it_is_cut),
		cmocka_unit_test(whatever_follows_the_frame_is_refused),
		cmocka_unit_test(a_leading_skippable_frame_is_refused),
		cmocka_unit_test(more_than_the_limit_is_refused),
		cmocka_unit_test(a_window_beyond_128_mib_is_refused),
		cmocka_unit_test(the_limit_holds_without_a_declared_size),
		cmocka_unit_test(a_failing_sink_ends_the_decoding),
		cmocka_unit_test(a_content_of_another_size_than_said_is_noticed),
		cmocka_unit_test(a_large_content_gives_one_frame_however_many_threads_share_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
