/*
 * standby_copy: where a copy of the active slot's contents is made, and what stands in its way. Needs root, whose the
 * files of a slot are.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/crypto/digest.h"
#include "otaclient/standby/standby_writer.h"
#include "tests/unit/planned.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

/* Contents are their own names; of one group, and one that two files have. */
#define ONE    "one"
#define TWICE  "twice"
#define LINKED "linked"

struct bench {
	struct tmp_dir *dir;
	struct planned *image;
	struct writer_config config;
	struct standby_writer *writer;
	struct ota_err err;
	int standby_fd, active_fd;
	char regulars[2048];
};

static void add_line(
	struct bench *b, const char *path, const char *content, int nlink, const char *group)
{
	char hex[DIGEST_HEX_MAX];
	struct digest d;
	size_t at = strlen(b->regulars);

	digest_of(content, strlen(content), &d);
	digest_to_hex(&d, hex);
	snprintf(b->regulars + at, sizeof(b->regulars) - at, "0640,7,8,%d,%s,'%s',%zu,%s,\n", nlink,
		hex, path, strlen(content), group);
}

static void make_file(int dir_fd, const char *path, const char *content)
{
	AUTO_CLOSE int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
}

/* The active slot has it at the path of the first file that wants it. */
static void have(struct bench *b, const char *path, const char *content)
{
	uint32_t file = file_at(b->image, path);
	struct content_source *source =
		&b->image->inv->sources[b->image->table->files[file].content];

	make_file(b->active_fd, path + 1, content);
	source->place = PLACE_ACTIVE_LIKELY;
	source->path = file;
}

static int open_folder(struct bench *b, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(b->dir->fd, name, 0755), 0);
	fd = openat(b->dir->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	b->standby_fd = open_folder(b, "standby");
	b->active_fd = open_folder(b, "active");
	assert_int_equal(mkdirat(b->active_fd, "deep", 0755), 0);
	assert_int_equal(mkdirat(b->active_fd, "deep/down", 0755), 0);
	add_line(b, "/deep/down/one", ONE, 1, "");
	add_line(b, "/deep/linked", LINKED, 2, "1");
	add_line(b, "/linked-too", LINKED, 2, "1");
	add_line(b, "/twice-a", TWICE, 1, "");
	add_line(b, "/twice-b", TWICE, 1, "");
	b->image = planned_new(b->regulars);
	have(b, "/deep/down/one", ONE);
	have(b, "/deep/linked", LINKED);
	have(b, "/twice-a", TWICE);
	assert_int_equal(
		plan_make(b->image->plan, b->image->table, b->image->inv, &plenty, true, NULL), 0);
	b->config = (struct writer_config){
		.table = b->image->table,
		.inv = b->image->inv,
		.plan = b->image->plan,
		.standby_fd = b->standby_fd,
		.active_fd = b->active_fd,
	};
	assert_int_equal(standby_writer_open(&b->config, &b->writer, &b->err), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir, *image = b->image;

	io_set_hook(NULL, NULL);
	standby_writer_free(b->writer);
	planned_teardown(&image);
	close(b->standby_fd);
	close(b->active_fd);
	tmp_dir_teardown(&dir);
	free(b);
	return 0;
}

static void assert_file(struct bench *b, const char *path, const char *content, nlink_t nlink)
{
	AUTO_CLOSE int fd = openat(b->standby_fd, path + 1, O_RDONLY | O_CLOEXEC);
	char have[64] = "";
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(read(fd, have, sizeof(have) - 1), strlen(content));
	assert_string_equal(have, content);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 8);
	assert_int_equal(st.st_nlink, nlink);
}

static bool is_in_store(struct bench *b, const char *content)
{
	char hex[DIGEST_HEX_MAX];
	struct digest d;

	digest_of(content, strlen(content), &d);
	digest_to_hex(&d, hex);
	return faccessat(standby_writer_store_fd(b->writer), hex, F_OK, 0) == 0;
}

static bool is_there(struct bench *b, const char *path)
{
	return faccessat(b->standby_fd, path + 1, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static enum plan_action action_of(struct bench *b, const char *path)
{
	return b->image->plan->actions[content_of(b->image, path)];
}

/* To the end, whatever was in the way. */
static void assert_becomes_the_image(struct bench *b)
{
	assert_int_equal(standby_prune(b->writer, &b->err), 0);
	assert_int_equal(standby_place(b->writer, &b->err), 0);
	assert_file(b, "/deep/down/one", ONE, 1);
	assert_file(b, "/deep/linked", LINKED, 2);
	assert_file(b, "/linked-too", LINKED, 2);
	assert_file(b, "/twice-a", TWICE, 1);
	assert_file(b, "/twice-b", TWICE, 1);
}

static void a_copy_that_one_file_wants_is_that_file_at_once(void **state)
{
	struct bench *b = *state;
	struct writer_counts counts;

	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_file(b, "/deep/down/one", ONE, 1);
	assert_file(b, "/deep/linked", LINKED, 1);
	assert_false(is_there(b, "/linked-too"));
	assert_false(is_in_store(b, ONE));
	assert_false(is_in_store(b, LINKED));
	assert_true(is_in_store(b, TWICE));
	assert_false(is_there(b, "/twice-a"));
	standby_writer_counts(b->writer, &counts);
	assert_int_equal(counts.processed_files, 3);
	assert_int_equal(counts.written_bytes, strlen(ONE) + strlen(LINKED) + strlen(TWICE));
	/* a second time, there is nothing to do */
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	standby_writer_counts(b->writer, &counts);
	assert_int_equal(counts.processed_files, 3);
	assert_becomes_the_image(b);
	standby_writer_counts(b->writer, &counts);
	assert_int_equal(counts.processed_files, 5);
	assert_int_equal(counts.removed_entries, 0);
}

static void what_is_in_the_way_sends_the_copy_to_the_store(void **state)
{
	struct bench *b = *state;

	make_file(b->standby_fd, "deep", "no folder");
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_true(is_in_store(b, ONE));
	assert_true(is_in_store(b, LINKED));
	assert_becomes_the_image(b);
}

static void an_old_file_at_the_name_is_left_for_the_prune(void **state)
{
	struct bench *b = *state;

	assert_int_equal(mkdirat(b->standby_fd, "deep", 0755), 0);
	make_file(b->standby_fd, "deep/linked", "old");
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_true(is_in_store(b, LINKED));
	assert_false(is_in_store(b, ONE));
	assert_becomes_the_image(b);
}

static void a_link_out_of_the_slot_is_not_followed(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int outside = open_folder(b, "outside");

	assert_int_equal(symlinkat("../outside", b->standby_fd, "deep"), 0);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_true(faccessat(outside, "down", F_OK, 0) < 0);
	assert_true(faccessat(outside, "linked", F_OK, 0) < 0);
	assert_true(is_in_store(b, ONE));
	assert_becomes_the_image(b);
}

static void set_immutable(int fd, bool on)
{
	int flags = 0;

	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

static void a_locked_folder_is_left_for_the_prune(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int fd = -1;

	assert_int_equal(mkdirat(b->standby_fd, "deep", 0755), 0);
	fd = openat(b->standby_fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	set_immutable(fd, true);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_true(is_in_store(b, ONE));
	assert_true(is_in_store(b, LINKED));
	assert_becomes_the_image(b);
}

/* What was to be copied is another by now: of the same length, longer, gone. Nothing half-made stays. */
static void contents_that_have_changed_are_fetched(void **state)
{
	struct bench *b = *state;

	assert_int_equal(unlinkat(b->active_fd, "deep/down/one", 0), 0);
	make_file(b->active_fd, "deep/down/one", "eno");
	make_file(b->active_fd, "deep/linked", LINKED LINKED);
	assert_int_equal(unlinkat(b->active_fd, "twice-a", 0), 0);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_int_equal(action_of(b, "/deep/down/one"), PLAN_FETCH);
	assert_int_equal(action_of(b, "/deep/linked"), PLAN_FETCH);
	assert_int_equal(action_of(b, "/twice-a"), PLAN_FETCH);
	assert_false(is_there(b, "/deep/down/one"));
	assert_false(is_there(b, "/deep/linked"));
	assert_false(is_in_store(b, TWICE));
}

static int fail_at(void *ctx, const char *what)
{
	return strcmp(what, ctx) == 0 ? -ENOSPC : 0;
}

static char making[] = "copy: make a file", storing[] = "copy: store a content";

static void a_full_slot_is_said(void **state)
{
	struct bench *b = *state;

	io_set_hook(fail_at, making);
	assert_int_equal(standby_copy(b->writer, &b->err), -ENOSPC);
	assert_int_equal(b->err.code, OTA_E_STANDBY_SLOT_SPACE);
	assert_non_null(strstr(b->err.msg, "Cannot copy /deep/"));
	io_set_hook(fail_at, storing);
	b->err = (struct ota_err){0};
	assert_int_equal(standby_copy(b->writer, &b->err), -ENOSPC);
	assert_sentence(&b->err, "Cannot copy /twice-a: the standby slot is full");
	io_set_hook(NULL, NULL);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_becomes_the_image(b);
}

/* Yes from the second question on: the first is asked before a file is made, the second while it is copied. */
static bool stop_within(void *ctx)
{
	return __atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED) > 0;
}

static void a_copy_that_is_stopped_leaves_no_half_of_it(void **state)
{
	struct bench *b = *state;
	int asked = 0;

	standby_writer_free(b->writer);
	b->config.stop = stop_within;
	b->config.stop_ctx = &asked;
	assert_int_equal(standby_writer_open(&b->config, &b->writer, &b->err), 0);
	assert_int_equal(standby_copy(b->writer, &b->err), -ECANCELED);
	assert_false(is_there(b, "/deep/down/one"));
	assert_false(is_there(b, "/deep/linked"));
	asked = -1000;
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_becomes_the_image(b);
}

/* Not ours to empty; so the folder that it is in stays, too. */
static void what_is_mounted_on_an_old_folder_is_left_alone(void **state)
{
	struct bench *b = *state;
	char point[128];

	assert_int_equal(mkdirat(b->standby_fd, "old", 0755), 0);
	assert_int_equal(mkdirat(b->standby_fd, "old/mnt", 0755), 0);
	snprintf(point, sizeof(point), "%s/standby/old/mnt", b->dir->path);
	assert_int_equal(mount("none", point, "tmpfs", 0, NULL), 0);
	make_file(b->standby_fd, "old/mnt/precious", "bytes");
	assert_int_equal(standby_prune(b->writer, &b->err), -EBUSY);
	assert_string_equal(b->err.msg,
		"Cannot clear the standby slot at /old: Cannot remove old from the standby slot: "
		"Invalid cross-device link");
	assert_int_equal(faccessat(b->standby_fd, "old/mnt/precious", F_OK, 0), 0);
	assert_int_equal(umount(point), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_mounted_on_an_old_folder_is_left_alone),
		T(a_copy_that_one_file_wants_is_that_file_at_once),
		T(what_is_in_the_way_sends_the_copy_to_the_store),
		T(an_old_file_at_the_name_is_left_for_the_prune),
		T(a_link_out_of_the_slot_is_not_followed),
		T(a_locked_folder_is_left_for_the_prune),
		T(contents_that_have_changed_are_fetched),
		T(a_full_slot_is_said),
		T(a_copy_that_is_stopped_leaves_no_half_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
