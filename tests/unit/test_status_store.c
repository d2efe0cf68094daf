/*
 * status_store: the files of a slot's status folder, as other programs write and read them too.
 */
#include "otaclient/status/status_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "tests/unit/sentence.h"

static char base[64];
static char dir[96]; /* the status folder, not made yet */

static int setup(void **state)
{
	(void)state;
	snprintf(base, sizeof(base), "/tmp/test_status_store.XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(dir, sizeof(dir), "%s/ota-slot_a", base);
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {
		"status", "slot_in_use", "version", "version_detail", "complete"};
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	io_set_hook(NULL, NULL);
	for (size_t i = 0; fd >= 0 && i < ARRAY_SIZE(names); i++)
		unlinkat(fd, names[i], 0);
	if (fd >= 0)
		close(fd);
	rmdir(dir);
	return rmdir(base);
}

static void put_raw(const char *name, const void *data, size_t len_bytes)
{
	char path[PATH_MAX];
	int fd;

	mkdir(dir, 0755);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len_bytes), 0);
	close(fd);
}

static void put(const char *name, const char *text)
{
	put_raw(name, text, strlen(text));
}

static void assert_file(const char *name, const char *want)
{
	AUTO_BUF struct buf got = {0};
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &got), 0);
	assert_string_equal(buf_str(&got), want);
}

static void a_missing_folder_means_not_known(void **state)
{
	struct release_detail d;
	char slot[STATUS_SLOT_MAX], version[STATUS_VERSION_MAX];

	(void)state;
	assert_int_equal(status_store_read_status(dir), STATUS_NONE);
	status_store_read_slot_in_use(dir, slot);
	assert_string_equal(slot, "");
	status_store_read_version(dir, version);
	assert_string_equal(version, "");
	status_store_read_release(dir, &d);
	assert_string_equal(d.image_id, "");
}

static void files_hold_the_bare_words(void **state)
{
	struct ota_err err = {0};
	struct stat st;

	(void)state;
	assert_int_equal(status_store_write_status(dir, STATUS_ROLLBACK_FAILURE, &err), 0);
	assert_int_equal(status_store_write_slot_in_use(dir, "ota-slot_b", &err), 0);
	assert_int_equal(status_store_write_version(dir, "22.04 \xc3\xa9", &err), 0);
	assert_file("status", "ROLLBACK_FAILURE");
	assert_file("slot_in_use", "ota-slot_b");
	assert_file("version", "22.04 \xc3\xa9");
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

static void every_status_comes_back(void **state)
{
	(void)state;
	for (int s = STATUS_INITIALIZED; s <= STATUS_ABORTED; s++) {
		assert_int_equal(status_store_write_status(dir, (enum ota_status)s, NULL), 0);
		assert_int_equal(status_store_read_status(dir), s);
	}
	assert_string_equal(ota_status_name(STATUS_NONE), "");
}

static void a_status_is_read_in_any_case_and_with_white_space(void **state)
{
	(void)state;
	put("status", " \tSuccess\n");
	assert_int_equal(status_store_read_status(dir), STATUS_SUCCESS);
	put("status", "SUCCESSFUL");
	assert_int_equal(status_store_read_status(dir), STATUS_NONE);
	put("status", "");
	assert_int_equal(status_store_read_status(dir), STATUS_NONE);
	put_raw("status", "SUCCESS\0", 8);
	assert_int_equal(status_store_read_status(dir), STATUS_NONE);
}

static void a_slot_is_one_word_that_fits(void **state)
{
	char slot[STATUS_SLOT_MAX];

	(void)state;
	put("slot_in_use", " 1\n");
	status_store_read_slot_in_use(dir, slot);
	assert_string_equal(slot, "1");
	put("slot_in_use", "ota-slot_a ota-slot_b");
	status_store_read_slot_in_use(dir, slot);
	assert_string_equal(slot, "");
	put("slot_in_use", "a-name-of-thirty-two-characters!");
	status_store_read_slot_in_use(dir, slot);
	assert_string_equal(slot, "");
}

static void a_version_loses_line_ends_and_what_is_beyond_the_limit(void **state)
{
	char version[STATUS_VERSION_MAX];
	char text[3000];

	(void)state;
	put("version", " 1.0 beta\r\n");
	status_store_read_version(dir, version);
	assert_string_equal(version, " 1.0 beta");

	memset(text, 'v', sizeof(text));
	memcpy(text + STATUS_VERSION_MAX - 2, "\xe3\x81\x82", 3); /* あ across the limit */
	put_raw("version", text, sizeof(text));
	status_store_read_version(dir, version);
	assert_int_equal(strlen(version), STATUS_VERSION_MAX - 2);
}

static void a_version_that_is_no_text_is_not_known(void **state)
{
	char version[STATUS_VERSION_MAX];

	(void)state;
	put("version", "1.0\xff");
	status_store_read_version(dir, version);
	assert_string_equal(version, "");
	put_raw("version", "1\0002", 3);
	status_store_read_version(dir, version);
	assert_string_equal(version, "");
}

static void a_release_comes_back_whatever_is_in_its_names(void **state)
{
	struct release_detail d = {"spring \"7\"\n", "\xe3\x81\x82", "i\\9"}, got;

	(void)state;
	assert_int_equal(status_store_write_release(dir, &d, NULL), 0);
	status_store_read_release(dir, &got);
	assert_string_equal(got.release_name, d.release_name);
	assert_string_equal(got.release_id, d.release_id);
	assert_string_equal(got.image_id, d.image_id);
}

static void a_release_is_plain_json(void **state)
{
	struct release_detail d = {"n", "r", "i"};

	(void)state;
	assert_int_equal(status_store_write_release(dir, &d, NULL), 0);
	assert_file("version_detail",
		"{\"release_name\": \"n\", \"release_id\": \"r\", \"image_id\": \"i\"}");
}

static void half_a_release_removes_the_old_one(void **state)
{
	struct release_detail d = {"n", "r", "i"}, got;

	(void)state;
	assert_int_equal(status_store_write_release(dir, &d, NULL), 0);
	d.image_id[0] = '\0';
	assert_int_equal(status_store_write_release(dir, &d, NULL), 0);
	status_store_read_release(dir, &got);
	assert_string_equal(got.release_name, "");
	/* and none is there to remove */
	assert_int_equal(status_store_write_release(dir, &d, NULL), 0);
}

static void a_release_file_that_is_no_object_is_not_known(void **state)
{
	static const char *const texts[] = {"", "[]", "{\"release_name\": 7}", "{\"release_name\"",
		"{\"release_name\": \"\\u0000\"}"};
	struct release_detail got;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		put("version_detail", texts[i]);
		status_store_read_release(dir, &got);
		assert_string_equal(got.release_name, "");
	}
}

static struct complete_mark a_mark(void)
{
	struct complete_mark m = {
		.fs_uuid = "3a2f6d0c-0f5e-4b0e-9d3e-1c2b3a4d5e6f",
		.unix_s = 1790000000,
		.other_mount_s = 1790000123,
	};

	memset(m.image.bytes, 0xab, sizeof(m.image.bytes));
	return m;
}

static void a_complete_mark_comes_back(void **state)
{
	struct complete_mark m = a_mark(), got;
	struct ota_err err = {0};

	(void)state;
	assert_int_equal(status_store_write_complete(dir, &m, &err), 0);
	assert_int_equal(status_store_read_complete(dir, &got, &err), 0);
	assert_true(digest_equal(&got.image, &m.image));
	assert_string_equal(got.fs_uuid, m.fs_uuid);
	assert_int_equal(got.unix_s, m.unix_s);
	assert_int_equal(got.other_mount_s, m.other_mount_s);
}

static void a_removed_mark_is_gone_and_may_be_removed_again(void **state)
{
	struct complete_mark m = a_mark();
	struct ota_err err = {0};

	(void)state;
	assert_int_equal(status_store_remove_complete(dir, &err), 0);
	assert_int_equal(status_store_write_complete(dir, &m, &err), 0);
	assert_int_equal(status_store_remove_complete(dir, &err), 0);
	assert_int_equal(status_store_remove_complete(dir, &err), 0);
	assert_int_equal(status_store_read_complete(dir, &m, &err), -ENOENT);
}

static void every_changed_byte_of_a_mark_is_noticed(void **state)
{
	struct complete_mark m = a_mark(), got;
	AUTO_BUF struct buf text = {0};
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(status_store_write_complete(dir, &m, NULL), 0);
	snprintf(path, sizeof(path), "%s/complete", dir);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &text), 0);
	for (size_t i = 0; i < text.len_bytes; i++) {
		struct ota_err err = {0};
		char want[PATH_MAX + 64];

		text.data[i] ^= 1;
		put_raw("complete", text.data, text.len_bytes);
		text.data[i] ^= 1;
		assert_int_equal(status_store_read_complete(dir, &got, &err), -EBADMSG);
		snprintf(want, sizeof(want), "%s is torn or was not written by this program", path);
		assert_string_equal(err.msg, want);
	}
}

static void every_shortened_mark_is_noticed(void **state)
{
	struct complete_mark m = a_mark(), got;
	AUTO_BUF struct buf text = {0};
	char path[PATH_MAX];

	(void)state;
	assert_int_equal(status_store_write_complete(dir, &m, NULL), 0);
	snprintf(path, sizeof(path), "%s/complete", dir);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &text), 0);
	for (size_t len = 0; len < text.len_bytes; len++) {
		put_raw("complete", text.data, len);
		assert_int_equal(status_store_read_complete(dir, &got, NULL), -EBADMSG);
	}
}

static int fail_always(void *ctx, const char *what)
{
	(void)ctx;
	(void)what;
	return -EIO;
}

static void a_write_that_fails_names_the_file_and_keeps_the_old_one(void **state)
{
	struct ota_err err = {0};
	char want[PATH_MAX];

	(void)state;
	assert_int_equal(status_store_write_status(dir, STATUS_SUCCESS, &err), 0);
	io_set_hook(fail_always, NULL);
	assert_int_equal(status_store_write_status(dir, STATUS_FAILURE, &err), -EIO);
	snprintf(want, sizeof(want), "Cannot write %s/status: Input/output error", dir);
	assert_string_equal(err.msg, want);
	io_set_hook(NULL, NULL);
	assert_int_equal(status_store_read_status(dir), STATUS_SUCCESS);
}

static void a_file_that_cannot_be_removed_is_named(void **state)
{
	struct ota_err err = {0};
	int r;

	(void)state;
	put("complete", "x");
	io_set_hook(fail_always, NULL);
	r = status_store_remove_complete(dir, &err);
	io_set_hook(NULL, NULL);
	assert_int_equal(r, -EIO);
	assert_sentence(&err, "Cannot remove %s/complete: Input/output error", dir);
	assert_file("complete", "x");
}

static void a_folder_without_a_parent_is_an_error(void **state)
{
	struct ota_err err = {0};
	char deep[128], want[256];

	(void)state;
	snprintf(deep, sizeof(deep), "%s/missing/ota-status", base);
	assert_int_equal(status_store_write_status(deep, STATUS_FAILURE, &err), -ENOENT);
	snprintf(want, sizeof(want), "Cannot make status folder %s: No such file or directory",
		deep);
	assert_string_equal(err.msg, want);
}

static void a_folder_that_cannot_be_used_is_named(void **state)
{
	static const char relative[] = "no-such-folder";
	struct ota_err err = {0};
	char path[128];

	(void)state;
	assert_int_equal(status_store_write_status(relative, STATUS_FAILURE, &err), -EINVAL);
	assert_sentence(&err, "Cannot make status folder no-such-folder: the path is not absolute");
	put("status", "SUCCESS");
	snprintf(path, sizeof(path), "%s/status", dir);
	err = (struct ota_err){0};
	assert_int_equal(status_store_write_status(path, STATUS_FAILURE, &err), -ENOTDIR);
	assert_sentence(&err, "Cannot open status folder %s: Not a directory", path);
	err = (struct ota_err){0};
	assert_int_equal(
		status_store_read_complete(path, &(struct complete_mark){0}, &err), -ENOTDIR);
	assert_sentence(&err, "Cannot read %s/complete: Not a directory", path);
}

static void what_the_files_cannot_hold_is_not_written(void **state)
{
	const struct release_detail release = {
		.release_name = "\xff", .release_id = "1", .image_id = "2"};
	const struct complete_mark mark = {.fs_uuid = "two\nlines"};
	struct ota_err err = {0};

	(void)state;
	assert_int_equal(status_store_write_release(dir, &release, &err), -EBADMSG);
	assert_sentence(&err, "Cannot write %s/version_detail: a name is no UTF-8", dir);
	err = (struct ota_err){0};
	assert_int_equal(status_store_write_complete(dir, &mark, &err), -EINVAL);
	assert_sentence(&err,
		"Cannot write %s/complete: the file system's UUID has more than one line", dir);
	assert_int_equal(access(dir, F_OK), -1);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_missing_folder_means_not_known),
		CASE(files_hold_the_bare_words),
		CASE(every_status_comes_back),
		CASE(a_status_is_read_in_any_case_and_with_white_space),
		CASE(a_slot_is_one_word_that_fits),
		CASE(a_version_loses_line_ends_and_what_is_beyond_the_limit),
		CASE(a_version_that_is_no_text_is_not_known),
		CASE(a_release_comes_back_whatever_is_in_its_names),
		CASE(a_release_is_plain_json),
		CASE(half_a_release_removes_the_old_one),
		CASE(a_release_file_that_is_no_object_is_not_known),
		CASE(a_complete_mark_comes_back),
		CASE(a_removed_mark_is_gone_and_may_be_removed_again),
		CASE(every_changed_byte_of_a_mark_is_noticed),
		CASE(every_shortened_mark_is_noticed),
		CASE(a_write_that_fails_names_the_file_and_keeps_the_old_one),
		CASE(a_file_that_cannot_be_removed_is_named),
		CASE(a_folder_without_a_parent_is_an_error),
		CASE(a_folder_that_cannot_be_used_is_named),
		CASE(what_the_files_cannot_hold_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
