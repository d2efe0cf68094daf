/*
 * dead_fs: the server's side of FUSE, as little of it as a folder needs. Contract: dead_fs.h.
 */
#include "tests/support/dead_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	REQUEST_MAX_BYTES = 1 << 20,
};

static void must(int r, const char *what)
{
	if (r < 0) {
		perror(what);
		abort();
	}
}

static void answer(int fuse_fd, uint64_t unique, int error, const void *data, size_t len)
{
	char out[sizeof(struct fuse_out_header) + 256] = {0};
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + len), .error = error, .unique = unique};

	memcpy(out, &head, sizeof(head));
	if (len > 0)
		memcpy(out + sizeof(head), data, len);
	if (write(fuse_fd, out, sizeof(head) + len) < 0 && errno != ENOENT)
		must(-1, "write to /dev/fuse");
}

static void serve(int fuse_fd, char *request)
{
	const struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = 4096};
	/* What is known of the root is out of date at once. */
	const struct fuse_attr_out attr = {
		.attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2}
        };
	struct fuse_in_header head;

	if (read(fuse_fd, request, REQUEST_MAX_BYTES) < (ssize_t)sizeof(head))
		return;
	memcpy(&head, request, sizeof(head));
	if (head.opcode == FUSE_INIT)
		answer(fuse_fd, head.unique, 0, &init, sizeof(init));
	else if (head.opcode == FUSE_GETATTR)
		answer(fuse_fd, head.unique, 0, &attr, sizeof(attr));
	else if (head.opcode != FUSE_FORGET)
		answer(fuse_fd, head.unique, -ENOSYS, NULL, 0);
}

/* Until somebody says a word, or closes the pipe: then it only keeps the connection open. */
static _Noreturn void be_server(int fuse_fd, int told_fd)
{
	struct pollfd fuse = {.fd = fuse_fd, .events = POLLIN};
	struct pollfd told = {.fd = told_fd, .events = POLLIN};
	struct pollfd p[] = {fuse, told};
	char *request = malloc(REQUEST_MAX_BYTES);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (request && poll(p, 2, -1) > 0 && p[1].revents == 0)
		serve(fuse_fd, request);
	for (;;)
		pause();
}

void dead_fs_init(struct dead_fs *fs, const char *point)
{
	int fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), told[2];
	char options[64];
	struct stat st;

	must(fuse_fd, "/dev/fuse");
	must(pipe2(told, O_CLOEXEC), "pipe");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40755,user_id=0,group_id=0", fuse_fd);
	must(mount("dead", point, "fuse", MS_NODEV | MS_NOSUID, options), "mount fuse");
	*fs = (struct dead_fs){.point = point, .server = fork(), .tell_fd = told[1]};
	must(fs->server, "fork");
	if (fs->server == 0)
		be_server(fuse_fd, told[0]);
	close(fuse_fd);
	close(told[0]);
	must(stat(point, &st), point);
}

void dead_fs_die(struct dead_fs *fs)
{
	must(write(fs->tell_fd, "x", 1) == 1 ? 0 : -1, "tell the server");
}

void dead_fs_done(struct dead_fs *fs)
{
	umount2(fs->point, MNT_DETACH);
	kill(fs->server, SIGKILL);
	waitpid(fs->server, NULL, 0);
	close(fs->tell_fd);
}
