/*
 * checker: one thread that goes from body to body, a turn each. Contract: checker.h.
 *
 * A turn is so long that most bodies are whole in their first one. What is not goes to the queue's end, so that a big
 * file, or many of them, hold up the others by a turn each time and no more. A client hears nothing meanwhile and would
 * give up, and the server cannot tell us who has: so what takes longer than a client has patience for is given up here.
 *
 * A disk may not answer at all, as a server that is mounted and gone. The thread sits in a read then, and nobody can
 * get it out: so somebody else looks now and then, and tells those who wait.
 *
 * Shared, under checker.lock: the queue, the task at hand and since when, and of each who has asked. All else belongs
 * to the thread.
 */
#include "otaproxy/checker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaproxy/check_job.h"

enum {
	TURN_MS = 100,
	PATIENCE_MS =
		5000, /* from its first turn on; some gigabytes of a disk that has nothing else to do */
	STOP_LOOK_MS = 10,
	BEGUN_MAX = 16, /* with a file or two, and what decompressing takes, each */
};

struct question {
	struct question *next;
	void (*done)(void *ctx);
	void *ctx;
};

/* One body, whoever asks for it. */
struct task {
	struct task *next;
	struct cache_key key;
	struct question *questions;
	struct check_job *job; /* NULL = has not had a turn */
	uint64_t begun_ms;
};

struct checker {
	struct checker_config config;
	pthread_t thread;
	unsigned n_begun;

	pthread_mutex_t lock;
	pthread_cond_t asked;
	struct task *first, **last;
	struct task *current; /* out of the queue, has its turn */
	uint64_t turn_ms;     /* since when */
	bool is_stuck;        /* in this turn */
	atomic_bool stop;     /* set under the lock */
	atomic_bool ended;    /* the thread does nothing any more */
};

/* ---- the queue ---- */

static void append(struct checker *c, struct task *t)
{
	t->next = NULL;
	*c->last = t;
	c->last = &t->next;
}

static bool is_key(const struct task *t, const struct cache_key *key)
{
	return t->key.kind == key->kind && t->key.form == key->form &&
	       digest_equal(&t->key.digest, &key->digest);
}

static struct task *find(struct checker *c, const struct cache_key *key)
{
	struct task *t = c->first;

	if (c->current && is_key(c->current, key))
		return c->current;
	while (t && !is_key(t, key))
		t = t->next;
	return t;
}

/* Whose turn is next; what had it goes to the end (@again), or is over. NULL: it is stopped, and nothing is left. */
static struct task *next_task(struct checker *c, struct task *again)
{
	uint64_t now_ms;
	struct task *t;

	pthread_mutex_lock(&c->lock);
	if (again)
		append(c, again);
	while (!c->first && !atomic_load(&c->stop))
		pthread_cond_wait(&c->asked, &c->lock);
	t = c->first;
	if (t) {
		c->first = t->next;
		if (!c->first)
			c->last = &c->first;
	}
	now_ms = clock_monotonic_ms();
	c->current = t;
	c->turn_ms = now_ms;
	c->is_stuck = false;
	pthread_mutex_unlock(&c->lock);
	return t;
}

/* ---- the thread ---- */

/* Has @t another turn to come? */
static bool have_turn(struct checker *c, struct task *t)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (!t->job) {
		t->job = check_job_new(&c->config, &t->key);
		t->begun_ms = now_ms;
		if (!t->job)
			return false;
		c->n_begun++;
	}
	if (check_job_go_on(t->job, now_ms + TURN_MS, &c->stop) == 0)
		return false;
	if (c->n_begun <= BEGUN_MAX && clock_monotonic_ms() < t->begun_ms + PATIENCE_MS)
		return true;
	log_info("A body takes too long to be hashed while somebody waits for it: the server is "
		 "asked");
	return false;
}

/* In vain or not: it is looked up again. */
static void answer(struct question *q)
{
	while (q) {
		struct question *next = q->next;

		q->done(q->ctx);
		free(q);
		q = next;
	}
}

static void end_task(struct checker *c, struct task *t)
{
	pthread_mutex_lock(&c->lock);
	c->current = NULL; /* nobody can add a question any more */
	pthread_mutex_unlock(&c->lock);
	if (t->job)
		c->n_begun--;
	check_job_free(t->job);
	answer(t->questions);
	free(t);
}

static void *checker_thread(void *arg)
{
	struct checker *c = arg;
	struct task *t, *again = NULL;

	while ((t = next_task(c, again))) {
		again = !atomic_load(&c->stop) && have_turn(c, t) ? t : NULL;
		if (!again)
			end_task(c, t);
	}
	atomic_store(&c->ended, true);
	return NULL;
}

void checker_free(struct checker *c)
{
	if (!c)
		return;
	pthread_cond_destroy(&c->asked);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int checker_start(
	const struct checker_config *config, struct checker **ret_checker, struct ota_err *err)
{
	struct checker *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return ota_err_no_memory(err, "the checker");
	c->config = *config;
	c->last = &c->first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->asked, NULL);
	r = pthread_create(&c->thread, NULL, checker_thread, c);
	if (r != 0) {
		checker_free(c);
		return ota_err_set(
			err, -r, OTA_E_UNSPECIFIC, "Cannot start a thread: %s", strerror(r));
	}
	*ret_checker = c;
	return 0;
}

bool checker_has_externals(const struct checker *checker)
{
	return checker->config.externals[0];
}

/* Takes @q and @t, as far as they are used: then they are NULL. */
static int enqueue(
	struct checker *c, const struct cache_key *key, struct question **q, struct task **t)
{
	struct task *at;
	int r;

	pthread_mutex_lock(&c->lock);
	r = atomic_load(&c->stop) ? -ESHUTDOWN : c->is_stuck ? -EBUSY : 0;
	at = r == 0 ? find(c, key) : NULL;
	if (r == 0 && !at) {
		at = TAKE_PTR(*t);
		append(c, at);
		pthread_cond_signal(&c->asked);
	}
	if (at) {
		(*q)->next = at->questions;
		at->questions = *q;
		*q = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

int checker_ask(
	struct checker *checker, const struct cache_key *key, void (*done)(void *ctx), void *ctx)
{
	struct question *q = calloc(1, sizeof(*q));
	struct task *t = calloc(1, sizeof(*t));
	int r = -ENOMEM;

	if (q && t) {
		*q = (struct question){.done = done, .ctx = ctx};
		t->key = *key;
		r = enqueue(checker, key, &q, &t);
	}
	free(q);
	free(t);
	return r;
}

/* All who wait, for whatever. Under the lock. */
static struct question *take_questions(struct checker *c)
{
	struct question *all = TAKE_PTR(c->current->questions);
	struct question **last = &all;

	for (struct task *t = c->first; t; t = t->next) {
		while (*last)
			last = &(*last)->next;
		*last = TAKE_PTR(t->questions);
	}
	return all;
}

void checker_watch(struct checker *checker)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct question *waiting = NULL;
	bool is_news = false;

	if (!checker)
		return;
	pthread_mutex_lock(&checker->lock);
	if (checker->current && now_ms > checker->turn_ms + CHECKER_STUCK_MS) {
		waiting = take_questions(checker);
		is_news = !checker->is_stuck;
		checker->is_stuck = true;
	}
	pthread_mutex_unlock(&checker->lock);
	if (is_news)
		log_warning(
			"A disk does not answer: files that would have to be read from it first "
			"come from the server");
	answer(waiting);
}

int checker_stop(struct checker *checker)
{
	uint64_t until_ms = clock_monotonic_ms() + CHECKER_STOP_MS;

	if (!checker)
		return 0;
	pthread_mutex_lock(&checker->lock);
	atomic_store(&checker->stop, true);
	pthread_cond_signal(&checker->asked);
	pthread_mutex_unlock(&checker->lock);
	while (!atomic_load(&checker->ended)) {
		if (clock_monotonic_ms() >= until_ms)
			return -ETIMEDOUT;
		clock_sleep_ms(STOP_LOOK_MS);
	}
	pthread_join(checker->thread, NULL);
	return 0;
}
