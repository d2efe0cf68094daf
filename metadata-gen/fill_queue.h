/*
 * fill_queue: contents that a stream brings one after the other are compressed by several threads behind it.
 * What waits is bounded in bytes; then the stream waits.
 */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"
#include "metadata-gen/blob_store.h"

struct fill_queue;

/* @n_jobs threads are started. */
int fill_queue_new(struct blob_store *store, unsigned n_jobs, struct fill_queue **ret_queue,
	struct ota_err *err);
/* Stops the threads; what still waits is dropped. */
void fill_queue_free(struct fill_queue *queue);
void fill_queue_freep(struct fill_queue **queue);
#define AUTO_FILL_QUEUE CLEANUP(fill_queue_freep)

/*
 * Hand over a claimed content: @data (malloc'ed, taken over in any case) for blob_fill(), NULL for
 * blob_settle(). 0, or the first failure of any thread.
 */
int fill_queue_push(
	struct fill_queue *queue, struct blob *blob, void *data, bool spare, struct ota_err *err);

/* Wait until all is done; 0 or the first failure. Nothing may be pushed afterwards. */
int fill_queue_finish(struct fill_queue *queue, struct ota_err *err);
