/*
 * workers: run one function over many items on a fixed number of threads.
 */
#pragma once

#include <stddef.h>

#include "common/base/err.h"

/*
 * Call @fn for each index below @n_items, on up to @n_threads threads (at least 1; the caller's is
 * one of them). Items are taken in order, @batch at a time. The first failure stops the rest and is
 * returned, its sentence in @err; items under way are finished. @fn must be safe to run in several
 * threads at once.
 */
typedef int workers_fn(void *ctx, size_t index, struct ota_err *err);
int workers_run(size_t n_items, size_t batch, unsigned n_threads, workers_fn *fn, void *ctx,
	struct ota_err *err);

/* Readers in flight that keep a disk busy; measured, see docs/benchmarks.md. */
enum {
	WORKERS_FOR_DISK = 16,
};
