/*
 * clock_shift: a library for LD_PRELOAD that lets the wall clock of one program jump while it runs.
 *
 * CLOCK_SHIFT_FILE names a file that holds one int64_t, the seconds to add. It is mapped before main() begins, so that
 * a program that has given up its access to files still sees what a test writes there. The monotonic clock goes on.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *shift_s;

static void __attribute__((constructor)) map_shift(void)
{
	const char *path = getenv("CLOCK_SHIFT_FILE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = mmap(NULL, sizeof(*shift_s), PROT_READ, MAP_SHARED, fd, 0);

	/* A clock that does not jump would let every test pass. */
	if (fd < 0 || map == MAP_FAILED)
		abort();
	close(fd);
	shift_s = map;
}

static int64_t shift(void)
{
	return shift_s ? atomic_load(shift_s) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ret->tv_sec += shift();
	return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
