/*
 * test_file_copy: what ends a copy on its way, and holes. What copies hold is tested with the whole update, too
 * (test_law.py, test_persist.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "otaclient/slot/file_copy.h"

enum {
	FILE_BYTES = 8 << 20,
};

static bool yes_at_the_third(void *ctx)
{
	return ++*(unsigned *)ctx == 3;
}

static bool never(void *ctx)
{
	return false;
}

static void a_long_copy_can_be_stopped_on_the_way(void **state)
{
	AUTO_CLOSE int src = memfd_create("src", MFD_CLOEXEC);
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC);
	unsigned n_asked = 0;
	struct file_copy c = {
		.src_fd = src,
		.dst_fd = dst,
		.max_bytes = UINT64_MAX,
		.stop = yes_at_the_third,
		.stop_ctx = &n_asked,
	};
	uint64_t bytes = 7;

	assert_int_equal(ftruncate(src, FILE_BYTES), 0);
	assert_int_equal(file_copy(&c, &bytes), -ECANCELED);
	assert_int_equal(bytes, 7);
	assert_true(lseek(src, 0, SEEK_CUR) > 0 && lseek(src, 0, SEEK_CUR) < FILE_BYTES);

	/* The rest, by somebody with patience. */
	c.stop = never;
	assert_int_equal(file_copy(&c, &bytes), 0);
	assert_int_equal(lseek(dst, 0, SEEK_END), FILE_BYTES);
}

static void assert_bytes_at(int fd, off_t at, const char *want, size_t len)
{
	char have[64];

	assert_true(len <= sizeof(have));
	assert_int_equal(pread(fd, have, len, at), len);
	assert_memory_equal(have, want, len);
}

static void holes_of_the_source_are_holes_of_the_copy(void **state)
{
	AUTO_CLOSE int src = memfd_create("src", MFD_CLOEXEC);
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC);
	const struct file_copy c = {
		.src_fd = src, .dst_fd = dst, .max_bytes = UINT64_MAX, .holes = true};
	struct stat st;
	uint64_t bytes = 0;

	assert_int_equal(pwrite(src, "first", 5, 3 << 20), 5);
	assert_int_equal(pwrite(src, "second", 6, 5 << 20), 6);
	assert_int_equal(ftruncate(src, FILE_BYTES), 0); /* ends in one, too */
	assert_int_equal(file_copy(&c, &bytes), 0);
	assert_int_equal(bytes, FILE_BYTES);
	assert_int_equal(fstat(dst, &st), 0);
	assert_int_equal(st.st_size, FILE_BYTES);
	assert_true(st.st_blocks * 512 <= 1 << 20);
	assert_bytes_at(dst, 3 << 20, "first", 5);
	assert_bytes_at(dst, 5 << 20, "second", 6);
	assert_bytes_at(dst, 4 << 20, "\0\0\0\0", 4);
}

static void nothing_but_a_hole_has_its_length(void **state)
{
	AUTO_CLOSE int src = memfd_create("src", MFD_CLOEXEC);
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC);
	const struct file_copy c = {
		.src_fd = src, .dst_fd = dst, .max_bytes = UINT64_MAX, .holes = true};
	uint64_t bytes = 0;

	assert_int_equal(ftruncate(src, FILE_BYTES), 0);
	assert_int_equal(file_copy(&c, &bytes), 0);
	assert_int_equal(bytes, FILE_BYTES);
	assert_int_equal(lseek(dst, 0, SEEK_END), FILE_BYTES);
}

static void what_has_no_holes_to_ask_for_is_read(void **state)
{
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC);
	int ends[2];
	uint64_t bytes = 0;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	AUTO_CLOSE int src = ends[0];
	assert_int_equal(write(ends[1], "all of it", 9), 9);
	close(ends[1]);
	assert_int_equal(file_copy(&(struct file_copy){.src_fd = src,
					   .dst_fd = dst,
					   .max_bytes = UINT64_MAX,
					   .holes = true},
				 &bytes),
		0);
	assert_int_equal(bytes, 9);
	assert_bytes_at(dst, 0, "all of it", 9);
}

static void a_source_that_cannot_be_read_is_told_from_the_target(void **state)
{
	AUTO_CLOSE int src = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC);
	uint64_t bytes = 7;

	assert_int_equal(
		file_copy(
			&(struct file_copy){.src_fd = src, .dst_fd = dst, .max_bytes = UINT64_MAX},
			&bytes),
		-EPIPE);
	assert_int_equal(bytes, 7);
}

static void a_source_that_has_grown_is_refused(void **state)
{
	AUTO_CLOSE int src = memfd_create("src", MFD_CLOEXEC);
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC);
	struct file_copy c = {.src_fd = src, .dst_fd = dst, .max_bytes = 4};
	uint64_t bytes = 7;

	assert_int_equal(write(src, "12345", 5), 5);
	assert_int_equal(lseek(src, 0, SEEK_SET), 0);
	assert_int_equal(file_copy(&c, &bytes), -EFBIG);
	assert_int_equal(bytes, 7);
}

static void a_target_that_takes_no_more_is_told(void **state)
{
	AUTO_CLOSE int src = memfd_create("src", MFD_CLOEXEC);
	AUTO_CLOSE int dst = memfd_create("dst", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct file_copy c = {.src_fd = src, .dst_fd = dst, .max_bytes = UINT64_MAX};
	uint64_t bytes = 7;

	assert_int_equal(write(src, "12345", 5), 5);
	assert_int_equal(ftruncate(src, FILE_BYTES), 0);
	assert_int_equal(fcntl(dst, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_int_equal(lseek(src, 0, SEEK_SET), 0);
	assert_int_equal(file_copy(&c, &bytes), -EPERM);
	/* Nothing but a hole to write: the length is what is refused. */
	assert_int_equal(ftruncate(src, 0), 0);
	assert_int_equal(ftruncate(src, FILE_BYTES), 0);
	assert_int_equal(lseek(src, 0, SEEK_SET), 0);
	c.holes = true;
	assert_int_equal(file_copy(&c, &bytes), -EPERM);
	assert_int_equal(bytes, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_copy_can_be_stopped_on_the_way),
		cmocka_unit_test(holes_of_the_source_are_holes_of_the_copy),
		cmocka_unit_test(nothing_but_a_hole_has_its_length),
		cmocka_unit_test(what_has_no_holes_to_ask_for_is_read),
		cmocka_unit_test(a_source_that_cannot_be_read_is_told_from_the_target),
		cmocka_unit_test(a_source_that_has_grown_is_refused),
		cmocka_unit_test(a_target_that_takes_no_more_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
