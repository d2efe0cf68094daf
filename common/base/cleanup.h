/*
 * cleanup: ownership in declarations. A variable declared AUTO_… is released at the end of its
 * block; TAKE_… moves it out. Each module adds its own AUTO_… beside its free function.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void freep(void *p)
{
	free(*(void **)p);
}

/* Keeps errno, so that it may run between a failed call and the look at its errno. */
static inline void closep(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define AUTO_FREE     CLEANUP(freep)
#define AUTO_CLOSE    CLEANUP(closep)
#define AUTO_FCLOSE   CLEANUP(fclosep)
#define AUTO_CLOSEDIR CLEANUP(closedirp)

#define TAKE_PTR(p)                     \
	__extension__({                 \
		__typeof__(p) t_ = (p); \
		(p) = NULL;             \
		t_;                     \
	})
#define TAKE_FD(fd)            \
	__extension__({        \
		int t_ = (fd); \
		(fd) = -1;     \
		t_;            \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)  ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)  ((a) > (b) ? (a) : (b))
