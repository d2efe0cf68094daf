/*
 * test_file_copy: a copy that is not wanted any more ends on the way. What copies hold is tested with the whole
 * update (test_law.py, test_persist.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "otaclient/file_copy.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_copy_can_be_stopped_on_the_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
