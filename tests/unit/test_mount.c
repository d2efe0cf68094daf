/*
 * test_mount: what is said where something is not mounted, not known or not allowed. mount(2) itself and two functions of
 * libblkid are stood in for: the kernel would want root, and the disk would have to be swapped at the right moment.
 *
 * What works is tested with real disks, in the integration tests of slots and of the external cache.
 */
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/mount.h"
#include "tests/unit/in_child.h"
#include "tests/unit/tmp_dir.h"

enum {
	DISK_BYTES = 1 << 20,
	EXT_MAGIC_AT = 1080,
	EXT_LABEL_AT = 1144,
};

/* ---- the stand-ins ---- */

static int n_mounts, failing_mount; /* 0: none fails */
static const char *labelled_disk;   /* what the search for a label finds; NULL: nothing */
static bool is_ambiguous;

int __wrap_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
	const void *data);
blkid_dev __wrap_blkid_find_dev_with_tag(blkid_cache cache, const char *type, const char *value);
int __wrap_blkid_do_safeprobe(blkid_probe probe);
int __real_blkid_do_safeprobe(blkid_probe probe);

int __wrap_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
	const void *data)
{
	if (++n_mounts != failing_mount)
		return 0;
	errno = EPERM;
	return -1;
}

blkid_dev __wrap_blkid_find_dev_with_tag(blkid_cache cache, const char *type, const char *value)
{
	return labelled_disk ? blkid_get_dev(cache, labelled_disk, BLKID_DEV_NORMAL) : NULL;
}

int __wrap_blkid_do_safeprobe(blkid_probe probe)
{
	return is_ambiguous ? -2 : __real_blkid_do_safeprobe(probe);
}

/* ---- disks ---- */

static const char *disk_path(const struct tmp_dir *d)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/disk", d->path);
	return path;
}

/* A disk with nothing, or with an ext2 that has a label. */
static void make_disk(const struct tmp_dir *d, const char *label)
{
	AUTO_CLOSE int fd = openat(d->fd, "disk", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	if (!label)
		return;
	assert_int_equal(pwrite(fd, "\x53\xef", 2, EXT_MAGIC_AT), 2);
	assert_int_equal(pwrite(fd, label, strlen(label), EXT_LABEL_AT), (ssize_t)strlen(label));
}

static int setup(void **state)
{
	n_mounts = failing_mount = 0;
	labelled_disk = NULL;
	is_ambiguous = false;
	return tmp_dir_setup(state);
}

static void says(const struct ota_err *err, int r, int want_r, const char *want)
{
	assert_int_equal(r, want_r);
	assert_string_equal(err->msg, want);
}

static void says_of_disk(const struct ota_err *err, const struct tmp_dir *d, int r, int want_r,
	const char *before, const char *behind)
{
	char sentence[256];

	snprintf(sentence, sizeof(sentence), "%s%s%s", before, disk_path(d), behind);
	says(err, r, want_r, sentence);
}

/* ---- tests ---- */

static void what_is_not_mounted_is_said(void **state)
{
	AUTO_BUF struct buf text = {0};
	struct ota_err err = {0};

	says(&err, mount_point_of(makedev(4095, 4095), &text, &err), -ENOENT,
		"The device is not mounted");
	says(&err, mount_source_of("/no/such/place", &text, &err), -ENOENT,
		"Nothing is mounted on /no/such/place");
	assert_int_equal(text.len_bytes, 0);
}

static int look_without_descriptors(void *ctx)
{
	const struct rlimit none = {0, 0};
	AUTO_BUF struct buf text = {0};
	struct ota_err err = {0};

	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK(mount_point_of(makedev(4095, 4095), &text, &err) == -EIO);
	CHECK(strcmp(err.msg, "Cannot read /proc/self/mountinfo") == 0);
	return 0;
}

static void a_table_of_mounts_that_cannot_be_read_is_not_taken_for_an_empty_one(void **state)
{
	assert_int_equal(in_child(look_without_descriptors, NULL), 0);
}

static void the_type_of_a_disk_is_told_or_why_not(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_BUF struct buf type = {0};
	struct ota_err err = {0};
	int r = mount_find_type(disk_path(d), &type, &err);

	says_of_disk(&err, d, r, -ENOENT, "Cannot open ", ": No such file or directory");
	make_disk(d, NULL);
	r = mount_find_type(disk_path(d), &type, &err);
	says_of_disk(&err, d, r, -ENOENT, "", " holds nothing that is known");
	make_disk(d, "OTA");
	is_ambiguous = true;
	r = mount_find_type(disk_path(d), &type, &err);
	says_of_disk(&err, d, r, -EBADMSG, "", " holds more than one thing, or cannot be read");
	assert_int_equal(type.len_bytes, 0);
	is_ambiguous = false;
	assert_int_equal(mount_find_type(disk_path(d), &type, &err), 0);
	assert_string_equal(buf_str(&type), "ext2");
}

static void a_disk_that_was_swapped_behind_the_search_is_refused(void **state)
{
	const struct tmp_dir *d = *state;
	AUTO_BUF struct buf device = {0};
	AUTO_BUF struct buf type = {0};
	struct ota_err err = {0};
	int r = mount_find_label("OTA", &device, &type, &err);

	says(&err, r, -ENOENT, "There is no file system with the label OTA");
	make_disk(d, "OTHER");
	labelled_disk = disk_path(d);
	r = mount_find_label("OTA", &device, &type, &err);
	says_of_disk(&err, d, r, -EBADMSG, "", " holds no single file system with the label OTA");
	assert_int_equal(device.len_bytes + type.len_bytes, 0);
	make_disk(d, "OTA");
	assert_int_equal(mount_find_label("OTA", &device, &type, &err), 0);
	assert_string_equal(buf_str(&device), disk_path(d));
	assert_string_equal(buf_str(&type), "ext2");
}

static void a_mount_that_cannot_be_private_is_none(void **state)
{
	struct ota_err err = {0};

	failing_mount = 1;
	says(&err, mount_private("/dev/x", "/no/such/place", "ext4", 0, NULL, &err), -EPERM,
		"Cannot mount /dev/x on /no/such/place: Operation not permitted");
	assert_int_equal(n_mounts, 1);
	/* The flags of a bind mount, private, unbindable: each may be refused. */
	for (failing_mount = 2; failing_mount <= 4; failing_mount++) {
		n_mounts = 0;
		says(&err,
			mount_private(
				"/a", "/no/such/place", NULL, MS_BIND | MS_RDONLY, NULL, &err),
			-EPERM, "Cannot make the mount of /a private: Operation not permitted");
		assert_int_equal(n_mounts, failing_mount);
	}
	n_mounts = 0;
	assert_int_equal(mount_private("/a", "/b", NULL, MS_BIND | MS_RDONLY, NULL, &err), 0);
	assert_int_equal(n_mounts, 4);
}

static void flags_that_cannot_be_changed_are_named(void **state)
{
	struct ota_err err = {0};

	failing_mount = 1;
	says(&err, mount_change("/x", MS_RDONLY, NULL, &err), -EPERM,
		"Cannot remount /x read-only: Operation not permitted");
	n_mounts = 0;
	says(&err, mount_change("/x", 0, NULL, &err), -EPERM,
		"Cannot remount /x writable: Operation not permitted");
	assert_int_equal(mount_change("/x", 0, NULL, &err), 0);
}

static int take_namespace_as_nobody(void *ctx)
{
	struct ota_err err = {0};

	CHECK(geteuid() != 0 || setuid(65534) == 0);
	CHECK(mount_own_namespace(&err) == -EPERM);
	CHECK(strcmp(err.msg,
		      "Cannot take a mount namespace of our own: Operation not permitted") == 0);
	return 0;
}

static void a_namespace_is_nothing_for_nobody(void **state)
{
	assert_int_equal(in_child(take_namespace_as_nobody, NULL), 0);
}

#define mount_test(t) cmocka_unit_test_setup_teardown(t, setup, tmp_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		mount_test(what_is_not_mounted_is_said),
		mount_test(a_table_of_mounts_that_cannot_be_read_is_not_taken_for_an_empty_one),
		mount_test(the_type_of_a_disk_is_told_or_why_not),
		mount_test(a_disk_that_was_swapped_behind_the_search_is_refused),
		mount_test(a_mount_that_cannot_be_private_is_none),
		mount_test(flags_that_cannot_be_changed_are_named),
		mount_test(a_namespace_is_nothing_for_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
