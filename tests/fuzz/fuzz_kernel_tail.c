/*
 * fuzz_kernel_tail: anything as a kernel's message, and as its log: a line comes out that is clean, or none. And each
 * line as one message of a device that hands them out.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/cleanup.h"
#include "otaclient/flight/kernel_tail.h"
#include "otaclient/status/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *line)
{
	size_t len = strnlen(line, KERNEL_LINE_MAX);

	assert(len < KERNEL_LINE_MAX);
	assert(text_is_clean(line, len));
	assert(!memchr(line, '\n', len));
}

static void hand_out(const char *text, size_t size)
{
	AUTO_BUF struct buf lines = {0};
	int ends[2];

	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	AUTO_CLOSE int device = ends[0];
	AUTO_CLOSE int far = ends[1];
	while (size > 0) {
		const char *nl = memchr(text, '\n', size);
		size_t len = nl ? (size_t)(nl + 1 - text) : size;

		if (send(far, text, len, MSG_NOSIGNAL) < 0)
			break; /* there is no room for more */
		text += len;
		size -= len;
	}
	assert(kernel_tail_warnings_from(device, &lines) == 0);
	assert(lines.len_bytes <= KERNEL_TAIL_MAX_BYTES);
	assert(lines.len_bytes == 0 || buf_str(&lines)[lines.len_bytes - 1] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[KERNEL_LINE_MAX];
	/* As long as it is and not a byte longer, so that a sanitizer sees who reads on. */
	char *text = malloc(size > 0 ? size : 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	if (kernel_tail_take(text, size, line))
		check(line);
	if (kernel_tail_death_line(text, size, line))
		check(line);
	hand_out(text, size);
	free(text);
	return 0;
}
