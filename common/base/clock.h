/*
 * clock: time and randomness behind one small table, so that hours of polling, time limits and
 * back-off run in milliseconds in a test, and repeatably. Nothing else in the tree asks the kernel
 * for either.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock_ops {
	uint64_t (*monotonic_ms)(void);
	int64_t (*unix_s)(void);
	void (*sleep_ms)(uint64_t ms);
	void (*random)(void *ret_data, size_t len_bytes);
	bool (*is_synchronised)(void); /* NULL = no */
};

/* Replace the clock (tests only; before any thread starts). NULL: the real one again. */
void clock_set_ops(const struct clock_ops *ops);

uint64_t clock_monotonic_ms(void);
int64_t clock_unix_s(void);
void clock_sleep_ms(uint64_t ms);

/*
 * The clock that files get their times from goes in steps of milliseconds, and may lag. Waits until
 * it has passed this moment: whatever is changed from @ret_now on has another time than all that is
 * there. A clock that is set back meanwhile is not waited for: @ret_now is early then.
 */
struct timespec;
void clock_await_file_time(struct timespec *ret_now);

void clock_random(void *ret_data, size_t len_bytes);

/* Does the kernel know of a time service (NTP, PTP) that keeps the clock right? */
bool clock_is_synchronised(void);

/* A random number below @limit (> 0), for jitter; not for secrets. */
uint64_t clock_random_below(uint64_t limit);
