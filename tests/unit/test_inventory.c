/*
 * test_inventory: what a search of the slots does not put up with. What it finds: integration/test_law.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/image/list_text.h"
#include "otaclient/inventory/inventory.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

/* One file of five bytes. */
static const char regulars[] =
	"0644,0,0,1,1111111111111111111111111111111111111111111111111111111111111111,'/a',5,,\n";

static struct file_table *make_table(void)
{
	struct file_table *t = file_table_new();

	assert_int_equal(
		list_text_read_regulars(regulars, strlen(regulars), "regulars.txt", t, NULL), 0);
	assert_int_equal(file_table_seal(t, NULL), 0);
	return t;
}

/* The slot, with one file that is as long as the image's. */
static int make_slot(const struct tmp_dir *d)
{
	AUTO_CLOSE int fd = -1;
	int slot_fd;

	assert_int_equal(mkdirat(d->fd, "slot", 0700), 0);
	slot_fd = openat(d->fd, "slot", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(slot_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(file_write_all(fd, "bytes", 5), 0);
	return slot_fd;
}

static bool stop(void *ctx)
{
	return true;
}

static void file_with_names_that_nobody_sees_means_a_damaged_file_system(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_INVENTORY struct inventory *inv = inventory_new(t);
	AUTO_CLOSE int slot_fd = make_slot(d);
	struct ota_err err = {0};
	struct stat st;

	assert_int_equal(linkat(slot_fd, "file", d->fd, "elsewhere", 0), 0);
	assert_int_equal(fstatat(slot_fd, "file", &st, 0), 0);
	assert_int_equal(inventory_scan_standby(inv, t, slot_fd, NULL, NULL, NULL, &err), -EUCLEAN);
	assert_sentence(&err,
		"Cannot look through the standby slot: The file system is damaged: "
		"inode %llu has 1 names and says 2",
		(unsigned long long)st.st_ino);
	assert_int_equal(unlinkat(d->fd, "elsewhere", 0), 0);
	assert_int_equal(inventory_scan_standby(inv, t, slot_fd, NULL, NULL, NULL, NULL), 0);
}

static void search_ends_when_nobody_wants_it_any_more(void **state)
{
	AUTO_FILE_TABLE struct file_table *t = make_table();
	AUTO_INVENTORY struct inventory *inv = inventory_new(t);
	AUTO_CLOSE int slot_fd = make_slot(*state);
	struct ota_err err = {0};

	assert_int_equal(inventory_search_active(inv, t, slot_fd, stop, NULL, &err), -ECANCELED);
	assert_non_null(strstr(err.msg, "Cannot look through the active slot: "));
	assert_int_equal(inventory_search_active(inv, t, slot_fd, NULL, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(file_with_names_that_nobody_sees_means_a_damaged_file_system),
		tmp_dir_test(search_ends_when_nobody_wants_it_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
