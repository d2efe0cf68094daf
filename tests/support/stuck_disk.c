/*
 * stuck_disk: a library for LD_PRELOAD that lets one program's reads of some files never end, as those from a server
 * that is mounted and gone: of files that are STUCK_BYTES long.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
	const char *bytes = getenv("STUCK_BYTES");
	struct stat st;

	/* A disk that answers would let every test pass. */
	if (!bytes)
		abort();
	if (fstat(fd, &st) == 0 && st.st_size == atol(bytes)) {
		dprintf(STDERR_FILENO, "A read has begun that never ends\n");
		for (;;)
			poll(NULL, 0, -1);
	}
	return (ssize_t)syscall(SYS_pread64, fd, buf, len, at);
}
