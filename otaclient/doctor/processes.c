/*
 * processes: look into /proc. Contract: processes.h.
 */
#include "otaclient/doctor/processes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"

/* A program that was replaced since it was started. */
static const char deleted[] = " (deleted)";

void process_find(const struct machine *m, unsigned pid, struct process *ret)
{
	char path[64], full[PATH_MAX], exe[PATH_MAX];
	const char *name;
	struct stat st;
	ssize_t len;

	*ret = (struct process){0};
	snprintf(path, sizeof(path), "/proc/%u", pid);
	if (pid == 0 || machine_stat(m, path, &st) < 0)
		return;
	ret->pid = pid;
	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	len = readlink(machine_path(m, path, full), exe, sizeof(exe) - 1);
	if (len <= 0) {
		snprintf(path, sizeof(path), "/proc/%u/comm", pid);
		machine_read_line(m, path, ret->name, sizeof(ret->name));
		return;
	}
	exe[len] = '\0';
	if ((size_t)len > strlen(deleted) && strcmp(exe + len - strlen(deleted), deleted) == 0)
		exe[(size_t)len - strlen(deleted)] = '\0';
	name = strrchr(exe, '/');
	snprintf(ret->name, sizeof(ret->name), "%.*s", PROCESS_NAME_MAX - 1, name ? name + 1 : exe);
}

static bool has_open(int proc_fd, const char *pid, const char *what)
{
	char path[64], link[64];
	AUTO_CLOSEDIR DIR *fds = NULL;
	struct dirent *e;
	int fd;

	snprintf(path, sizeof(path), "%.16s/fd", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds = fd < 0 ? NULL : fdopendir(fd);
	while (fds && (e = readdir(fds))) {
		ssize_t len = readlinkat(fd, e->d_name, link, sizeof(link) - 1);

		if (len <= 0)
			continue;
		link[len] = '\0';
		if (strcmp(link, what) == 0)
			return true;
	}
	return false;
}

void process_find_by_socket(const struct machine *m, uint64_t inode, struct process *ret)
{
	char path[PATH_MAX], what[64];
	AUTO_CLOSEDIR DIR *proc = opendir(machine_path(m, "/proc", path));
	struct dirent *e;
	uint64_t pid;

	*ret = (struct process){0};
	snprintf(what, sizeof(what), "socket:[%" PRIu64 "]", inode);
	while (proc && ret->pid == 0 && (e = readdir(proc)))
		if (decimal_parse(e->d_name, strlen(e->d_name), 1, INT32_MAX, &pid) == 0 &&
			has_open(dirfd(proc), e->d_name, what))
			process_find(m, (unsigned)pid, ret);
}

void process_each(
	const struct machine *m, bool (*fn)(void *ctx, const struct process *p), void *ctx)
{
	char path[PATH_MAX];
	AUTO_CLOSEDIR DIR *proc = opendir(machine_path(m, "/proc", path));
	struct dirent *e;
	uint64_t pid;

	while (proc && (e = readdir(proc))) {
		struct process p;

		if (decimal_parse(e->d_name, strlen(e->d_name), 1, INT32_MAX, &pid) < 0)
			continue;
		process_find(m, (unsigned)pid, &p);
		if (p.pid != 0 && fn(ctx, &p))
			return;
	}
}

bool process_was_called_with(const struct machine *m, unsigned pid, const char *part)
{
	AUTO_BUF struct buf words = {0};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
	return machine_read(m, path, MACHINE_TEXT_MAX_BYTES, &words) == 0 && words.len_bytes > 0 &&
	       memmem(words.data, words.len_bytes, part, strlen(part)) != NULL;
}
