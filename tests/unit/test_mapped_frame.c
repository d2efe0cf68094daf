/*
 * test_mapped_frame: patches and frames in mapped files, and pages of these that are not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/codec/zstd_patch.h"
#include "otaclient/fetcher/mapped_frame.h"

enum {
	SIZE = 200 * 1000,
};

struct bench {
	int old_fd, fd;
	char *made; /* what it is to be */
	struct buf patch;
};

static int temporary(void)
{
	char path[] = "/tmp/ota-patch-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static int setup(void **state)
{
	static struct bench b;
	AUTO_FREE char *old = malloc(SIZE);
	uint32_t x = 1;

	b = (struct bench){.old_fd = temporary(), .fd = temporary(), .made = malloc(SIZE)};
	for (size_t i = 0; i < SIZE; i++) {
		x = x * 1664525 + 1013904223;
		old[i] = b.made[i] = (char)(x >> 24);
	}
	for (size_t i = 0; i < SIZE; i += 1000)
		b.made[i] ^= 1;
	assert_int_equal(zstd_patch_make(old, SIZE, b.made, SIZE, 3, SIZE_MAX, &b.patch), 1);
	assert_int_equal(file_write_all(b.old_fd, old, SIZE), 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	close(b->old_fd);
	close(b->fd);
	free(b->made);
	buf_done(&b->patch);
	return 0;
}

static struct mapped_frame *begin(const struct bench *b)
{
	struct mapped_frame *w = NULL;

	mapped_frame_catch_faults(); /* here, since cmocka has a handler of its own for each test */
	assert_int_equal(mapped_frame_start(b->old_fd, SIZE, b->fd, SIZE, &w), 0);
	return w;
}

static void the_file_becomes_the_content(void **state)
{
	struct bench *b = *state;
	AUTO_FREE char *is = malloc(SIZE + 1);
	struct mapped_frame *w = begin(b);

	for (size_t at = 0; at < b->patch.len_bytes; at += 100)
		assert_int_equal(mapped_frame_feed(w, b->patch.data + at,
					 MIN_OF(b->patch.len_bytes - at, (size_t)100), NULL),
			0);
	assert_int_equal(mapped_frame_finish(w), 0);
	mapped_frame_end(w);
	assert_int_equal(pread(b->fd, is, SIZE + 1, 0), SIZE);
	assert_memory_equal(is, b->made, SIZE);
	/* Nothing is mapped for writing any more: the kernel grants a lease to who reads alone. */
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", b->fd);
	AUTO_CLOSE int reading = open(path, O_RDONLY | O_CLOEXEC);
	close(b->fd);
	b->fd = -1;
	assert_int_equal(fcntl(reading, F_SETLEASE, F_RDLCK), 0);
}

static void a_frame_without_an_older_content_is_decoded_and_hashed(void **state)
{
	struct bench *b = *state;
	AUTO_FREE char *is = malloc(SIZE + 1);
	AUTO_DIGEST_CTX struct digest_ctx *hash = digest_ctx_new();
	AUTO_BUF struct buf frame = {0};
	struct mapped_frame *w = NULL;
	struct digest want, have;

	assert_int_equal(zstd_patch_make("", 0, b->made, SIZE, 3, SIZE_MAX, &frame), 1);
	assert_true(zstd_patch_says_size(frame.data, frame.len_bytes, SIZE));
	assert_false(zstd_patch_says_size(frame.data, frame.len_bytes, SIZE + 1));
	assert_false(zstd_patch_says_size(frame.data, 5, SIZE));
	assert_int_equal(mapped_frame_start(-1, 0, b->fd, SIZE, &w), 0);
	digest_start(hash);
	for (size_t at = 0; at < frame.len_bytes; at += 1000)
		assert_int_equal(mapped_frame_feed(w, frame.data + at,
					 MIN_OF(frame.len_bytes - at, (size_t)1000), hash),
			0);
	assert_int_equal(mapped_frame_finish(w), 0);
	mapped_frame_end(w);
	assert_int_equal(pread(b->fd, is, SIZE + 1, 0), SIZE);
	assert_memory_equal(is, b->made, SIZE);
	digest_final(hash, &have);
	digest_of(b->made, SIZE, &want);
	assert_true(digest_equal(&want, &have));
}

static void an_older_content_that_becomes_shorter_fails_that_patch_alone(void **state)
{
	struct bench *b = *state;

	for (int round = 0; round < 2; round++) {
		struct mapped_frame *w = begin(b);

		assert_int_equal(ftruncate(b->old_fd, 4096), 0);
		assert_int_equal(
			mapped_frame_feed(w, b->patch.data, b->patch.len_bytes, NULL), -EIO);
		mapped_frame_end(w);
		assert_int_equal(ftruncate(b->old_fd, SIZE), 0);
	}
}

static void a_file_that_is_cut_from_outside_fails_that_patch_alone(void **state)
{
	struct bench *b = *state;
	struct mapped_frame *w = begin(b);

	assert_int_equal(ftruncate(b->fd, 0), 0);
	assert_int_equal(mapped_frame_feed(w, b->patch.data, b->patch.len_bytes, NULL), -EIO);
	mapped_frame_end(w);
}

static void what_cannot_be_mapped_is_refused(void **state)
{
	struct bench *b = *state;
	struct mapped_frame *w = NULL;
	AUTO_CLOSE int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	AUTO_CLOSE int full = open("/dev/full", O_RDWR | O_CLOEXEC);

	assert_int_equal(mapped_frame_start(b->old_fd, SIZE - 1, b->fd, SIZE, &w), -ESTALE);
	assert_int_equal(mapped_frame_start(null_fd, SIZE, b->fd, SIZE, &w), -ESTALE);
	assert_int_equal(mapped_frame_start(b->old_fd, SIZE, full, SIZE, &w), -ENODEV);
	assert_null(w);
}

static void a_patch_that_ends_early_is_not_complete(void **state)
{
	struct bench *b = *state;
	struct mapped_frame *w = begin(b);

	assert_int_equal(mapped_frame_feed(w, b->patch.data, b->patch.len_bytes - 1, NULL), 0);
	assert_int_equal(mapped_frame_finish(w), -EBADMSG);
	mapped_frame_end(w);
	w = begin(b);
	assert_int_equal(mapped_frame_feed(w, "what is this?", 13, NULL), -EBADMSG);
	mapped_frame_end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_file_becomes_the_content, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_frame_without_an_older_content_is_decoded_and_hashed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_older_content_that_becomes_shorter_fails_that_patch_alone, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_file_that_is_cut_from_outside_fails_that_patch_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_mapped_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_patch_that_ends_early_is_not_complete, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
