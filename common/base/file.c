/*
 * file: reading small files with a limit. Contract: file.h.
 */
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"

int file_read_fd(int fd, size_t max_bytes, struct buf *buf)
{
	size_t before = buf->len_bytes;
	char chunk[1 << 14];
	int r = 0;

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			break;
		}
		if (n == 0)
			return 0;
		if ((size_t)n > max_bytes - (buf->len_bytes - before)) {
			r = -EFBIG;
			break;
		}
		r = buf_append(buf, chunk, (size_t)n);
		if (r < 0)
			break;
	}
	buf->len_bytes = before;
	if (buf->data)
		buf->data[before] = '\0';
	return r;
}

static int read_regular(int fd, size_t max_bytes, struct buf *buf)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? file_read_fd(fd, max_bytes, buf) : -EINVAL;
}

int file_read(int dir_fd, const char *path, size_t max_bytes, struct buf *buf)
{
	/* O_NONBLOCK: a FIFO in the file's place must not hang the open. */
	AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : read_regular(fd, max_bytes, buf);
}

int file_read_beneath(int root_fd, const char *path, size_t max_bytes, struct buf *buf)
{
	AUTO_CLOSE int fd = path_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);

	return fd < 0 ? fd : read_regular(fd, max_bytes, buf);
}

static ssize_t fill(int fd, char *ret_text, size_t size_bytes)
{
	size_t len = 0;

	while (len < size_bytes) {
		ssize_t n = read(fd, ret_text + len, size_bytes - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return (ssize_t)len;
		len += (size_t)n;
	}
	return -EFBIG;
}

ssize_t file_read_word(int root_fd, const char *path, char *ret_text, size_t size_bytes)
{
	AUTO_CLOSE int fd = path_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;
	ssize_t n = fd;

	if (fd >= 0 && fstat(fd, &st) < 0)
		n = -errno;
	else if (fd >= 0)
		n = S_ISREG(st.st_mode) ? fill(fd, ret_text, size_bytes) : -EINVAL;
	ret_text[n > 0 ? n : 0] = '\0';
	return n;
}

const char *file_read_why(int r)
{
	return r == -EINVAL ? "it is not a regular file" : strerror(-r);
}

int file_write_all(int fd, const void *data, size_t len_bytes)
{
	const char *p = data;

	while (len_bytes > 0) {
		ssize_t n = write(fd, p, len_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}
