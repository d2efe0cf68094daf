/*
 * slot_mount: a standby slot that cannot be taken, written or closed. What becomes of a good one: test_law.py. Needs
 * root, for device files and mounts in a namespace of its own.
 */
#include "otaclient/slot_mount.h"

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
	struct space space;

	b->m.standby = b->slot;
	assert_int_equal(slot_mount_space(&b->m, &space, &b->err), -ENXIO);
	assert_sentence(&b->err, "Cannot ask for the size of %s: No such device or address",
		b->slot.device);
}

static int ask_for_room_in_vain(void *ctx)
{
	struct bench *b = ctx;
	struct space space;

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
