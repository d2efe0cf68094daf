/*
 * test_zstd_patch: patches are small where contents are alike, decode in any pieces, and what is wrong is refused
 * without a byte beyond the content's memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/codec/zstd_patch.h"
#include "common/codec/zstd_stream.h"

enum {
	OLD_BYTES = 3 * 1000 * 1000, /* beyond the window of a low level */
};

/* Bytes that do not compress. */
static unsigned char *make_noise(size_t len_bytes)
{
	unsigned char *data = malloc(len_bytes);
	uint32_t x = 7;

	assert_non_null(data);
	for (size_t i = 0; i < len_bytes; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (unsigned char)(x >> 24);
	}
	return data;
}

/* The old content, some bytes of it changed, some moved by a few. */
static unsigned char *make_changed(const unsigned char *old, size_t len_bytes, size_t *ret_len)
{
	unsigned char *data = malloc(len_bytes + 5);

	assert_non_null(data);
	memcpy(data, "hello", 5);
	memcpy(data + 5, old, len_bytes);
	for (size_t i = 1000; i < len_bytes; i += 100 * 1000)
		data[i] ^= 1;
	*ret_len = len_bytes + 5;
	return data;
}

static int decode(struct zstd_patch_decoder *d, const void *old, size_t old_len,
	const struct buf *patch, size_t piece, void *made, size_t made_len)
{
	int r = zstd_patch_decoder_start(d, old, old_len, made, made_len);

	assert_int_equal(r, 0);
	for (size_t at = 0; at < patch->len_bytes && r == 0; at += piece)
		r = zstd_patch_decoder_feed(
			d, patch->data + at, MIN_OF(piece, patch->len_bytes - at));
	return r < 0 ? r : zstd_patch_decoder_finish(d);
}

static void a_patch_holds_what_has_changed(void **state)
{
	AUTO_ZSTD_PATCH_DECODER struct zstd_patch_decoder *d = zstd_patch_decoder_new();
	AUTO_FREE unsigned char *old = make_noise(OLD_BYTES), *made = NULL, *again = NULL;
	AUTO_BUF struct buf patch = {0};
	static const size_t pieces[] = {1 << 30, 1000, 1};
	size_t made_len;

	made = make_changed(old, OLD_BYTES, &made_len);
	again = malloc(made_len);
	assert_int_equal(zstd_patch_make(old, OLD_BYTES, made, made_len, 3, SIZE_MAX, &patch), 1);
	assert_in_range(patch.len_bytes, 20, 2000);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		memset(again, 0, made_len);
		assert_int_equal(decode(d, old, OLD_BYTES, &patch, pieces[i], again, made_len), 0);
		assert_memory_equal(again, made, made_len);
	}
}

static void a_patch_that_is_too_large_is_none(void **state)
{
	AUTO_FREE unsigned char *noise = make_noise(100 * 1000);
	AUTO_BUF struct buf patch = {0};

	assert_int_equal(zstd_patch_make("abc", 3, noise, 100 * 1000, 3, 90 * 1000, &patch), 0);
	assert_int_equal(patch.len_bytes, 0);
}

static void another_base_gives_other_bytes_or_is_refused(void **state)
{
	AUTO_ZSTD_PATCH_DECODER struct zstd_patch_decoder *d = zstd_patch_decoder_new();
	AUTO_FREE unsigned char *old = make_noise(OLD_BYTES), *made = NULL, *again = NULL;
	AUTO_BUF struct buf patch = {0};
	size_t made_len;
	int r;

	made = make_changed(old, OLD_BYTES, &made_len);
	again = calloc(1, made_len);
	assert_int_equal(zstd_patch_make(old, OLD_BYTES, made, made_len, 3, SIZE_MAX, &patch), 1);
	/* A shorter one does not reach as far back as the patch does. */
	assert_int_equal(decode(d, old, 10, &patch, SIZE_MAX, again, made_len), -EBADMSG);
	old[5000] ^= 1;
	r = decode(d, old, OLD_BYTES, &patch, SIZE_MAX, again, made_len);
	assert_true(r == -EBADMSG || memcmp(again, made, made_len) != 0);
}

static void what_is_no_patch_is_refused(void **state)
{
	static const char text[] = "a text of which there is little more to say, little more";
	AUTO_ZSTD_PATCH_DECODER struct zstd_patch_decoder *d = zstd_patch_decoder_new();
	AUTO_BUF struct buf patch = {0}, longer = {0}, skip = {0};
	char made[sizeof(text) + 1];
	size_t len = sizeof(text);

	assert_int_equal(zstd_patch_make("little more", 11, text, len, 10, SIZE_MAX, &patch), 1);
	assert_int_equal(decode(d, "little more", 11, &patch, SIZE_MAX, made, len), 0);
	assert_memory_equal(made, text, len);
	/* Of another size than the list says. */
	assert_int_equal(decode(d, "little more", 11, &patch, SIZE_MAX, made, len - 1), -EBADMSG);
	assert_int_equal(decode(d, "little more", 11, &patch, SIZE_MAX, made, len + 1), -EBADMSG);
	/* More than one frame. */
	buf_append(&longer, patch.data, patch.len_bytes);
	buf_append(&longer, "", 1);
	assert_int_equal(decode(d, "little more", 11, &longer, SIZE_MAX, made, len), -EBADMSG);
	assert_int_equal(decode(d, "little more", 11, &longer, 1, made, len), -EBADMSG);
	/* A frame that is to be skipped. */
	buf_append(&skip, "\x50\x2a\x4d\x18\0\0\0\0", 8);
	assert_int_equal(decode(d, "little more", 11, &skip, SIZE_MAX, made, len), -EBADMSG);
	/* Cut short at each byte, and changed there. */
	for (size_t i = 0; i < patch.len_bytes; i++) {
		struct buf cut = {.data = patch.data, .len_bytes = i};
		int r;

		assert_int_equal(decode(d, "little more", 11, &cut, SIZE_MAX, made, len), -EBADMSG);
		patch.data[i] ^= 0x55;
		r = decode(d, "little more", 11, &patch, SIZE_MAX, made, len);
		assert_true(r == -EBADMSG || r == 0);
		patch.data[i] ^= 0x55;
	}
}

static void a_decoder_wants_a_start(void **state)
{
	AUTO_ZSTD_PATCH_DECODER struct zstd_patch_decoder *d = zstd_patch_decoder_new();

	assert_int_equal(zstd_patch_decoder_feed(d, "x", 1), -EBADMSG);
	assert_int_equal(zstd_patch_decoder_finish(d), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_patch_holds_what_has_changed),
		cmocka_unit_test(a_patch_that_is_too_large_is_none),
		cmocka_unit_test(another_base_gives_other_bytes_or_is_refused),
		cmocka_unit_test(what_is_no_patch_is_refused),
		cmocka_unit_test(a_decoder_wants_a_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
