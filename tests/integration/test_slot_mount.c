/*
 * slot_mount: a standby slot that cannot be taken, written or closed. What becomes of a good one: test_law.py. Needs
 * root, for device files and mounts in a namespace of its own.
 */
#include "otaclient/slot/slot_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/run.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

enum {
	NOBODYS_MAJOR = 240, /* for local use: no driver has it */
};

/* A slot whose device is there by its name only. */
struct bench {
	struct tmp_dir *dir;
	struct slot_mount m;
	struct boot_slot slot;
	struct ota_err err;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	/* Where /tmp is, device files may be of no use. */
	assert_int_equal(mount("bench", b->dir->path, "tmpfs", 0, NULL), 0);
	slot_mount_init(&b->m);
	snprintf(b->slot.device, sizeof(b->slot.device), "%s/device", b->dir->path);
	assert_int_equal(mknod(b->slot.device, S_IFBLK | 0600, makedev(NOBODYS_MAJOR, 1)), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir;

	slot_mount_done(&b->m);
	umount2(b->dir->path, MNT_DETACH);
	tmp_dir_teardown(&dir);
	free(b);
	return 0;
}

/* As mounted, with a file system of the test's in the slot's place. */
static void mount_something(struct bench *b)
{
	b->m.standby = b->slot;
	snprintf(b->m.standby_dir, sizeof(b->m.standby_dir), "%s/mnt", b->dir->path);
	assert_int_equal(mkdir(b->m.standby_dir, 0700), 0);
	assert_int_equal(mount("slot", b->m.standby_dir, "tmpfs", 0, NULL), 0);
	b->m.standby_fd = open(b->m.standby_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(b->m.standby_fd >= 0);
}

/* ---- looking ---- */

enum {
	SLOT_BYTES = 8 << 20,
	AT_STATE = 1024 + 0x3a, /* of ext4's superblock, in the device */
	AT_INCOMPAT = 1024 + 0x60,
	AT_LAST_ORPHAN = 1024 + 0xe8,
};

static void tool(const char *const *argv, struct buf *out)
{
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = out}, &err) < 0)
		fail_msg("%s", err.msg);
}

/* An ext4 with one file on a device of its own. */
static void make_slot(struct bench *b)
{
	char image[128], point[128];
	const char *const mkfs[] = {"mkfs.ext4", "-q", "-F", image, NULL};
	const char *const losetup[] = {"losetup", "--show", "-f", image, NULL};
	AUTO_BUF struct buf out = {0};
	AUTO_CLOSE int fd = -1, file_fd = -1;

	snprintf(image, sizeof(image), "%s/image", b->dir->path);
	snprintf(point, sizeof(point), "%s/point", b->dir->path);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, SLOT_BYTES), 0);
	tool(mkfs, NULL);
	tool(losetup, &out);
	snprintf(b->slot.device, sizeof(b->slot.device), "%.*s", (int)strcspn(buf_str(&out), "\n"),
		buf_str(&out));
	assert_int_equal(mkdir(point, 0700), 0);
	assert_int_equal(mount(b->slot.device, point, "ext4", 0, NULL), 0);
	strcat(point, "/file");
	file_fd = open(point, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(file_fd, "here", 4), 4);
	closep(&file_fd);
	*strrchr(point, '/') = '\0';
	assert_int_equal(umount(point), 0);
}

static void drop_slot(struct bench *b)
{
	const char *const detach[] = {"losetup", "-d", b->slot.device, NULL};

	slot_mount_done(&b->m);
	slot_mount_init(&b->m);
	tool(detach, NULL);
}

static void slot_bytes(const struct bench *b, char *ret_bytes)
{
	AUTO_CLOSE int fd = open(b->slot.device, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, ret_bytes, SLOT_BYTES, 0), SLOT_BYTES);
}

/* Look, and be sure that it left every byte alone. */
static void look(struct bench *b)
{
	AUTO_FREE char *before = malloc(SLOT_BYTES);
	AUTO_FREE char *after = malloc(SLOT_BYTES);

	slot_bytes(b, before);
	slot_mount_done(&b->m);
	slot_mount_init(&b->m);
	if (slot_mount_look(&b->m, &b->slot, "/", b->dir->path, &b->err) < 0)
		fail_msg("%s", b->err.msg);
	assert_true(b->m.active_fd >= 0);
	if (b->m.usable)
		assert_int_equal(faccessat(b->m.standby_fd, "file", F_OK, 0), 0);
	else
		assert_int_equal(b->m.standby_fd, -1);
	slot_bytes(b, after);
	assert_memory_equal(before, after, SLOT_BYTES);
}

static void put_bytes(const struct bench *b, off_t at, const char *bytes, size_t n)
{
	AUTO_CLOSE int fd = open(b->slot.device, O_RDWR | O_CLOEXEC);

	assert_int_equal(pwrite(fd, bytes, n, at), n);
	assert_int_equal(fsync(fd), 0);
}

static void a_slot_that_was_closed_is_looked_at_and_left_alone(void **state)
{
	struct bench *b = *state;
	struct slot_space space;

	make_slot(b);
	look(b);
	assert_true(b->m.usable);
	assert_int_equal(faccessat(b->m.active_fd, "etc", F_OK, 0), 0);
	assert_int_equal(openat(b->m.standby_fd, "new", O_CREAT | O_RDWR | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(slot_mount_space(&b->m, &space, &b->err), 0);
	assert_in_range(space.total_bytes, 1 << 20, SLOT_BYTES);
	drop_slot(b);
}

static void a_slot_that_is_to_be_mended_first_is_not_looked_at(void **state)
{
	static const struct {
		off_t at;
		char bytes[2];
	} marks[] = {
		{AT_STATE,       {0, 0}   }, /* not unmounted */
		{AT_STATE,       {3, 0}   }, /* has errors */
		{AT_STATE,       {5, 0}   }, /* its orphans are being dealt with */
		{AT_LAST_ORPHAN, {12, 0}  },
		{AT_INCOMPAT,    {0x46, 2}}, /* its journal is to be replayed */
	};
	struct bench *b = *state;
	struct slot_space space;
	char was[2];

	make_slot(b);
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		AUTO_FREE char *bytes = malloc(SLOT_BYTES);

		slot_bytes(b, bytes);
		memcpy(was, bytes + marks[i].at, 2);
		put_bytes(b, marks[i].at, marks[i].bytes, 2);
		look(b);
		assert_false(b->m.usable);
		put_bytes(b, marks[i].at, was, 2);
	}
	look(b);
	assert_true(b->m.usable);
	/* Of one without a file system its size is known. */
	put_bytes(b, 1024 + 0x38, "\0\0", 2);
	look(b);
	assert_false(b->m.usable);
	assert_int_equal(slot_mount_space(&b->m, &space, &b->err), 0);
	assert_in_range(space.total_bytes, SLOT_BYTES / 2, SLOT_BYTES);
	drop_slot(b);
}

static void a_slot_that_somebody_writes_to_is_left_to_them(void **state)
{
	struct bench *b = *state;
	char point[128];

	make_slot(b);
	snprintf(point, sizeof(point), "%s/point", b->dir->path);
	assert_int_equal(mount(b->slot.device, point, "ext4", 0, NULL), 0);
	look(b);
	assert_false(b->m.usable);
	strcat(point, "/still-here");
	assert_int_equal(mkdir(point, 0700), 0);
	*strrchr(point, '/') = '\0';
	assert_int_equal(umount(point), 0);
	drop_slot(b);
}

/* What it says is for its own system; here it would be the running one that panics. */
static void a_slot_that_asks_for_a_panic_does_not_get_it(void **state)
{
	struct bench *b = *state;
	const char *const tune[] = {"tune2fs", "-e", "panic", b->slot.device, NULL};
	char line[4096], options[4096] = "";
	AUTO_FCLOSE FILE *f = NULL;

	make_slot(b);
	tool(tune, NULL);
	look(b);
	assert_true(b->m.usable);
	f = fopen("/proc/self/mountinfo", "re");
	while (fgets(line, sizeof(line), f))
		if (strstr(line, b->m.standby_dir))
			strcpy(options, line);
	assert_non_null(strstr(options, "errors=continue"));
	drop_slot(b);
}

static void a_slot_that_this_kernel_can_only_read_is_to_be_made_anew(void **state)
{
	struct bench *b = *state;
	const char *const unknown[] = {
		"debugfs", "-w", "-R", "feature FEATURE_R20", b->slot.device, NULL};
	AUTO_BUF struct buf out = {0};

	make_slot(b);
	tool(unknown, &out);
	look(b);
	assert_true(b->m.usable);
	assert_int_equal(slot_mount_make_writable(&b->m, false, &b->err), -EUCLEAN);
	assert_int_equal(slot_mount_make_writable(&b->m, true, &b->err), 0);
	drop_slot(b);
}

static void close_slot(struct bench *b)
{
	make_slot(b);
	look(b);
	assert_int_equal(slot_mount_make_writable(&b->m, false, &b->err), 0);
	assert_int_equal(slot_mount_close_standby(&b->m, &b->err), 0);
}

static void what_was_closed_whole_is_looked_at_again(void **state)
{
	struct bench *b = *state;

	close_slot(b);
	assert_int_equal(slot_mount_look_again(&b->m, &b->err), 0);
	assert_int_equal(faccessat(b->m.standby_fd, "file", F_OK, 0), 0);
	assert_int_equal(openat(b->m.standby_fd, "new", O_CREAT | O_RDWR | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(slot_mount_end_look(&b->m, &b->err), 0);
	assert_int_equal(b->m.standby_fd, -1);
	drop_slot(b);
}

static void assert_damage_is_told_and_leaves_an_empty_slot(struct bench *b, int status)
{
	assert_int_equal(slot_mount_look_again(&b->m, &b->err), -EUCLEAN);
	assert_sentence(&b->err,
		"The standby slot does not keep what is written to it: its file system is damaged "
		"(e2fsck ended with %d)",
		status);
	assert_int_equal(b->m.standby_fd, -1);
	assert_int_equal(slot_mount_look_again(&b->m, &b->err), 0);
	assert_int_equal(faccessat(b->m.standby_fd, "lost+found", F_OK, 0), 0);
	assert_int_equal(faccessat(b->m.standby_fd, "file", F_OK, 0), -1);
	drop_slot(b);
}

static void an_inode_that_was_lost_is_told(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf out = {0};

	close_slot(b);
	tool((const char *const[]){"debugfs", "-w", "-R", "set_inode_field /file links_count 7",
		     b->slot.device, NULL},
		&out);
	assert_damage_is_told_and_leaves_an_empty_slot(b, 4);
}

/* No file shows it, and the mount for a look leaves the journal alone: the next start would be the first to see it. */
static void a_journal_that_was_lost_is_told(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf out = {0};
	char zeros[1024] = {0};

	close_slot(b);
	tool((const char *const[]){"debugfs", "-R", "bmap <8> 0", b->slot.device, NULL}, &out);
	put_bytes(b, strtol(buf_str(&out), NULL, 10) * 1024, zeros, 1024);
	assert_damage_is_told_and_leaves_an_empty_slot(b, 4 | 8);
}

static void what_is_no_slot_is_not_looked_at(void **state)
{
	struct bench *b = *state;

	snprintf(b->slot.device, sizeof(b->slot.device), "%s", b->dir->path);
	assert_int_equal(slot_mount_look(&b->m, &b->slot, "/", b->dir->path, &b->err), -ENODEV);
	assert_sentence(&b->err, "The standby slot %s is no block device", b->dir->path);
}

/* ---- taking ---- */

static void what_is_no_block_device_is_no_slot(void **state)
{
	struct bench *b = *state;

	snprintf(b->slot.device, sizeof(b->slot.device), "%s", b->dir->path);
	assert_int_equal(slot_mount_hold(&b->m, &b->slot, "/", &b->err), -ENODEV);
	assert_sentence(&b->err, "The standby slot %s is no block device", b->dir->path);
}

static void slot_of_the_running_system_is_left_alone(void **state)
{
	struct bench *b = *state;
	struct stat st;

	/* Whatever it is mounted from. */
	assert_int_equal(stat("/", &st), 0);
	assert_int_equal(unlink(b->slot.device), 0);
	assert_int_equal(mknod(b->slot.device, S_IFBLK | 0600, st.st_dev), 0);
	assert_int_equal(slot_mount_hold(&b->m, &b->slot, "/", &b->err), -EBUSY);
	assert_sentence(
		&b->err, "The standby slot %s is where the running system is", b->slot.device);
}

static void device_without_a_driver_is_said(void **state)
{
	struct bench *b = *state;

	assert_int_equal(slot_mount_hold(&b->m, &b->slot, "/", &b->err), -ENXIO);
	assert_sentence(&b->err, "Cannot open the standby slot %s: No such device or address",
		b->slot.device);
}

/* As the kernel does with what it has for itself, or for another namespace. */
static int hold_where_it_is_busy(void *ctx)
{
	struct bench *b = ctx;

	CHECK(refusal_call_with(SYS_openat, 2, O_RDWR | O_EXCL | O_CLOEXEC, EBUSY) == 0);
	CHECK(slot_mount_hold(&b->m, &b->slot, "/", &b->err) == -EBUSY);
	CHECK(sentence_is(&b->err,
		"The standby slot %s is in use by something that cannot be seen from here",
		b->slot.device));
	return 0;
}

static void slot_whose_user_cannot_be_seen_is_left_alone(void **state)
{
	assert_int_equal(in_child(hold_where_it_is_busy, *state), 0);
}

/* ---- room ---- */

static void device_whose_size_is_not_told_has_no_room(void **state)
{
	struct bench *b = *state;
	struct slot_space space;

	b->m.standby = b->slot;
	assert_int_equal(slot_mount_space(&b->m, &space, &b->err), -ENXIO);
	assert_sentence(&b->err, "Cannot ask for the size of %s: No such device or address",
		b->slot.device);
}

static int ask_for_room_in_vain(void *ctx)
{
	struct bench *b = ctx;
	struct slot_space space;

	CHECK(refusal_call(SYS_fstatfs, EIO) == 0);
	CHECK(slot_mount_space(&b->m, &space, &b->err) == -EIO);
	CHECK(sentence_is(
		&b->err, "Cannot ask for the room on %s: Input/output error", b->slot.device));
	return 0;
}

static void file_system_that_does_not_tell_its_room_is_said(void **state)
{
	struct bench *b = *state;

	mount_something(b);
	assert_int_equal(in_child(ask_for_room_in_vain, b), 0);
}

/* ---- writing ---- */

static void file_system_that_cannot_be_made_is_said_with_the_tools_words(void **state)
{
	struct bench *b = *state;

	mount_something(b);
	assert_int_equal(slot_mount_make_writable(&b->m, true, &b->err), -EIO);
	assert_non_null(strstr(b->err.msg,
		"Cannot make a file system on the standby slot: mkfs.ext4 failed with status 1: "));
	assert_int_equal(b->m.standby_fd, -1);
}

/* The named step. */
static int fail_at(void *ctx, const char *what)
{
	return strcmp(what, ctx) == 0 ? -EIO : 0;
}

static int close_with_failing(struct bench *b, const char *what)
{
	int r;

	io_set_hook(fail_at, (void *)(uintptr_t)what);
	r = slot_mount_close_standby(&b->m, &b->err);
	io_set_hook(NULL, NULL);
	return r;
}

static void what_was_not_written_is_not_closed(void **state)
{
	struct bench *b = *state;

	mount_something(b);
	assert_int_equal(close_with_failing(b, "sync the standby slot"), -EIO);
	assert_sentence(&b->err, "Cannot write the standby slot to the disk: Input/output error");
	assert_true(b->m.standby_fd >= 0);
}

static void device_that_cannot_be_synced_is_said(void **state)
{
	struct bench *b = *state;

	mount_something(b);
	/* A file can be opened in the device's place. */
	assert_int_equal(unlink(b->slot.device), 0);
	close(open(b->slot.device, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(close_with_failing(b, "sync the standby device"), -EIO);
	assert_sentence(&b->err, "Cannot write %s to the disk: Input/output error", b->slot.device);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_slot_that_was_closed_is_looked_at_and_left_alone),
		T(a_slot_that_is_to_be_mended_first_is_not_looked_at),
		T(a_slot_that_somebody_writes_to_is_left_to_them),
		T(a_slot_that_asks_for_a_panic_does_not_get_it),
		T(a_slot_that_this_kernel_can_only_read_is_to_be_made_anew),
		T(what_was_closed_whole_is_looked_at_again),
		T(an_inode_that_was_lost_is_told),
		T(a_journal_that_was_lost_is_told),
		T(what_is_no_slot_is_not_looked_at),
		T(what_is_no_block_device_is_no_slot),
		T(slot_of_the_running_system_is_left_alone),
		T(device_without_a_driver_is_said),
		T(slot_whose_user_cannot_be_seen_is_left_alone),
		T(device_whose_size_is_not_told_has_no_room),
		T(file_system_that_does_not_tell_its_room_is_said),
		T(file_system_that_cannot_be_made_is_said_with_the_tools_words),
		T(what_was_not_written_is_not_closed),
		T(device_that_cannot_be_synced_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
