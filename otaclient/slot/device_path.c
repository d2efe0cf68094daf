/*
 * device_path: the kernel's name of a device. Contract: device_path.h.
 */
#include "otaclient/slot/device_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int device_path_of(int fd, char ret_path[DEVICE_PATH_MAX])
{
	char link[64], target[PATH_MAX];
	struct stat st, dev;
	const char *name;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return -ENODEV;
	target[n] = '\0';
	name = strrchr(target, '/');
	if (!name || (size_t)snprintf(ret_path, DEVICE_PATH_MAX, "/dev%s", name) >= DEVICE_PATH_MAX)
		return -ENODEV;
	/* Whatever has that name. */
	if (stat(ret_path, &dev) < 0 || !S_ISBLK(dev.st_mode) || dev.st_rdev != st.st_dev)
		return -ENODEV;
	return 0;
}
