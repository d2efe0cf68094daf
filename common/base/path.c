/*
 * path: confined opening by openat2(2). Contract: path.h.
 */
#include "common/base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool path_is_component(const char *name, size_t len_bytes)
{
	if (len_bytes == 0 || len_bytes > NAME_MAX)
		return false;
	if (memchr(name, '/', len_bytes) || memchr(name, '\0', len_bytes))
		return false;
	if (name[0] == '.' && (len_bytes == 1 || (len_bytes == 2 && name[1] == '.')))
		return false;
	return true;
}

bool path_is_canonical(const char *path, size_t len_bytes)
{
	size_t at = 0;

	if (len_bytes < 2 || len_bytes >= PATH_MAX)
		return false;
	while (at < len_bytes) {
		const char *end;
		size_t len;

		if (path[at] != '/')
			return false;
		at++;
		end = memchr(path + at, '/', len_bytes - at);
		len = end ? (size_t)(end - (path + at)) : len_bytes - at;
		if (!path_is_component(path + at, len))
			return false;
		at += len;
	}
	return true;
}

bool path_is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static int open_resolved(int root_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
		.resolve = resolve,
	};
	long fd;

	while (*path == '/')
		path++;
	do
		fd = syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : (int)fd;
}

int path_open(int root_fd, const char *path, int flags, mode_t mode)
{
	return open_resolved(root_fd, path, flags | O_NOFOLLOW, mode,
		RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS);
}

int path_open_in_root(int root_fd, const char *path, int flags, mode_t mode)
{
	return open_resolved(root_fd, path, flags, mode,
		RESOLVE_IN_ROOT | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS);
}

int path_open_parent(int root_fd, const char *path, const char **ret_name)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t len = (size_t)(name - path);
	int fd;

	if (!path_is_component(name, strlen(name)))
		return -EINVAL;
	if (len >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, len);
	parent[len] = '\0';
	fd = path_open(root_fd, parent, O_PATH | O_DIRECTORY, 0);
	if (fd >= 0)
		*ret_name = name;
	return fd;
}
