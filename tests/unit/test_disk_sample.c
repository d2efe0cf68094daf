/*
 * test_disk_sample: what is read for a measurement, and what is not.
 */
#include "otaclient/update/disk_sample.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "tests/unit/tmp_dir.h"

enum {
	FILE_BYTES = 100000,
};

/* Three of 100000 bytes, a small one, and one that is no file here. */
/* clang-format off */
static const char regulars[] =
	"0644,0,0,1,1111111111111111111111111111111111111111111111111111111111111111,'/a',100000,,\n"
	"0644,0,0,1,2222222222222222222222222222222222222222222222222222222222222222,'/b',100000,,\n"
	"0644,0,0,1,3333333333333333333333333333333333333333333333333333333333333333,'/c',100000,,\n"
	"0644,0,0,1,4444444444444444444444444444444444444444444444444444444444444444,'/d',100,,\n"
	"0644,0,0,1,5555555555555555555555555555555555555555555555555555555555555555,'/e',100000,,\n";
/* clang-format on */

struct bench {
	struct tmp_dir *dir;
	struct file_table *table;
	struct inventory *inv;
	int standby_fd, active_fd;
	unsigned polls;
};

static void put(int dir_fd, const char *name, size_t n_bytes)
{
	static const char bytes[FILE_BYTES];
	AUTO_CLOSE int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(write(fd, bytes, n_bytes), n_bytes);
}

static int open_dir(const struct bench *b, const char *name)
{
	assert_int_equal(mkdirat(b->dir->fd, name, 0700), 0);
	return openat(b->dir->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int setup(void **state)
{
	static struct bench b;
	void *dir = NULL;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b = (struct bench){.dir = dir, .table = file_table_new()};
	assert_int_equal(list_text_read_regulars(
				 regulars, sizeof(regulars) - 1, "regulars.txt", b.table, NULL),
		0);
	assert_int_equal(file_table_seal(b.table, NULL), 0);
	b.inv = inventory_new(b.table);
	b.standby_fd = open_dir(&b, "standby");
	b.active_fd = open_dir(&b, "active");
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir;

	close(b->standby_fd);
	close(b->active_fd);
	inventory_free(b->inv);
	file_table_free(b->table);
	return tmp_dir_teardown(&dir);
}

static bool count_polls(void *ctx)
{
	struct bench *b = ctx;

	return ++b->polls == 2;
}

static bool go_on(void *ctx)
{
	return false;
}

static struct sample take(struct bench *b, bool (*stop)(void *))
{
	struct sample sample = {1, 1};

	disk_sample_take(b->table, b->inv, b->standby_fd, b->active_fd, stop, b, &sample);
	return sample;
}

static void each_file_is_read_where_it_is(void **state)
{
	struct bench *b = *state;
	struct sample sample;

	put(b->standby_fd, "a", FILE_BYTES);
	put(b->active_fd, "b", 70000); /* as long as it is, whatever the image says */
	put(b->active_fd, "d", 100);   /* too small to tell anything */
	assert_int_equal(mkfifoat(b->active_fd, "e", 0600), 0);
	b->inv->kept_ino[0] = 1;
	sample = take(b, go_on);
	assert_int_equal(sample.bytes, FILE_BYTES + 70000);
	assert_true(sample.ms > 0);
	/* Not on the standby slot: it is not kept there. */
	b->inv->kept_ino[0] = 0;
	assert_int_equal(take(b, go_on).bytes, 70000);
}

static void nothing_to_read_is_no_sample(void **state)
{
	struct sample sample = take(*state, go_on);

	assert_int_equal(sample.bytes, 0);
	assert_int_equal(sample.ms, 0);
}

static void whoever_is_to_stop_reads_no_further(void **state)
{
	struct bench *b = *state;

	put(b->active_fd, "a", FILE_BYTES);
	put(b->active_fd, "b", FILE_BYTES);
	put(b->active_fd, "c", FILE_BYTES);
	assert_int_equal(take(b, count_polls).bytes, 2 * FILE_BYTES);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(each_file_is_read_where_it_is),
		T(nothing_to_read_is_no_sample),
		T(whoever_is_to_stop_reads_no_further),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
