/*
 * standby_writer and saved_image: a slot that refuses. What they make of a good one: test_law.py, test_dirty.py. Needs
 * root, whose the files of a slot are.
 */
#include "otaclient/standby/standby_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/image/list_text.h"
#include "otaclient/source/image_source.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

/* An image of one folder, and a slot with one file that the image does not have. */
struct bench {
	struct tmp_dir *dir;
	struct file_table *table;
	struct writer_config config;
	struct standby_writer *writer;
	struct ota_err err;
};

static int setup(void **state)
{
	static const char dirs[] = "0755,0,0,'/folder'\n";
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;
	AUTO_CLOSE int fd = -1;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	b->table = file_table_new();
	assert_int_equal(list_text_read_dirs(dirs, strlen(dirs), "dirs.txt", b->table, NULL), 0);
	assert_int_equal(file_table_seal(b->table, NULL), 0);
	b->config = (struct writer_config){
		.table = b->table,
		.inv = inventory_new(b->table),
		.plan = plan_new(b->table),
		.standby_fd = b->dir->fd,
		.active_fd = -1,
	};
	fd = openat(b->dir->fd, "stray", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir;

	standby_writer_free(b->writer);
	plan_free(b->config.plan);
	inventory_free(b->config.inv);
	file_table_free(b->table);
	tmp_dir_teardown(&dir);
	free(b);
	return 0;
}

static int open_writer(struct bench *b)
{
	b->err = (struct ota_err){0};
	return standby_writer_open(&b->config, &b->writer, &b->err);
}

/* With so many more open files than now. */
static int open_writer_with(struct bench *b, int n_more)
{
	int r, next = dup(0);

	close(next);
	refusal_limit(RLIMIT_NOFILE, (rlim_t)(next + n_more));
	r = open_writer(b);
	refusal_limit(RLIMIT_NOFILE, 1024);
	return r;
}

static void store_that_cannot_be_opened_is_said(void **state)
{
	struct bench *b = *state;

	assert_int_equal(open_writer_with(b, 0), -EMFILE);
	assert_sentence(&b->err, "Cannot unlock the root of the standby slot: Too many open files");
	assert_int_equal(open_writer_with(b, 1), -EMFILE);
	assert_sentence(
		&b->err, "Cannot open /.ota-resources on the standby slot: Too many open files");
	assert_int_equal(open_writer_with(b, 2), 0);
}

static int open_as_not_the_owner(void *ctx)
{
	struct bench *b = ctx;

	CHECK(refusal_call(SYS_fchown, EPERM) == 0);
	CHECK(open_writer(b) == -EPERM);
	CHECK(sentence_is(&b->err,
		"Cannot use /.ota-resources on the standby slot: Operation not permitted"));
	return 0;
}

static void store_that_is_not_ours_is_not_used(void **state)
{
	assert_int_equal(in_child(open_as_not_the_owner, *state), 0);
}

static int fail_at(void *ctx, const char *what)
{
	return strcmp(what, ctx) == 0 ? -EIO : 0;
}

static char making_room[] = "make room: remove an entry";

static int make_room_in_vain(void *ctx)
{
	struct bench *b = ctx;

	CHECK(refusal_call(SYS_mkdirat, ENOSPC) == 0);
	/* All the room that there is does not help: */
	CHECK(open_writer(b) == -ENOSPC);
	CHECK(sentence_is(&b->err,
		"Cannot make /.ota-resources on the standby slot: No space left on device"));
	CHECK(faccessat(b->dir->fd, "stray", F_OK, 0) < 0);
	CHECK(mknodat(b->dir->fd, "stray", S_IFREG | 0600, 0) == 0);
	io_set_hook(fail_at, making_room);
	CHECK(open_writer(b) == -EIO);
	CHECK(strncmp(b->err.msg, "Cannot make room on the standby slot: Input/output error", 56) ==
		0);
	return 0;
}

static void slot_on_which_no_room_can_be_made_is_said(void **state)
{
	assert_int_equal(in_child(make_room_in_vain, *state), 0);
}

static int prune_in_vain(void *ctx)
{
	struct bench *b = ctx;

	CHECK(refusal_call(SYS_unlinkat, EIO) == 0);
	CHECK(standby_prune(b->writer, &b->err) == -EBUSY);
	CHECK(sentence_is(&b->err,
		"Cannot clear the standby slot at /stray: Cannot remove stray from the standby "
		"slot: Input/output error"));
	return 0;
}

static void what_cannot_be_removed_is_named(void **state)
{
	struct bench *b = *state;

	assert_int_equal(open_writer(b), 0);
	assert_int_equal(in_child(prune_in_vain, b), 0);
	assert_int_equal(standby_prune(b->writer, &b->err), 0);
}

static int place_on_a_full_slot(void *ctx)
{
	struct bench *b = ctx;

	CHECK(refusal_call(SYS_mkdirat, ENOSPC) == 0);
	CHECK(standby_place(b->writer, &b->err) == -ENOSPC);
	CHECK(b->err.code == OTA_E_STANDBY_SLOT_SPACE);
	CHECK(sentence_is(&b->err, "Cannot make the folder /folder: the standby slot is full"));
	return 0;
}

static void slot_that_becomes_full_is_said(void **state)
{
	struct bench *b = *state;

	assert_int_equal(open_writer(b), 0);
	assert_int_equal(in_child(place_on_a_full_slot, b), 0);
}

/* ---- the image's lists ---- */

static char jwt[] = "signed", cert[] = "certificate";

static struct image image_to_save(void)
{
	struct image image = {
		.jwt = {.data = jwt,  .len_bytes = strlen(jwt) },
		.cert = {.data = cert, .len_bytes = strlen(cert)}
        };

	snprintf(image.meta.certificate.name, sizeof(image.meta.certificate.name), "sign.pem");
	return image;
}

static int save_on_a_full_slot(void *ctx)
{
	struct bench *b = ctx;
	struct image image = image_to_save();

	/* By its length the second file's. */
	CHECK(refusal_call_with(SYS_write, 2, (uint32_t)strlen(cert), ENOSPC) == 0);
	CHECK(standby_save_image(b->dir->fd, &image, &b->err) == -ENOSPC);
	CHECK(b->err.code == OTA_E_STANDBY_SLOT_SPACE);
	CHECK(sentence_is(
		&b->err, "Cannot save the image's lists in /.ota-meta: No space left on device"));
	return 0;
}

static void lists_that_cannot_be_saved_are_said(void **state)
{
	struct bench *b = *state;
	struct image image = image_to_save();

	assert_int_equal(in_child(save_on_a_full_slot, b), 0);
	assert_int_equal(standby_save_image(b->dir->fd, &image, &b->err), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(store_that_cannot_be_opened_is_said),
		T(store_that_is_not_ours_is_not_used),
		T(slot_on_which_no_room_can_be_made_is_said),
		T(what_cannot_be_removed_is_named),
		T(slot_that_becomes_full_is_said),
		T(lists_that_cannot_be_saved_are_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
