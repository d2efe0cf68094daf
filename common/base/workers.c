/*
 * workers: a parallel loop. Contract: workers.h.
 *
 * Shared between the threads: the next index, the stop flag (atomics) and the first error (under
 * the lock).
 */
#include "common/base/workers.h"

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/cleanup.h"

enum {
	THREADS_MAX = 64,
	STACK_BYTES = 1 << 20, /* visitors keep whole paths on it */
};

struct run {
	size_t n_items;
	size_t batch;
	workers_fn *fn;
	void *ctx;
	atomic_size_t next;
	atomic_bool stop;
	pthread_mutex_t lock;
	struct ota_err first;
};

static void *worker_main(void *arg)
{
	struct run *run = arg;

	while (!atomic_load(&run->stop)) {
		size_t from = atomic_fetch_add(&run->next, run->batch);
		size_t to;

		if (from >= run->n_items)
			break;
		to = MIN_OF(from + run->batch, run->n_items);
		for (size_t i = from; i < to && !atomic_load(&run->stop); i++) {
			struct ota_err err = {0};
			int r = run->fn(run->ctx, i, &err);

			if (r >= 0)
				continue;
			pthread_mutex_lock(&run->lock);
			if (run->first.errnum == 0) {
				run->first = err;
				if (err.errnum == 0) /* the item was silent */
					ota_err_wrap(&run->first, r, "Item %zu failed", i);
			}
			pthread_mutex_unlock(&run->lock);
			atomic_store(&run->stop, true);
		}
	}
	return NULL;
}

int workers_run(size_t n_items, size_t batch, unsigned n_threads, workers_fn *fn, void *ctx,
	struct ota_err *err)
{
	struct run run = {
		.n_items = n_items,
		.batch = MAX_OF(batch, (size_t)1),
		.fn = fn,
		.ctx = ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	n_threads = MIN_OF(n_threads, (unsigned)THREADS_MAX);
	/* A thread that cannot be had is no failure: the others do its share. */
	while (started + 1 < n_threads && (size_t)started + 1 < n_items &&
		pthread_create(&threads[started], &attr, worker_main, &run) == 0)
		started++;
	worker_main(&run);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_attr_destroy(&attr);
	pthread_mutex_destroy(&run.lock);
	if (run.first.errnum == 0)
		return 0;
	if (err)
		*err = run.first;
	return run.first.errnum;
}
