/*
 * mark_points: linked into a program, it tells the name of each durable step (common/base/io.h) before it is done.
 *
 * MARK_FILE names the file that takes them, one write each: write_log's `mark`, which puts them into the log of the
 * disk. Without it the program is as without this.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/io.h"

static int mark_fd = -1;

static int tell(void *ctx, const char *what)
{
	/* A disk whose log has gaps would let every test pass. */
	if (write(mark_fd, what, strlen(what)) < 0)
		abort();
	return 0;
}

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv("MARK_FILE");

	if (!path)
		return;
	mark_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (mark_fd < 0)
		abort();
	io_set_hook(tell, NULL);
}
