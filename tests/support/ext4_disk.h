/*
 * ext4_disk: a small ext4 on a loop device, mounted and unmounted as a test says. Needs root.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/run.h"
#include "tests/unit/tmp_dir.h"

enum {
	EXT4_DISK_BYTES = 64 << 20,
	EXT4_DISK_BLOCK = 4096,
};

struct ext4_disk {
	struct tmp_dir *dir;
	char image[128], point[128], device[128]; /* no device: none has been made */
	int root_fd;                              /* of the mount; -1 */
};

static inline void ext4_disk_tool(const char *const *argv, struct buf *out)
{
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = out}, &err) < 0)
		fail_msg("%s", err.msg);
}

static inline void ext4_disk_setup(struct ext4_disk *d)
{
	void *dir = NULL;

	*d = (struct ext4_disk){.root_fd = -1};
	assert_int_equal(tmp_dir_setup(&dir), 0);
	d->dir = dir;
	snprintf(d->image, sizeof(d->image), "%s/image", d->dir->path);
	snprintf(d->point, sizeof(d->point), "%s/point", d->dir->path);
	assert_int_equal(mkdir(d->point, 0700), 0);
}

static inline void ext4_disk_unmount(struct ext4_disk *d)
{
	close(d->root_fd);
	d->root_fd = -1;
	assert_int_equal(umount(d->point), 0);
}

static inline void ext4_disk_mount(struct ext4_disk *d, unsigned long flags)
{
	assert_int_equal(mount(d->device, d->point, "ext4", flags, NULL), 0);
	d->root_fd = open(d->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(d->root_fd >= 0);
}

/* Empty, mounted to be filled. One more option of mkfs, with its value. */
static inline void ext4_disk_make(struct ext4_disk *d, const char *option, const char *value)
{
	const char *const mkfs[] = {
		"mkfs.ext4", "-q", "-F", "-b", "4096", option, value, d->image, NULL};
	const char *const losetup[] = {"losetup", "--show", "-f", d->image, NULL};
	AUTO_BUF struct buf out = {0};
	AUTO_CLOSE int fd = open(d->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, EXT4_DISK_BYTES), 0);
	ext4_disk_tool(mkfs, NULL);
	ext4_disk_tool(losetup, &out);
	snprintf(d->device, sizeof(d->device), "%.*s", (int)strcspn(buf_str(&out), "\n"),
		buf_str(&out));
	ext4_disk_mount(d, 0);
}

static inline void ext4_disk_teardown(struct ext4_disk *d)
{
	const char *const detach[] = {"losetup", "-d", d->device, NULL};
	void *dir = d->dir;

	if (d->root_fd >= 0)
		ext4_disk_unmount(d);
	if (d->device[0])
		ext4_disk_tool(detach, NULL);
	tmp_dir_teardown(&dir);
}
