/*
 * machine_claim: the lock in /run, and the process id beside it. Contract: machine_claim.h.
 *
 * The lock is ours alone and goes with the process, so an id that is left behind is no sign of life. The Python client
 * has no lock: its sign is the id of a process that is still there, and still it.
 */
#include "otaclient/machine_claim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "common/base/file.h"

#define LOCK_PATH "/run/otaclient.lock"
#define PID_PATH  "/run/otaclient.pid"

enum {
	PID_FILE_MAX_BYTES = 32,
	CMDLINE_MAX_BYTES = 64 * 1024,
};

static const char client_name[] = "otaclient";

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "python3 -m otaclient", or one that was made into a program of that name. */
bool machine_claim_is_python_client(const char *cmdline, size_t len_bytes)
{
	const char *end = cmdline + len_bytes, *before = "";

	for (const char *arg = cmdline; arg < end; arg += strnlen(arg, (size_t)(end - arg)) + 1) {
		size_t len = strnlen(arg, (size_t)(end - arg));

		/* Cut off, or not ended as the kernel ends it. */
		if (arg + len == end)
			return false;
		if (arg == cmdline && strcmp(base_name(arg), client_name) == 0)
			return true;
		if (arg == cmdline && strncmp(base_name(arg), "python", 6) != 0)
			return false;
		if (strcmp(before, "-m") == 0)
			return strcmp(arg, client_name) == 0;
		before = arg;
	}
	return false;
}

/* 0 = there is none, or none that could be one. */
static uint64_t read_pid(void)
{
	AUTO_BUF struct buf text = {0};
	uint64_t pid;

	if (file_read(AT_FDCWD, PID_PATH, PID_FILE_MAX_BYTES, &text) < 0)
		return 0;
	while (text.len_bytes > 0 && strchr("\r\n ", text.data[text.len_bytes - 1]))
		text.data[--text.len_bytes] = '\0';
	return decimal_parse(buf_str(&text), text.len_bytes, 1, INT_MAX, &pid) == 0 ? pid : 0;
}

static int refuse_python_client(struct ota_err *err)
{
	AUTO_BUF struct buf cmdline = {0};
	uint64_t pid = read_pid();
	char path[64];

	if (pid == 0 || pid == (uint64_t)getpid())
		return 0;
	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cmdline", pid);
	if (file_read(AT_FDCWD, path, CMDLINE_MAX_BYTES, &cmdline) < 0 ||
		!machine_claim_is_python_client(cmdline.data, cmdline.len_bytes))
		return 0;
	return ota_err_set(err, -EBUSY, OTA_E_STARTUP_FAILED,
		"The Python client is running on this machine, as process %" PRIu64
		"; stop and disable it first",
		pid);
}

static int write_pid(struct ota_err *err)
{
	AUTO_CLOSE int fd = -1;
	char pid[32];

	/* Whatever was there, a fifo that nobody reads among it. */
	if (unlink(PID_PATH) == 0 || errno == ENOENT)
		fd = open(PID_PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (fd < 0 || file_write_all(fd, pid, strlen(pid)) < 0)
		return ota_err_set(err, -EIO, OTA_E_STARTUP_FAILED, "Cannot write %s: %s", PID_PATH,
			strerror(errno));
	return 0;
}

/* Without the lock nothing in /run is ours. */
int machine_claim(int *ret_lock_fd, struct ota_err *err)
{
	AUTO_CLOSE int fd = open(LOCK_PATH, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return ota_err_set(err, -errno, OTA_E_STARTUP_FAILED, "Cannot open %s: %s",
			LOCK_PATH, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return ota_err_set(err, -errno, OTA_E_STARTUP_FAILED,
			"Another otaclient is running on this machine (%s is locked)", LOCK_PATH);
	r = refuse_python_client(err);
	if (r == 0)
		r = write_pid(err);
	if (r == 0)
		*ret_lock_fd = TAKE_FD(fd);
	return r;
}

void machine_release(int lock_fd)
{
	if (lock_fd < 0)
		return;
	unlink(PID_PATH);
	close(lock_fd);
}
