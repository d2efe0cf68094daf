/*
 * external_cache: a real file system on a loop device, in a mount namespace and with a /dev of our own, so that no other
 * disk of the machine is found. Needs root.
 */
#include "otaclient/proxy/external_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/mount.h"
#include "common/base/run.h"
#include "tests/unit/in_child.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"
#include "tests/unit/tmp_dir.h"

enum {
	DISK_BYTES = 8 << 20,
	LOOP_MAJOR = 7,
	LOOP_TRIES_MAX = 64, /* others of this machine take some, too */
};

struct bench {
	struct tmp_dir *dir;
	char image[80], run[80], point[112], device[32];
	int loop_fd;
	struct ota_err err;
};

static void must_run(const char *const *argv)
{
	const struct run_args args = {.argv = argv};
	struct ota_err err = {0};

	if (run_tool(&args, &err) < 0)
		fail_msg("%s", err.msg);
}

/* A disk image of the given kind, with data/file in it. */
static void make_image(struct bench *b, const char *type, const char *label)
{
	char tree[128], data[160], file[192];
	AUTO_CLOSE int fd = -1;

	snprintf(tree, sizeof(tree), "%s/tree", b->dir->path);
	snprintf(data, sizeof(data), "%s/data", tree);
	snprintf(file, sizeof(file), "%s/file", data);
	assert_int_equal(mkdir(tree, 0755), 0);
	assert_int_equal(mkdir(data, 0755), 0);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(file_write_all(fd, "content", 7), 0);
	closep(&fd);
	fd = open(b->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	must_run((const char *const[]){
		"mke2fs", "-q", "-F", "-t", type, "-L", label, "-d", tree, b->image, NULL});
}

/* Plug the image in. It is gone with its last user. */
static void plug_in(struct bench *b)
{
	AUTO_CLOSE int image_fd = open(b->image, O_RDWR | O_CLOEXEC);
	AUTO_CLOSE int control_fd = -1;
	struct loop_config config = {.fd = (uint32_t)image_fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR};

	assert_int_equal(mknod("/dev/loop-control", S_IFCHR | 0600, makedev(10, 237)), 0);
	control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	assert_true(control_fd >= 0);
	for (unsigned i = 0; i < LOOP_TRIES_MAX; i++) {
		int n = ioctl(control_fd, LOOP_CTL_GET_FREE);

		assert_true(n >= 0);
		snprintf(b->device, sizeof(b->device), "/dev/loop%d", n);
		assert_int_equal(
			mknod(b->device, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)n)), 0);
		b->loop_fd = open(b->device, O_RDWR | O_CLOEXEC);
		assert_true(b->loop_fd >= 0);
		if (ioctl(b->loop_fd, LOOP_CONFIGURE, &config) == 0)
			return;
		assert_int_equal(errno, EBUSY); /* somebody was faster */
		closep(&b->loop_fd);
		b->loop_fd = -1;
		unlink(b->device);
	}
	fail_msg("no loop device is free");
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	b->loop_fd = -1;
	snprintf(b->image, sizeof(b->image), "%s/image", b->dir->path);
	snprintf(b->run, sizeof(b->run), "%s/run", b->dir->path);
	snprintf(b->point, sizeof(b->point), "%s/mnt/external_cache", b->run);
	assert_int_equal(mount("dev", "/dev", "tmpfs", 0, "mode=0755"), 0);
	assert_int_equal(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir;

	mount_undo(b->point, true, NULL);
	closep(&b->loop_fd);
	umount2("/dev", MNT_DETACH);
	tmp_dir_teardown(&dir);
	free(b);
	return 0;
}

#define bench_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static bool is_mounted(const struct bench *b)
{
	AUTO_BUF struct buf source = {0};

	return mount_source_of(b->point, &source, NULL) == 0;
}

/* ---- the disk ---- */

static void a_disk_with_the_label_is_mounted_and_nothing_of_it_can_be_run(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf source = {0};
	char dir[PATH_MAX], file[PATH_MAX + 16];
	struct statvfs v;
	struct stat st;

	make_image(b, "ext4", "ota_cache_src");
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), 0);
	assert_string_equal(dir, b->point);
	assert_int_equal(mount_source_of(b->point, &source, NULL), 0);
	assert_string_equal(buf_str(&source), b->device);
	assert_int_equal(statvfs(dir, &v), 0);
	assert_int_equal(v.f_flag & (ST_RDONLY | ST_NODEV | ST_NOSUID | ST_NOEXEC),
		ST_RDONLY | ST_NODEV | ST_NOSUID | ST_NOEXEC);
	snprintf(file, sizeof(file), "%s/data/file", dir);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, 7);
	/* The slots lie beside it. */
	snprintf(file, sizeof(file), "%s/mnt", b->run);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(external_cache_unmount(b->run, &b->err), 0);
	assert_false(is_mounted(b));
	assert_int_equal(external_cache_unmount(b->run, &b->err), 0);
}

static void the_disk_is_not_written_to(void **state)
{
	struct bench *b = *state;
	AUTO_BUF struct buf before = {0}, after = {0};
	char dir[PATH_MAX];

	make_image(b, "ext4", "ota_cache_src");
	/* As a disk looks that was pulled out while it was in use. */
	must_run((const char *const[]){
		"debugfs", "-w", "-R", "feature +needs_recovery", b->image, NULL});
	assert_int_equal(file_read(AT_FDCWD, b->image, DISK_BYTES, &before), 0);
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), 0);
	assert_int_equal(external_cache_unmount(b->run, &b->err), 0);
	assert_int_equal(fsync(b->loop_fd), 0);
	assert_int_equal(file_read(AT_FDCWD, b->image, DISK_BYTES, &after), 0);
	assert_int_equal(before.len_bytes, after.len_bytes);
	assert_true(memcmp(before.data, after.data, before.len_bytes) == 0);
}

static void without_such_a_disk_there_is_none(void **state)
{
	struct bench *b = *state;
	char dir[PATH_MAX];

	make_image(b, "ext4", "ota_cache");
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), -ENOENT);
	assert_string_equal(b->err.msg, "There is no file system with the label ota_cache_src");
	assert_int_equal(faccessat(b->dir->fd, "run", F_OK, 0), -1);
}

static void a_damaged_disk_is_not_mounted(void **state)
{
	struct bench *b = *state;
	char dir[PATH_MAX], sentence[128];

	make_image(b, "ext4", "ota_cache_src");
	must_run((const char *const[]){"debugfs", "-w", "-R", "clri /data", b->image, NULL});
	must_run((const char *const[]){
		"debugfs", "-w", "-R", "set_super_value state 2", b->image, NULL});
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), -EUCLEAN);
	snprintf(sentence, sizeof(sentence), "%s is damaged (e2fsck ended with status 4)",
		b->device);
	assert_string_equal(b->err.msg, sentence);
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
	assert_false(is_mounted(b));
}

static int mount_without_a_tool(void *ctx)
{
	struct bench *b = ctx;
	char dir[PATH_MAX];

	CHECK(refusal_call(SYS_execve, EACCES) == 0);
	CHECK(external_cache_mount(b->run, dir, &b->err) < 0);
	CHECK(sentence_is(
		&b->err, "Cannot check %s: Cannot run e2fsck: Permission denied", b->device));
	CHECK(b->err.code == OTA_E_OTAPROXY_FAILED);
	CHECK(!is_mounted(b));
	return 0;
}

static void a_disk_that_cannot_be_checked_is_not_mounted(void **state)
{
	struct bench *b = *state;

	make_image(b, "ext4", "ota_cache_src");
	plug_in(b);
	assert_int_equal(in_child(mount_without_a_tool, b), 0);
}

static void another_kind_of_file_system_is_not_mounted(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int fd = open(b->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char dir[PATH_MAX], sentence[128];

	assert_true(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	must_run((const char *const[]){"mkswap", "-L", "ota_cache_src", b->image, NULL});
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), -EMEDIUMTYPE);
	snprintf(sentence, sizeof(sentence), "%s holds swap, not ext4", b->device);
	assert_string_equal(b->err.msg, sentence);
}

static void a_disk_that_somebody_writes_to_is_an_error(void **state)
{
	struct bench *b = *state;
	char dir[PATH_MAX], sentence[192];

	make_image(b, "ext2", "ota_cache_src");
	plug_in(b);
	assert_int_equal(mkdirat(b->dir->fd, "media", 0755), 0);
	snprintf(dir, sizeof(dir), "%s/media", b->dir->path);
	assert_int_equal(mount(b->device, dir, "ext4", 0, NULL), 0);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), -EBUSY);
	snprintf(sentence, sizeof(sentence), "Cannot mount %s on %s: Device or resource busy",
		b->device, b->point);
	assert_string_equal(b->err.msg, sentence);
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
	assert_false(is_mounted(b));
	assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

static void a_mount_point_that_cannot_be_made_is_an_error(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int fd = openat(b->dir->fd, "run", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char dir[PATH_MAX], sentence[256];

	assert_true(fd >= 0);
	make_image(b, "ext4", "ota_cache_src");
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), -ENOTDIR);
	snprintf(sentence, sizeof(sentence), "Cannot make the mount point %s/mnt: Not a directory",
		b->run);
	assert_string_equal(b->err.msg, sentence);
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
}

static void what_is_still_used_goes_with_its_user(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int used_fd = -1;
	char dir[PATH_MAX], sentence[256];

	make_image(b, "ext4", "ota_cache_src");
	plug_in(b);
	assert_int_equal(external_cache_mount(b->run, dir, &b->err), 0);
	used_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(external_cache_unmount(b->run, &b->err), -EBUSY);
	snprintf(
		sentence, sizeof(sentence), "Cannot unmount %s: Device or resource busy", b->point);
	assert_string_equal(b->err.msg, sentence);
	assert_false(is_mounted(b));
}

/* ---- the folder ---- */

static void a_folder_counts_if_something_is_mounted_on_it(void **state)
{
	struct bench *b = *state;
	char folder[128], link[128], sentence[256];

	snprintf(folder, sizeof(folder), "%s/nfs", b->dir->path);
	snprintf(link, sizeof(link), "%s/link", b->dir->path);
	assert_int_equal(external_cache_check_folder(folder, &b->err), -ENOENT);
	snprintf(sentence, sizeof(sentence), "Cannot use the folder %s: No such file or directory",
		folder);
	assert_string_equal(b->err.msg, sentence);
	assert_int_equal(mkdir(folder, 0755), 0);
	assert_int_equal(symlink("nfs", link), 0);
	assert_int_equal(external_cache_check_folder(folder, &b->err), -ENOENT);
	snprintf(sentence, sizeof(sentence), "Nothing is mounted on %s", folder);
	assert_string_equal(b->err.msg, sentence);
	assert_int_equal(b->err.code, OTA_E_OTAPROXY_FAILED);
	assert_int_equal(mount("nfs", folder, "tmpfs", 0, NULL), 0);
	assert_int_equal(external_cache_check_folder(folder, &b->err), 0);
	assert_int_equal(external_cache_check_folder(link, &b->err), 0);
	assert_int_equal(umount2(folder, MNT_DETACH), 0);
}

static void a_mounted_file_is_no_folder(void **state)
{
	struct bench *b = *state;
	AUTO_CLOSE int fd = open(b->image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char sentence[256];

	assert_true(fd >= 0);
	assert_int_equal(mount(b->image, b->image, NULL, MS_BIND, NULL), 0);
	assert_int_equal(external_cache_check_folder(b->image, &b->err), -ENOTDIR);
	snprintf(sentence, sizeof(sentence), "%s is no folder", b->image);
	assert_string_equal(b->err.msg, sentence);
	assert_int_equal(umount2(b->image, MNT_DETACH), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bench_test(a_disk_with_the_label_is_mounted_and_nothing_of_it_can_be_run),
		bench_test(the_disk_is_not_written_to),
		bench_test(without_such_a_disk_there_is_none),
		bench_test(a_damaged_disk_is_not_mounted),
		bench_test(a_disk_that_cannot_be_checked_is_not_mounted),
		bench_test(another_kind_of_file_system_is_not_mounted),
		bench_test(a_disk_that_somebody_writes_to_is_an_error),
		bench_test(a_mount_point_that_cannot_be_made_is_an_error),
		bench_test(what_is_still_used_goes_with_its_user),
		bench_test(a_folder_counts_if_something_is_mounted_on_it),
		bench_test(a_mounted_file_is_no_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
