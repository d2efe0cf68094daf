/*
 * failing_alloc: malloc() and its like, failing on request. Contract: failing_alloc.h.
 *
 * As a library for LD_PRELOAD, it takes the request from FAILING_ALLOC="<nth> <file>", where only allocations count that
 * the program makes itself, or the C library for it; the file is made when the Nth is reached. So the thousands that
 * libraries make for themselves at their start do not have to be gone through.
 *
 * What stands below, ASan's functions or the C library's, is asked for at the first call; it does not allocate for
 * that.
 */
#include "tests/support/failing_alloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic unsigned long left; /* allocations up to the failing one; 0: none fails */
static _Atomic bool reached;
static bool goes_on;         /* after the first failure all fail */
static const char *mark;     /* file to make when the Nth is reached; NULL: a test asks */
static bool (*asked)(void);  /* decides, instead of the count; NULL: nobody */
static uintptr_t ours[2][2]; /* first and last address of the program and of the C library */

static _Thread_local bool sanitizer_asks; /* it gives up if it does not get what it asks for */

void failing_alloc_start(unsigned long nth, bool onwards)
{
	goes_on = onwards;
	atomic_store(&reached, false);
	atomic_store(&left, nth);
}

bool failing_alloc_stop(void)
{
	atomic_store(&left, 0);
	return atomic_load(&reached);
}

void failing_alloc_ask(bool (*fails)(void))
{
	asked = fails;
}

static int note_range(struct dl_phdr_info *info, size_t size, void *ctx)
{
	bool program = info->dlpi_name[0] == '\0';
	uintptr_t *range = program ? ours[0] : ours[1];

	/* The kernel's page has no name either, but it comes later. */
	if ((!program && !strstr(info->dlpi_name, "/libc.so")) || range[1])
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t at = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

		if (info->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		if (!range[0])
			range[0] = at;
		range[1] = at + info->dlpi_phdr[i].p_memsz;
	}
	return 0;
}

static void __attribute__((constructor)) take_request(void)
{
	const char *text = getenv("FAILING_ALLOC");
	char *file;
	unsigned long nth;

	if (!text)
		return;
	nth = strtoul(text, &file, 10);
	/* A request that cannot be read would let every test pass. */
	if (nth == 0 || *file != ' ')
		abort();
	dl_iterate_phdr(note_range, NULL);
	if (!ours[0][1] || !ours[1][1])
		abort();
	mark = file + 1;
	failing_alloc_start(nth, false);
}

static bool counts(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;

	if (sanitizer_asks)
		return false;
	return !mark || (at >= ours[0][0] && at < ours[0][1]) ||
	       (at >= ours[1][0] && at < ours[1][1]);
}

static void make_mark(void)
{
	int fd = mark ? open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd >= 0)
		close(fd);
}

static bool must_fail(const void *caller)
{
	unsigned long n = atomic_load(&left);

	if (asked && !sanitizer_asks && asked()) {
		errno = ENOMEM;
		return true;
	}
	if (n == 0 || !counts(caller))
		return false;
	while (!atomic_compare_exchange_weak(&left, &n, n == 1 && goes_on ? 1 : n - 1))
		if (n == 0)
			return false;
	if (n > 1)
		return false;
	if (!atomic_exchange(&reached, true))
		make_mark();
	errno = ENOMEM;
	return true;
}

/* The function of that name behind ours. */
#define NEXT(name)                                                                       \
	__extension__({                                                                  \
		static __typeof__(&(name)) next_;                                        \
		if (!next_)                                                              \
			next_ = (__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name); \
		next_;                                                                   \
	})

void *malloc(size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : NEXT(malloc)(size);
}

void *calloc(size_t n, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : NEXT(calloc)(n, size);
}

void *realloc(void *p, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : NEXT(realloc)(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : NEXT(reallocarray)(p, n, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? NULL : NEXT(aligned_alloc)(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	return must_fail(__builtin_return_address(0)) ? ENOMEM
						      : NEXT(posix_memalign)(ret, align, size);
}

/* Nobody but a sanitizer asks for this, where a thread begins. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *ret)
{
	int r;

	sanitizer_asks = true;
	r = NEXT(pthread_getattr_np)(thread, ret);
	sanitizer_asks = false;
	return r;
}
