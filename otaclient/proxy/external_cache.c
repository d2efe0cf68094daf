/*
 * external_cache: find the disk, have it checked, mount it. Contract: external_cache.h.
 *
 * Whoever has a hand on the vehicle can plug such a disk in. What lies on it is hashed before it is served; the kernel
 * reads its structures, so only the one file system that such disks are made with is mounted, and only after e2fsck,
 * which is not in the kernel, has had no complaint. The disk is never written to, its journal not even replayed.
 */
#include "otaclient/proxy/external_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/mount.h"
#include "common/base/run.h"

enum {
	/* A disk that was unmounted in order takes no time; the update waits for any other. */
	FSCK_TIMEOUT_MS = 30 * 1000,
};

static void point_of(const char *run_dir, char ret_dir[PATH_MAX])
{
	snprintf(ret_dir, PATH_MAX, "%s/mnt/external_cache", run_dir);
}

/* In "mnt" nobody but root finds anything: the slots are mounted there as well. */
static int make_point(const char *run_dir, char ret_dir[PATH_MAX], struct ota_err *err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} parts[] = {
		{"",                    0755},
		{"/mnt",                0700},
		{"/mnt/external_cache", 0700},
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(ret_dir, PATH_MAX, "%s%s", run_dir, parts[i].name);
		if (mkdir(ret_dir, parts[i].mode) < 0 && errno != EEXIST)
			return ota_err_set(err, -errno, OTA_E_OTAPROXY_FAILED,
				"Cannot make the mount point %s: %s", ret_dir, strerror(errno));
	}
	return 0;
}

/* The kernel has one driver for all three, and it is asked by its own name. */
static bool is_ext(const char *type)
{
	return strcmp(type, "ext4") == 0 || strcmp(type, "ext3") == 0 || strcmp(type, "ext2") == 0;
}

static int find_disk(struct buf *ret_device, struct ota_err *err)
{
	AUTO_BUF struct buf type = {0};
	int r = mount_find_label(EXTERNAL_CACHE_LABEL, ret_device, &type, err);

	if (r == 0 && !is_ext(buf_str(&type)))
		return ota_err_set(err, -EMEDIUMTYPE, OTA_E_OTAPROXY_FAILED,
			"%s holds %s, not ext4", buf_str(ret_device), buf_str(&type));
	return r;
}

static int check_disk(const char *device, struct ota_err *err)
{
	const char *const argv[] = {"e2fsck", "-n", device, NULL};
	int status = 0;
	const struct run_args args = {
		.argv = argv, .timeout_ms = FSCK_TIMEOUT_MS, .ret_status = &status};
	int r = run_tool(&args, err);

	if (r == 0 && status != 0)
		return ota_err_set(err, -EUCLEAN, OTA_E_OTAPROXY_FAILED,
			"%s is damaged (e2fsck ended with status %d)", device, status);
	return r < 0 ? ota_err_wrap(err, r, "Cannot check %s", device) : 0;
}

int external_cache_mount(const char *run_dir, char ret_dir[PATH_MAX], struct ota_err *err)
{
	AUTO_BUF struct buf device = {0};
	char dir[PATH_MAX];
	int r = find_disk(&device, err);

	if (r < 0)
		return r;
	r = check_disk(buf_str(&device), err);
	if (r == 0)
		r = make_point(run_dir, dir, err);
	if (r == 0) /* what an earlier run that was killed has left */
		r = mount_undo(dir, true, err);
	if (r == 0)
		r = mount_private(buf_str(&device), dir, "ext4",
			MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_NOATIME,
			MOUNT_EXT4_TO_LOOK, err);
	if (r < 0) {
		ota_err_blame(err, OTA_E_OTAPROXY_FAILED);
		/* That there is none is the usual case, with a code of its own. */
		return r == -ENOENT ? -EIO : r;
	}
	memcpy(ret_dir, dir, PATH_MAX);
	return 0;
}

int external_cache_unmount(const char *run_dir, struct ota_err *err)
{
	char dir[PATH_MAX];
	int r;

	point_of(run_dir, dir);
	r = mount_undo(dir, false, err);
	if (r < 0) {
		ota_err_blame(err, OTA_E_OTAPROXY_FAILED);
		mount_undo(dir, true, NULL);
	}
	return r;
}

static bool is_mount_point(const char *path)
{
	AUTO_BUF struct buf source = {0};

	return mount_source_of(path, &source, NULL) == 0;
}

int external_cache_check_folder(const char *path, struct ota_err *err)
{
	AUTO_FREE char *real = NULL;
	struct statx st;

	/* First by name: a file server that does not answer must not hold up whoever only asks. */
	if (!is_mount_point(path)) {
		real = realpath(path, NULL);
		if (!real)
			return ota_err_set(err, -errno, OTA_E_OTAPROXY_FAILED,
				"Cannot use the folder %s: %s", path, strerror(errno));
		if (!is_mount_point(real))
			return ota_err_set(err, -ENOENT, OTA_E_OTAPROXY_FAILED,
				"Nothing is mounted on %s", path);
	}
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return ota_err_set(err, -errno, OTA_E_OTAPROXY_FAILED,
			"Cannot use the folder %s: %s", path, strerror(errno));
	if (!S_ISDIR(st.stx_mode))
		return ota_err_set(err, -ENOTDIR, OTA_E_OTAPROXY_FAILED, "%s is no folder", path);
	return 0;
}
