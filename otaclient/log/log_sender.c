/*
 * log_sender: a bounded queue and the thread that empties it. Contract: log_sender.h.
 *
 * One lock guards what is shared (struct log_queue and the flags beside it); it is held for moving pointers only. The
 * record that is being sent has left the queue and belongs to the thread. The thread sleeps in its condition while
 * there is nothing to send, and in short naps while a server is to be tried later.
 */
#include "otaclient/log/log_sender.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"

enum {
	WAYS_MAX = 2,
	NAP_MS = 200, /* of the end's LOG_END_MS at most this is lost */
	FLUSH_POLL_MS = 10,
};

struct item {
	enum log_kind kind;
	char text[];
};

/* A ring. */
struct log_queue {
	struct item *items[LOG_QUEUE_MAX];
	size_t first, n;
	size_t bytes;  /* of the texts */
	uint64_t lost; /* since this was told last; they were older than what is in the queue */
};

struct log_sender {
	struct log_way ways[WAYS_MAX];
	size_t n_ways;
	struct log_sender_config config;
	pthread_t thread;
	bool has_thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct log_queue queue;         /* under lock */
	bool busy;                      /* under lock: the thread has a record in its hand */
	bool failing;                   /* under lock: the last try to send failed */
	bool ending;                    /* under lock */
	atomic_uint_fast64_t end_at_ms; /* monotonic; UINT64_MAX = not yet */

	/* the thread's own */
	const struct log_way *way; /* in use; NULL = to be chosen */
	uint32_t retry_ms;
};

/* ---- the queue ---- */

static struct item *queue_take(struct log_queue *q)
{
	struct item *item = q->items[q->first];

	q->first = (q->first + 1) % LOG_QUEUE_MAX;
	q->n--;
	q->bytes -= strlen(item->text);
	return item;
}

static void queue_drop(struct log_queue *q)
{
	free(queue_take(q));
	q->lost++;
}

static void queue_put(struct log_queue *q, struct item *item)
{
	size_t bytes = strlen(item->text);

	while (q->n > 0 && (q->n == LOG_QUEUE_MAX || q->bytes + bytes > LOG_QUEUE_MAX_BYTES))
		queue_drop(q);
	q->items[(q->first + q->n) % LOG_QUEUE_MAX] = item;
	q->n++;
	q->bytes += bytes;
}

static struct item *item_new(enum log_kind kind, const char *text)
{
	size_t size = strlen(text) + 1;
	struct item *item = size <= LOG_QUEUE_MAX_BYTES ? malloc(sizeof(*item) + size) : NULL;

	if (!item)
		return NULL;
	item->kind = kind;
	memcpy(item->text, text, size);
	return item;
}

void log_sender_put(struct log_sender *s, enum log_kind kind, const char *text)
{
	struct item *item = item_new(kind, text);

	pthread_mutex_lock(&s->lock);
	if (item)
		queue_put(&s->queue, item);
	else
		s->queue.lost++;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* ---- the thread ---- */

static bool is_over(void *ctx)
{
	struct log_sender *s = ctx;

	return clock_monotonic_ms() >= atomic_load(&s->end_at_ms);
}

static bool is_ending(struct log_sender *s)
{
	return atomic_load(&s->end_at_ms) != UINT64_MAX;
}

/* What is told in place of what was lost. */
static struct item *item_of_lost(struct log_sender *s, uint64_t lost)
{
	AUTO_BUF struct buf text = {0};

	if (!s->config.tell_lost || s->config.tell_lost(s->config.tell_ctx, lost, &text) < 0)
		return NULL;
	return item_new(LOG_KIND_LINE, buf_str(&text));
}

/* Wait for the next record; NULL: the end. */
static struct item *next_item(struct log_sender *s)
{
	struct item *item = NULL;
	uint64_t lost;

	pthread_mutex_lock(&s->lock);
	s->busy = false;
	while (s->queue.n == 0 && !s->ending)
		pthread_cond_wait(&s->changed, &s->lock);
	lost = s->queue.lost;
	s->queue.lost = 0;
	if (lost == 0 && s->queue.n > 0)
		item = queue_take(&s->queue);
	s->busy = true;
	pthread_mutex_unlock(&s->lock);
	if (item || lost == 0)
		return item;
	item = item_of_lost(s, lost);
	return item ? item : next_item(s);
}

static int choose_way(struct log_sender *s, struct ota_err *err)
{
	const struct log_patience patience = {is_over, s};
	int r = -ENOTCONN;

	for (size_t i = 0; i < s->n_ways && !s->way && r != -ECANCELED; i++) {
		const struct log_way *way = &s->ways[i];

		*err = (struct ota_err){0};
		r = way->check ? way->check(way->ctx, &patience, err) : 0;
		if (r == 0)
			s->way = way;
	}
	return s->way ? 0 : r;
}

static int try_send(struct log_sender *s, const struct item *item, struct ota_err *err)
{
	const struct log_record record = {.kind = item->kind, .text = item->text};
	const struct log_patience patience = {is_over, s};
	int r = s->way ? 0 : choose_way(s, err);

	if (r == 0)
		r = s->way->send(s->way->ctx, &record, &patience, err);
	if (r < 0)
		s->way = NULL;
	return r;
}

static void set_failing(struct log_sender *s, bool failing, const struct ota_err *err)
{
	char sentence[OTA_ERR_MSG_MAX];
	const char *name = s->ways[s->n_ways - 1].name;
	bool changed;

	pthread_mutex_lock(&s->lock);
	changed = s->failing != failing;
	s->failing = failing;
	pthread_mutex_unlock(&s->lock);
	if (!changed || !s->config.note || is_ending(s))
		return;
	if (failing)
		snprintf(sentence, sizeof(sentence),
			"The log server %.128s takes no records, which wait for it: %.128s", name,
			err->msg);
	else
		snprintf(sentence, sizeof(sentence), "The log server %.128s takes records again",
			name);
	s->config.note(s->config.note_ctx, sentence);
}

static void wait_to_retry(struct log_sender *s)
{
	uint64_t until = clock_monotonic_ms() + s->retry_ms;

	s->retry_ms = MIN_OF(s->retry_ms * 2, (uint32_t)LOG_RETRY_MAX_MS);
	while (clock_monotonic_ms() < until && !is_ending(s))
		clock_sleep_ms(NAP_MS);
}

/* Until it is taken, or the end comes (false). */
static bool send_item(struct log_sender *s, const struct item *item)
{
	for (;;) {
		struct ota_err err = {0};
		int r = is_over(s) ? -ECANCELED : try_send(s, item, &err);

		if (r == 0) {
			s->retry_ms = LOG_RETRY_MIN_MS;
			set_failing(s, false, NULL);
			return true;
		}
		set_failing(s, true, &err);
		if (!is_ending(s))
			wait_to_retry(s);
		if (is_ending(s))
			return false;
	}
}

static void *send_all(void *arg)
{
	struct log_sender *s = arg;
	struct item *item;
	bool taken = true;

	while (taken && (item = next_item(s))) {
		taken = send_item(s, item);
		free(item);
	}
	return NULL;
}

/* ---- the object ---- */

static int thread_start(struct log_sender *s)
{
	sigset_t all, before;
	int e;

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	e = pthread_create(&s->thread, NULL, send_all, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->has_thread = e == 0;
	return -e;
}

int log_sender_new(
	const struct log_sender_config *config, struct log_sender **ret_sender, struct ota_err *err)
{
	AUTO_LOG_SENDER struct log_sender *s = calloc(1, sizeof(*s));

	if (!s)
		return ota_err_wrap(err, -ENOMEM, "Cannot send to the log server");
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->config = *config;
	s->retry_ms = LOG_RETRY_MIN_MS;
	atomic_store(&s->end_at_ms, UINT64_MAX);
	*ret_sender = TAKE_PTR(s);
	return 0;
}

int log_sender_start(
	struct log_sender *s, const struct log_way *ways, size_t n_ways, struct ota_err *err)
{
	int r;

	assert(!s->has_thread && n_ways >= 1 && n_ways <= WAYS_MAX);
	s->n_ways = n_ways;
	memcpy(s->ways, ways, n_ways * sizeof(s->ways[0]));
	r = thread_start(s);
	return r < 0 ? ota_err_wrap(err, r, "Cannot start the thread that sends to the log server")
		     : 0;
}

void log_sender_flush(struct log_sender *s, uint32_t timeout_ms)
{
	uint64_t until = clock_monotonic_ms() + timeout_ms;
	bool waits = s->has_thread;

	while (waits) {
		pthread_mutex_lock(&s->lock);
		waits = (s->queue.n > 0 || s->busy) && !s->failing;
		pthread_mutex_unlock(&s->lock);
		waits = waits && clock_monotonic_ms() < until;
		if (waits)
			clock_sleep_ms(FLUSH_POLL_MS);
	}
}

void log_sender_free(struct log_sender *s)
{
	if (!s)
		return;
	if (s->has_thread) {
		atomic_store(&s->end_at_ms, clock_monotonic_ms() + LOG_END_MS);
		pthread_mutex_lock(&s->lock);
		s->ending = true;
		pthread_cond_signal(&s->changed);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	while (s->queue.n > 0)
		free(queue_take(&s->queue));
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void log_sender_freep(struct log_sender **s)
{
	log_sender_free(*s);
}
