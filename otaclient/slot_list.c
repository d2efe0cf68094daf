/*
 * slot_list: whole lines, as many as fit a buffer. Contract: slot_list.h.
 */
#include "otaclient/slot_list.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/path.h"
#include "otaclient/standby_writer.h"

static const char list_name[] = "regulars.txt";

enum {
	BUFFER_BYTES =
		256
		<< 10, /* far more than the longest line: a path with each apostrophe written as four */
};

/* Give the whole lines to @each, and keep the rest. */
static int take_lines(
	char *data, size_t *len, list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	const char *last_lf = memrchr(data, '\n', *len);
	size_t whole = last_lf ? (size_t)(last_lf - data) + 1 : 0;
	int r;

	if (whole == 0)
		return *len == BUFFER_BYTES ? -EBADMSG : 0;
	r = list_text_each_regular(data, whole, list_name, each, ctx, err);
	*len -= whole;
	memmove(data, data + whole, *len);
	return r;
}

static int read_list(int fd, list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	AUTO_FREE char *data = malloc(BUFFER_BYTES);
	size_t len = 0;
	int r = 0;

	if (!data)
		return -ENOMEM;
	while (r == 0) {
		ssize_t n = read(fd, data + len, BUFFER_BYTES - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The last line may do without its end. */
		if (n == 0)
			return list_text_each_regular(data, len, list_name, each, ctx, err);
		len += (size_t)n;
		r = take_lines(data, &len, each, ctx, err);
	}
	return r;
}

int slot_list_read(int slot_fd, list_text_regular_fn *each, void *ctx, struct ota_err *err)
{
	AUTO_CLOSE int meta_fd = path_open(slot_fd, STANDBY_META_NAME, O_PATH | O_DIRECTORY, 0);
	AUTO_CLOSE int fd = -1;
	struct stat st;

	if (meta_fd < 0)
		return -ENOENT;
	fd = path_open(meta_fd, list_name, O_RDONLY | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return fd;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EBADMSG;
	return read_list(fd, each, ctx, err);
}
