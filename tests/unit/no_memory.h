/*
 * no_memory: let a reader or writer of outside bytes run out of memory at each single allocation, and see how it ends. For
 * tests that tests/support/failing_alloc.c is linked into whole.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "tests/support/failing_alloc.h"

static struct buf
	no_memory_said; /* every sentence of a failure, a line each; buf_done() it at the end */

/* One run: all that it makes it also frees. 0: it has seen that the result is right. */
typedef int run_fn(struct ota_err *err);

enum {
	/* libcrypto and libcurl have several words for it; what counts is that they do not say yes. */
	ANY_FAILURE = 1,
	/* common/base and its like are silent. */
	SILENT = 2,
};

static inline void check_failure(int r, const struct ota_err *err, unsigned flags)
{
	if (r >= 0 || (r != -ENOMEM && !(flags & ANY_FAILURE)))
		fail_msg("%d is no lack of memory: %s", r, err->msg);
	if (flags & SILENT)
		return;
	assert_int_equal(err->errnum, r);
	if (!(flags & ANY_FAILURE) && !strstr(err->msg, "o memory for ") &&
		!strstr(err->msg, "Cannot allocate memory"))
		fail_msg("This does not say that memory is short: %s", err->msg);
	assert_int_equal(buf_printf(&no_memory_said, "%s\n", err->msg), 0);
}

/* Let @run end @n_least times at the least, each time for want of another allocation. */
static inline void sweep(run_fn *run, unsigned n_least, unsigned flags)
{
	struct ota_err none = {0};

	buf_done(&no_memory_said);
	/* What libraries make once and keep is not the matter here. */
	assert_int_equal(run(&none), 0);
	for (int onwards = 0; onwards < 2; onwards++) {
		unsigned n_failed = 0;
		bool reached = true;

		for (unsigned long n = 1; reached; n++) {
			struct ota_err err = {0};
			int r;

			failing_alloc_start(n, onwards);
			r = run(&err);
			reached = failing_alloc_stop();
			if (!reached)
				assert_int_equal(r, 0);
			else if (r != 0)
				check_failure(r, &err, flags);
			n_failed += r != 0;
		}
		assert_in_range(n_failed, n_least, UINT32_MAX);
	}
}

/* A right result: memory may be short only for what can be done without. */
static inline void right(bool yes)
{
	failing_alloc_stop();
	assert_true(yes);
}

static inline bool said(const char *sentence)
{
	return no_memory_said.data && strstr(no_memory_said.data, sentence);
}

/* What a run has written the first time, with all the memory there is; for outputs that must not differ. */
static struct buf no_memory_want;

/* The same as that time. */
static inline void right_as_before(const void *data, size_t len_bytes)
{
	if (!no_memory_want.data)
		assert_int_equal(buf_append(&no_memory_want, data, len_bytes), 0);
	right(no_memory_want.len_bytes == len_bytes &&
		memcmp(no_memory_want.data, data, len_bytes) == 0);
}

/* sweep() of a run that ends with right_as_before(). */
static inline void sweep_output(run_fn *run, unsigned n_least, unsigned flags)
{
	buf_done(&no_memory_want);
	sweep(run, n_least, flags);
	buf_done(&no_memory_want);
}

/* Pure: whatever memory there is. */
static inline void needs_none(run_fn *run)
{
	struct ota_err err = {0};

	failing_alloc_start(1, true);
	assert_int_equal(run(&err), 0);
	assert_false(failing_alloc_stop());
}
