/*
 * clock: the real clock, and the switch to a test's. Contract: clock.h.
 */
#include "common/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/timex.h>
#include <time.h>

static uint64_t real_monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int64_t real_unix_s(void)
{
	return (int64_t)time(NULL);
}

static void real_sleep_ms(uint64_t ms)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static void real_random(void *ret_data, size_t len_bytes)
{
	/* Up to 256 bytes getrandom() neither fails nor falls short once the pool is ready. */
	for (size_t done = 0; done < len_bytes;) {
		size_t want = len_bytes - done < 256 ? len_bytes - done : 256;
		ssize_t n = getrandom((char *)ret_data + done, want, 0);

		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0)
			done += (size_t)n;
	}
}

/* A look only: no mode is set. */
static bool real_is_synchronised(void)
{
	struct timex t = {0};

	return adjtimex(&t) >= 0 && !(t.status & STA_UNSYNC);
}

static const struct clock_ops real_ops = {
	.monotonic_ms = real_monotonic_ms,
	.unix_s = real_unix_s,
	.sleep_ms = real_sleep_ms,
	.random = real_random,
	.is_synchronised = real_is_synchronised,
};

static const struct clock_ops *active_ops = &real_ops;

void clock_set_ops(const struct clock_ops *ops)
{
	active_ops = ops ? ops : &real_ops;
}

uint64_t clock_monotonic_ms(void)
{
	return active_ops->monotonic_ms();
}

int64_t clock_unix_s(void)
{
	return active_ops->unix_s();
}

void clock_sleep_ms(uint64_t ms)
{
	active_ops->sleep_ms(ms);
}

void clock_random(void *ret_data, size_t len_bytes)
{
	active_ops->random(ret_data, len_bytes);
}

uint64_t clock_random_below(uint64_t limit)
{
	uint64_t v;

	clock_random(&v, sizeof(v));
	return v % limit;
}

bool clock_is_synchronised(void)
{
	return active_ops->is_synchronised && active_ops->is_synchronised();
}

void clock_await_file_time(struct timespec *ret_now)
{
	struct timespec entry;
	int tries = 100;

	clock_gettime(CLOCK_REALTIME, &entry);
	do {
		clock_sleep_ms(1);
		clock_gettime(CLOCK_REALTIME_COARSE, ret_now);
	} while (--tries > 0 &&
		 (ret_now->tv_sec < entry.tv_sec ||
			 (ret_now->tv_sec == entry.tv_sec && ret_now->tv_nsec <= entry.tv_nsec)));
}
