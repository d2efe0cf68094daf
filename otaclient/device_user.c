/*
 * device_user: look for a device in the mounts and open files of every process. Contract: device_user.h.
 */
#include "otaclient/device_user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/mount.h"

/* Has the process something open below @dev? Its folder, its root, its program, or a file. */
static bool process_uses(int proc_fd, const char *pid, dev_t dev)
{
	static const char *const links[] = {"cwd", "root", "exe"};
	char path[64];
	AUTO_CLOSEDIR DIR *fds = NULL;
	struct dirent *e;
	struct stat st;
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(path, sizeof(path), "%.16s/%s", pid, links[i]);
		if (fstatat(proc_fd, path, &st, 0) == 0 && st.st_dev == dev)
			return true;
	}
	snprintf(path, sizeof(path), "%.16s/fd", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds = fd < 0 ? NULL : fdopendir(fd);
	while (fds && (e = readdir(fds)))
		if (e->d_name[0] != '.' && fstatat(fd, e->d_name, &st, 0) == 0 && st.st_dev == dev)
			return true;
	return false;
}

int device_user_find_process(dev_t dev, struct buf *ret_text)
{
	AUTO_CLOSEDIR DIR *proc = opendir("/proc");
	AUTO_BUF struct buf comm = {0};
	char path[64];
	struct dirent *e;

	while (proc && (e = readdir(proc))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
			!process_uses(dirfd(proc), e->d_name, dev))
			continue;
		snprintf(path, sizeof(path), "%.16s/comm", e->d_name);
		(void)file_read(dirfd(proc), path, 256, &comm);
		return buf_printf(ret_text, ", used by %.*s (process %s)",
			(int)strcspn(buf_str(&comm), "\n"), buf_str(&comm), e->d_name);
	}
	return 0;
}

int device_user_find(dev_t dev, struct buf *ret_text)
{
	AUTO_BUF struct buf point = {0};
	int r;

	if (mount_point_of(dev, &point, NULL) < 0)
		return mount_find_holder(dev, ret_text);
	r = buf_printf(ret_text, "it is mounted on %s", buf_str(&point));
	return r < 0 ? r : device_user_find_process(dev, ret_text);
}
