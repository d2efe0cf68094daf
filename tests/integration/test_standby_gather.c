/*
 * standby_gather: contents are copied by their places on the active slot's disk, and only if they are what was noted.
 * Folders that are renamed hide their files from whoever looks by name, and change no inode. Needs root, for a
 * file system on a loop device.
 */
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
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/crypto/digest.h"
#include "otaclient/inventory/inode_index.h"
#include "otaclient/inventory/slot_inodes.h"
#include "otaclient/slot/device_path.h"
#include "otaclient/slot/disk_order.h"
#include "otaclient/standby/standby_writer.h"
#include "tests/support/ext4_disk.h"
#include "tests/unit/planned.h"

/* Contents are their own names; of one group, and one that two files have. */
#define ONE    "one of the small files"
#define TWICE  "twice in the image"
#define LINKED "linked"

static const struct {
	const char *path, *content;
	const char *nlink_group[2];
} lines[] = {
	{"/d/linked",     LINKED, {"2", "1"}},
	{"/d/linked-too", LINKED, {"2", "1"}},
	{"/d/one",        ONE,    {"1", ""} },
	{"/d/twice-a",    TWICE,  {"1", ""} },
	{"/d/twice-b",    TWICE,  {"1", ""} },
};

struct bench {
	struct ext4_disk disk; /* the active slot */
	struct tmp_dir *dir;   /* the standby */
	struct planned *image;
	struct standby_writer *writer;
	struct ota_err err;
	char regulars[2048];
};

static void add_line(struct bench *b, size_t i)
{
	char hex[DIGEST_HEX_MAX];
	struct digest d;
	size_t at = strlen(b->regulars);

	digest_of(lines[i].content, strlen(lines[i].content), &d);
	digest_to_hex(&d, hex);
	snprintf(b->regulars + at, sizeof(b->regulars) - at, "4750,7,8,%s,%s,'%s',%zu,%s,\n",
		lines[i].nlink_group[0], hex, lines[i].path, strlen(lines[i].content),
		lines[i].nlink_group[1]);
}

/* By the inventory. */
static void find_on_active(struct bench *b, const char *path)
{
	uint32_t file = file_at(b->image, path);

	b->image->inv->sources[b->image->table->files[file].content] =
		(struct content_source){.place = PLACE_ACTIVE_LIKELY, .path = file};
}

/* What the active slot was installed with. */
static void have(struct bench *b, size_t i)
{
	AUTO_CLOSE int fd =
		openat(b->disk.root_fd, lines[i].path + 1, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(
		write(fd, lines[i].content, strlen(lines[i].content)), strlen(lines[i].content));
	find_on_active(b, lines[i].path);
}

static void note_inodes(struct bench *b)
{
	const struct timespec later = {.tv_sec = INT32_MAX};
	struct inode_note notes[ARRAY_SIZE(lines)] = {0};
	AUTO_CLOSE int meta_fd = -1;
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (fstatat(b->disk.root_fd, lines[i].path + 1, &st, 0) == 0)
			notes[file_at(b->image, lines[i].path)] = inode_note_of(&st, true);
	assert_int_equal(mkdirat(b->disk.root_fd, ".ota-meta", 0700), 0);
	meta_fd = openat(b->disk.root_fd, ".ota-meta", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(inode_index_save(meta_fd, b->image->table, notes, &later), 0);
}

static void open_writer(struct bench *b)
{
	struct writer_config config = {
		.table = b->image->table,
		.inv = b->image->inv,
		.plan = b->image->plan,
		.standby_fd = b->dir->fd,
		.active_fd = b->disk.root_fd,
	};

	assert_int_equal(
		plan_make(b->image->plan, b->image->table, b->image->inv, &plenty, true, NULL), 0);
	assert_int_equal(standby_writer_open(&config, &b->writer, &b->err), 0);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	ext4_disk_setup(&b->disk);
	ext4_disk_make(&b->disk, "-I", "256");
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		add_line(b, i);
	b->image = planned_new(b->regulars);
	assert_int_equal(mkdirat(b->disk.root_fd, "d", 0755), 0);
	have(b, 0);
	have(b, 2);
	have(b, 3);
	note_inodes(b);
	assert_int_equal(syncfs(b->disk.root_fd), 0);
	open_writer(b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir, *image = b->image;

	standby_writer_free(b->writer);
	planned_teardown(&image);
	ext4_disk_teardown(&b->disk);
	tmp_dir_teardown(&dir);
	free(b);
	return 0;
}

static void hide_names(struct bench *b)
{
	assert_int_equal(renameat(b->disk.root_fd, "d", b->disk.root_fd, "elsewhere"), 0);
}

static enum plan_action action_of(struct bench *b, const char *path)
{
	return b->image->plan->actions[content_of(b->image, path)];
}

static bool is_copied(struct bench *b, const char *path)
{
	return b->image->inv->sources[content_of(b->image, path)].place == PLACE_STANDBY;
}

static void assert_file(struct bench *b, const char *path, const char *content)
{
	AUTO_CLOSE int fd = openat(b->dir->fd, path + 1, O_RDONLY | O_CLOEXEC);
	char bytes[64] = "";
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(read(fd, bytes, sizeof(bytes) - 1), strlen(content));
	assert_string_equal(bytes, content);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 04750);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 8);
}

static void what_was_noted_needs_no_name(void **state)
{
	struct bench *b = *state;
	struct writer_counts counts;

	hide_names(b);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_file(b, "/d/one", ONE);
	assert_file(b, "/d/linked", LINKED);
	assert_true(is_copied(b, "/d/twice-a"));
	standby_writer_counts(b->writer, &counts);
	assert_int_equal(counts.processed_files, 3);
	assert_int_equal(counts.written_bytes, strlen(ONE) + strlen(LINKED) + strlen(TWICE));
	assert_int_equal(standby_prune(b->writer, &b->err), 0);
	assert_int_equal(standby_place(b->writer, &b->err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_file(b, lines[i].path, lines[i].content);
}

static void what_finds_its_name_taken_goes_to_the_store(void **state)
{
	struct bench *b = *state;

	hide_names(b);
	assert_int_equal(mkdirat(b->dir->fd, "d", 0755), 0);
	assert_int_equal(mknodat(b->dir->fd, "d/one", S_IFREG | 0600, 0), 0);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_true(is_copied(b, "/d/one"));
	assert_int_equal(standby_prune(b->writer, &b->err), 0);
	assert_int_equal(standby_place(b->writer, &b->err), 0);
	assert_file(b, "/d/one", ONE);
}

/* Without what was noted names are all there is. */
static void without_notes_names_are_asked(void **state)
{
	struct bench *b = *state;

	assert_int_equal(unlinkat(b->disk.root_fd, ".ota-meta/inodes", 0), 0);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_file(b, "/d/one", ONE);
	assert_true(is_copied(b, "/d/twice-a"));
}

static void without_notes_hidden_names_are_not_found(void **state)
{
	struct bench *b = *state;

	assert_int_equal(unlinkat(b->disk.root_fd, ".ota-meta/inodes", 0), 0);
	hide_names(b);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_int_equal(action_of(b, "/d/one"), PLAN_FETCH);
	assert_int_equal(action_of(b, "/d/twice-a"), PLAN_FETCH);
}

static void write_over(struct bench *b, const char *path, const char *content)
{
	AUTO_CLOSE int fd = openat(b->disk.root_fd, path + 1, O_WRONLY | O_CLOEXEC);

	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	assert_int_equal(fsync(fd), 0);
}

/* Its time tells, so that its place is not even read; by its name it is another. */
static void what_has_changed_is_not_taken(void **state)
{
	struct bench *b = *state;

	write_over(b, "/d/one", "ONE");
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_int_equal(action_of(b, "/d/one"), PLAN_FETCH);
	assert_true(faccessat(b->dir->fd, "d/one", F_OK, 0) < 0);
	assert_file(b, "/d/linked", LINKED);
}

/* Other bytes at the place than noted, and no time tells: what the file system has in memory is the content. */
static void bytes_that_are_others_on_the_disk_are_looked_for_by_name(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int file = openat(b->disk.root_fd, "d/one", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int device = open(b->disk.device, O_RDWR | O_CLOEXEC);
	uint64_t at = 0;

	assert_true(disk_order_find(file, strlen(ONE), &at));
	assert_int_equal(pwrite(device, "???", 3, (off_t)at), 3);
	assert_int_equal(fsync(device), 0);
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_file(b, "/d/one", ONE);
}

/* To the end of the update, but for the folders. */
static struct inode_note *place_and_take_notes(struct bench *b)
{
	assert_int_equal(standby_copy(b->writer, &b->err), 0);
	assert_int_equal(standby_prune(b->writer, &b->err), 0);
	assert_int_equal(standby_place(b->writer, &b->err), 0);
	assert_int_equal(standby_drop_store(b->writer, &b->err), 0);
	return standby_writer_take_notes(b->writer);
}

/* Returns whether there is a note; it is true then. */
static bool is_noted(struct bench *b, const struct inode_note *notes, const char *path)
{
	const struct inode_note *note = &notes[file_at(b->image, path)];
	struct stat st;

	assert_int_equal(fstatat(b->dir->fd, path + 1, &st, AT_SYMLINK_NOFOLLOW), 0);
	if (note->ino != 0)
		assert_true(inode_note_holds(note, &st));
	return note->ino != 0;
}

static void what_was_made_is_noted_as_it_was_left(void **state)
{
	struct bench *b = *state;
	AUTO_FREE struct inode_note *notes = place_and_take_notes(b);

	assert_true(is_noted(b, notes, "/d/one"));
	assert_true(is_noted(b, notes, "/d/twice-a"));
	assert_true(is_noted(b, notes, "/d/twice-b"));
	/* a further name has changed this inode */
	assert_false(is_noted(b, notes, "/d/linked"));
}

/* The store's name of a file that stays is taken off at the end, which changes the inode. */
static void a_file_that_is_repeated_is_not_noted_early(void **state)
{
	struct bench *b = *state;
	AUTO_FREE struct inode_note *notes = NULL;
	AUTO_CLOSE int fd = -1;

	standby_writer_free(TAKE_PTR(b->writer));
	assert_int_equal(mkdirat(b->dir->fd, "d", 0755), 0);
	fd = openat(b->dir->fd, "d/twice-a", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, TWICE, strlen(TWICE)), strlen(TWICE));
	b->image->inv->sources[content_of(b->image, "/d/twice-a")].place = PLACE_NOWHERE;
	assert_int_equal(inventory_scan_standby(b->image->inv, b->image->table, b->dir->fd, NULL,
				 NULL, NULL, &b->err),
		0);
	find_on_active(b, "/d/linked");
	find_on_active(b, "/d/one");
	open_writer(b);
	assert_int_equal(action_of(b, "/d/twice-a"), PLAN_REPEAT);
	assert_int_equal(standby_harvest(b->writer, &b->err), 0);
	notes = place_and_take_notes(b);
	assert_false(is_noted(b, notes, "/d/twice-a"));
	assert_true(is_noted(b, notes, "/d/twice-b"));
	assert_true(is_noted(b, notes, "/d/one"));
}

static void count_content(void *ctx, uint32_t content, const struct ext4_inode_seen *inode)
{
	(*(unsigned *)ctx)++;
}

static bool stop_at_once(void *ctx)
{
	return true;
}

static void only_inodes_as_they_were_left_are_seen(void **state)
{
	struct bench *b = *state;
	unsigned n = 0;

	assert_int_equal(
		slot_inodes_each(b->disk.root_fd, b->image->table, count_content, &n, NULL, NULL),
		0);
	assert_int_equal(n, 3);
	write_over(b, "/d/one", "ONE");
	assert_int_equal(syncfs(b->disk.root_fd), 0);
	n = 0;
	assert_int_equal(
		slot_inodes_each(b->disk.root_fd, b->image->table, count_content, &n, NULL, NULL),
		0);
	assert_int_equal(n, 2);
	assert_int_equal(slot_inodes_each(b->disk.root_fd, b->image->table, count_content, &n,
				 stop_at_once, NULL),
		-ECANCELED);
}

static void the_device_of_a_file_system_is_found(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[DEVICE_PATH_MAX];

	assert_int_equal(device_path_of(b->disk.root_fd, path), 0);
	assert_string_equal(path, b->disk.device);
	assert_int_equal(device_path_of(proc, path), -ENODEV);
	assert_int_equal(device_path_of(-1, path), -EBADF);
}

#define SLOT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SLOT_TEST(what_was_noted_needs_no_name),
		SLOT_TEST(what_finds_its_name_taken_goes_to_the_store),
		SLOT_TEST(without_notes_names_are_asked),
		SLOT_TEST(without_notes_hidden_names_are_not_found),
		SLOT_TEST(what_has_changed_is_not_taken),
		SLOT_TEST(bytes_that_are_others_on_the_disk_are_looked_for_by_name),
		SLOT_TEST(what_was_made_is_noted_as_it_was_left),
		SLOT_TEST(a_file_that_is_repeated_is_not_noted_early),
		SLOT_TEST(only_inodes_as_they_were_left_are_seen),
		SLOT_TEST(the_device_of_a_file_system_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
