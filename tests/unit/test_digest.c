/*
 * test_digest: SHA-256 of bytes, of pieces and of files, and its one written form.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/crypto/digest.h"

static const char hex_of_nothing[] =
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char hex_of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char hex_of_million_a[] =
	"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void hex_is(const struct digest *d, const char *want)
{
	char hex[DIGEST_HEX_MAX];

	digest_to_hex(d, hex);
	assert_string_equal(hex, want);
}

static void known_contents_have_their_digests(void **state)
{
	struct digest d;

	digest_of("abc", 3, &d);
	hex_is(&d, hex_of_abc);
	digest_of("", 0, &d);
	hex_is(&d, hex_of_nothing);
	hex_is(&digest_of_nothing, hex_of_nothing);
	assert_true(digest_equal(&d, &digest_of_nothing));
}

static void pieces_give_the_digest_of_the_whole(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	struct digest d;
	char piece[1000];

	memset(piece, 'a', sizeof(piece));
	digest_start(ctx);
	digest_add(ctx, NULL, 0);
	for (int i = 0; i < 1000; i++)
		digest_add(ctx, piece, sizeof(piece));
	digest_final(ctx, &d);
	hex_is(&d, hex_of_million_a);
}

static void a_digest_begun_and_dropped_leaves_no_trace(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	struct digest d;

	digest_start(ctx);
	digest_add(ctx, "x", 1);
	digest_start(ctx);
	digest_add(ctx, "abc", 3);
	digest_final(ctx, &d);
	hex_is(&d, hex_of_abc);
}

static int memory_file(size_t len_bytes)
{
	int fd = memfd_create("content", MFD_CLOEXEC);
	AUTO_FREE char *data = malloc(len_bytes + 1);

	assert_true(fd >= 0);
	memset(data, 'a', len_bytes);
	assert_int_equal(file_write_all(fd, data, len_bytes), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void a_file_larger_than_the_buffer_is_read_to_its_end(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_CLOSE int fd = memory_file(1000 * 1000);
	struct digest d;
	uint64_t size_bytes = 0;

	assert_int_equal(digest_of_fd(ctx, fd, &d, &size_bytes), 0);
	hex_is(&d, hex_of_million_a);
	assert_int_equal(size_bytes, 1000 * 1000);

	/* Now the position is at the end: nothing is left. */
	assert_int_equal(digest_of_fd(ctx, fd, &d, NULL), 0);
	assert_true(digest_equal(&d, &digest_of_nothing));
}

static bool yes_at_the_third(void *ctx)
{
	return ++*(unsigned *)ctx == 3;
}

static void a_long_reading_can_be_stopped_on_the_way(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_CLOSE int fd = memory_file(4 << 20);
	struct digest d;
	unsigned n_asked = 0;

	assert_int_equal(
		digest_of_fd_unless(ctx, fd, yes_at_the_third, &n_asked, &d, NULL), -ECANCELED);
	assert_true(lseek(fd, 0, SEEK_CUR) < 4 << 20);
	/* The context is as good as before. */
	assert_int_equal(lseek(fd, -1000 * 1000, SEEK_END), (4 << 20) - 1000 * 1000);
	assert_int_equal(digest_of_fd(ctx, fd, &d, NULL), 0);
	hex_is(&d, hex_of_million_a);
}

static void a_pipe_can_be_hashed_too(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	struct digest d;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(file_write_all(fds[1], "abc", 3), 0);
	close(fds[1]);
	assert_int_equal(digest_of_fd(ctx, fds[0], &d, NULL), 0);
	close(fds[0]);
	hex_is(&d, hex_of_abc);
}

static void a_read_error_is_returned_and_nothing_else(void **state)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();
	AUTO_CLOSE int fd = open("/", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
	struct digest d = digest_of_nothing;
	uint64_t size_bytes = 7;

	assert_int_equal(digest_of_fd(ctx, fd, &d, &size_bytes), -EISDIR);
	assert_true(digest_equal(&d, &digest_of_nothing));
	assert_int_equal(size_bytes, 7);
}

static void hex_is_read_in_either_case_and_only_whole(void **state)
{
	char upper[DIGEST_HEX_MAX];
	struct digest d, want;

	digest_of("abc", 3, &want);
	assert_int_equal(digest_from_hex(hex_of_abc, 64, &d), 0);
	assert_true(digest_equal(&d, &want));
	for (size_t i = 0; i <= 64; i++)
		upper[i] = (char)(hex_of_abc[i] >= 'a' ? hex_of_abc[i] - 'a' + 'A' : hex_of_abc[i]);
	assert_int_equal(digest_from_hex(upper, 64, &d), 0);
	assert_true(digest_equal(&d, &want));
	assert_int_equal(digest_from_lower_hex(hex_of_abc, 64, &d), 0);
	assert_true(digest_equal(&d, &want));
	assert_int_equal(digest_from_lower_hex(upper, 64, &d), -EBADMSG);
	assert_int_equal(digest_from_lower_hex(hex_of_abc, 63, &d), -EBADMSG);

	d = digest_of_nothing;
	assert_int_equal(digest_from_hex(hex_of_abc, 63, &d), -EBADMSG);
	assert_int_equal(digest_from_hex(hex_of_abc, 62, &d), -EBADMSG);
	assert_int_equal(digest_from_hex(hex_of_abc, 65, &d), -EBADMSG);
	assert_int_equal(digest_from_hex("", 0, &d), -EBADMSG);
	upper[40] = 'g';
	assert_int_equal(digest_from_hex(upper, 64, &d), -EBADMSG);
	upper[40] = '\0';
	assert_int_equal(digest_from_hex(upper, 64, &d), -EBADMSG);
	assert_true(digest_equal(&d, &digest_of_nothing));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_contents_have_their_digests),
		cmocka_unit_test(pieces_give_the_digest_of_the_whole),
		cmocka_unit_test(a_digest_begun_and_dropped_leaves_no_trace),
		cmocka_unit_test(a_file_larger_than_the_buffer_is_read_to_its_end),
		cmocka_unit_test(a_long_reading_can_be_stopped_on_the_way),
		cmocka_unit_test(a_pipe_can_be_hashed_too),
		cmocka_unit_test(a_read_error_is_returned_and_nothing_else),
		cmocka_unit_test(hex_is_read_in_either_case_and_only_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
