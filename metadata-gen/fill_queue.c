/*
 * fill_queue: fill contents behind a stream. Contract: fill_queue.h.
 *
 * The lock guards the list, the byte count, the end mark and the first failure. `changed` is signalled at every
 * change of them.
 */
#include "metadata-gen/fill_queue.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/base/cleanup.h"

enum {
	THREADS_MAX = 64,
	WAITING_MAX_BYTES = 64 << 20, /* of contents in memory; four of the largest */
	JOB_OVERHEAD_BYTES = 4096,    /* so that tiny contents are bounded in number, too */
};

struct job {
	struct job *next;
	struct blob *blob;
	void *data; /* NULL: it is in the store's plain folder */
	bool spare;
};

struct fill_queue {
	struct blob_store *store;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job *first, **last;
	uint64_t waiting_bytes; /* of jobs not yet finished */
	bool ended;
	struct ota_err failure; /* the first one; errnum 0 = none */
	pthread_t threads[THREADS_MAX];
	unsigned n_threads;
};

static uint64_t job_bytes(const struct job *job)
{
	return JOB_OVERHEAD_BYTES + (job->data ? job->blob->size_bytes : 0);
}

static void job_free(struct job *job)
{
	free(job->data);
	free(job);
}

/* The next job, or NULL at the end or after a failure. Waits. */
static struct job *take_job(struct fill_queue *q)
{
	struct job *job;

	pthread_mutex_lock(&q->lock);
	while (!q->first && !q->ended && q->failure.errnum == 0)
		pthread_cond_wait(&q->changed, &q->lock);
	job = q->failure.errnum == 0 ? q->first : NULL;
	if (job) {
		q->first = job->next;
		if (!q->first)
			q->last = &q->first;
	}
	pthread_mutex_unlock(&q->lock);
	return job;
}

static void job_done(struct fill_queue *q, struct job *job, int r, const struct ota_err *err)
{
	pthread_mutex_lock(&q->lock);
	q->waiting_bytes -= job_bytes(job);
	if (r < 0 && q->failure.errnum == 0) {
		q->failure = *err;
		q->failure.errnum = r;
	}
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	job_free(job);
}

static void *worker_main(void *arg)
{
	struct fill_queue *q = arg;
	AUTO_BLOB_HAND struct blob_hand *hand = blob_hand_new(q->store);
	struct job *job;

	while ((job = take_job(q))) {
		struct ota_err err = {0};
		int r;

		if (!hand)
			r = ota_err_no_memory(&err, "compressing");
		else if (job->data)
			r = blob_fill(hand, job->blob, job->data, job->spare, &err);
		else
			r = blob_settle(hand, job->blob, &err);
		job_done(q, job, r, &err);
	}
	return NULL;
}

int fill_queue_new(struct blob_store *store, unsigned n_jobs, struct fill_queue **ret_queue,
	struct ota_err *err)
{
	AUTO_FILL_QUEUE struct fill_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return ota_err_no_memory(err, "compressing");
	q->store = store;
	q->last = &q->first;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, NULL);
	for (unsigned i = 0; i < n_jobs && i < THREADS_MAX; i++) {
		int r = pthread_create(&q->threads[i], NULL, worker_main, q);

		if (r != 0 && q->n_threads == 0)
			return ota_err_wrap(err, -r, "Cannot start a thread");
		if (r != 0)
			break; /* the others do its share */
		q->n_threads++;
	}
	*ret_queue = TAKE_PTR(q);
	return 0;
}

int fill_queue_push(
	struct fill_queue *q, struct blob *blob, void *data, bool spare, struct ota_err *err)
{
	struct job *job = malloc(sizeof(*job));
	int r = 0;

	if (!job) {
		free(data);
		return ota_err_no_memory(err, "compressing");
	}
	*job = (struct job){.blob = blob, .data = data, .spare = spare};
	pthread_mutex_lock(&q->lock);
	while (q->waiting_bytes > WAITING_MAX_BYTES && q->failure.errnum == 0)
		pthread_cond_wait(&q->changed, &q->lock);
	if (q->failure.errnum == 0) {
		q->waiting_bytes += job_bytes(job);
		*q->last = job;
		q->last = &job->next;
		job = NULL;
		pthread_cond_broadcast(&q->changed);
	} else {
		r = q->failure.errnum;
		if (err)
			*err = q->failure;
	}
	pthread_mutex_unlock(&q->lock);
	if (job)
		job_free(job);
	return r;
}

static void join(struct fill_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->ended = true;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	while (q->n_threads > 0)
		pthread_join(q->threads[--q->n_threads], NULL);
}

int fill_queue_finish(struct fill_queue *q, struct ota_err *err)
{
	join(q);
	if (q->failure.errnum < 0 && err)
		*err = q->failure;
	return q->failure.errnum;
}

static void drop_waiting(struct fill_queue *q)
{
	pthread_mutex_lock(&q->lock);
	while (q->first) {
		struct job *job = q->first;

		q->first = job->next;
		job_free(job);
	}
	q->last = &q->first;
	pthread_mutex_unlock(&q->lock);
}

void fill_queue_free(struct fill_queue *q)
{
	if (!q)
		return;
	drop_waiting(q);
	join(q);
	drop_waiting(q); /* what a failure has left */
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

void fill_queue_freep(struct fill_queue **q)
{
	fill_queue_free(*q);
}
