/*
 * inflight: the table of flights, and their readers. Contract: inflight.h; the fetcher's side of it: flight.c.
 *
 * One lock, inflight.lock, for the table, the epoch, the room, and of every flight what its readers see: state,
 * answer, n_bytes, n_safe, paced, consumed, the list of readers and the count of references. Nothing is read, written,
 * hashed or logged under it.
 *
 * What only the fetcher's thread touches needs no lock: the check, the position of a repeated body, the body's end.
 * Bytes below n_bytes never change (a repeated body is compared, not written), so that readers read them without the
 * lock.
 *
 * Readers have the whole body before it is published: they need not wait for the disk. An entry is published before
 * its flight leaves the table, and leaving moves the epoch. So whoever found nothing in the cache and then no flight
 * either, at the same epoch, has missed nothing.
 */
#include "otaproxy/inflight.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaproxy/inflight_parts.h"

struct inflight *inflight_new(struct cache_store *store, struct counters *counters)
{
	struct inflight *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->store = store;
	t->counters = counters;
	t->room = store ? ROOM_FREE : ROOM_NONE;
	return t;
}

void inflight_free(struct inflight *t)
{
	if (!t)
		return;
	assert(t->n_flights == 0);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void flight_order_done(struct flight_order *order)
{
	free(order->url);
	free(order->cache_control);
	for (size_t i = 0; i < ARRAY_SIZE(order->fields); i++)
		free(order->fields[i]);
	*order = (struct flight_order){0};
}

uint64_t inflight_epoch(struct inflight *t)
{
	uint64_t epoch;

	pthread_mutex_lock(&t->lock);
	epoch = t->epoch;
	pthread_mutex_unlock(&t->lock);
	return epoch;
}

void inflight_set_room(struct inflight *t, enum cache_room room)
{
	pthread_mutex_lock(&t->lock);
	t->room = t->store ? room : ROOM_NONE;
	pthread_mutex_unlock(&t->lock);
}

enum cache_room inflight_room(struct inflight *t)
{
	enum cache_room room;

	pthread_mutex_lock(&t->lock);
	room = t->room;
	pthread_mutex_unlock(&t->lock);
	return room;
}

/* ---- the table ---- */

static struct flight **bucket_of(struct inflight *t, const struct flight_order *o)
{
	return &t->buckets[o->key.digest.bytes[0] % BUCKETS];
}

static bool is_shared(const struct flight_order *o)
{
	return o->keep != FLIGHT_PASS && !o->head;
}

/* By URL as well: a liar costs only those who ask for the same wrong pair. */
static bool is_same(const struct flight_order *a, const struct flight_order *b)
{
	return a->key.kind == b->key.kind && a->key.form == b->key.form &&
	       digest_equal(&a->key.digest, &b->key.digest) && strcmp(a->url, b->url) == 0;
}

static struct flight *find(struct inflight *t, const struct flight_order *o)
{
	struct flight *f = *bucket_of(t, o);

	while (f && !is_same(&f->order, o))
		f = f->next;
	return f;
}

static void list(struct flight *f)
{
	struct flight **bucket = bucket_of(f->table, &f->order);

	f->next = *bucket;
	*bucket = f;
	f->listed = true;
}

void flight_unlist(struct flight *f)
{
	struct flight **at = bucket_of(f->table, &f->order);

	if (!f->listed)
		return;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->listed = false;
	f->table->epoch++;
}

static void flight_free(struct flight *f)
{
	if (!f)
		return;
	flight_body_free(f->body);
	body_check_free(f->check);
	flight_order_done(&f->order);
	free(f);
}

static void flight_freep(struct flight **f)
{
	flight_free(*f);
}
#define AUTO_FLIGHT CLEANUP(flight_freep)

void flight_unref(struct flight *f)
{
	struct inflight *t = f->table;
	bool last;

	pthread_mutex_lock(&t->lock);
	last = --f->refs == 0;
	t->n_flights -= last;
	pthread_mutex_unlock(&t->lock);
	if (last)
		flight_free(f);
}

/* ---- a new flight ---- */

/* Takes the content of @order, but on failure. */
static int flight_new(struct inflight *t, struct flight_order *order, struct flight **ret)
{
	AUTO_FLIGHT struct flight *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->table = t;
	f->refs = 1; /* the fetcher's */
	f->answer.total_bytes = UINT64_MAX;
	f->answer.form = order->key.form;
	f->paced = order->keep == FLIGHT_PASS;
	if (order->key.kind == CACHE_BY_DIGEST && !order->head) {
		f->check = body_check_new();
		if (!f->check)
			return -ENOMEM;
	}
	f->body = flight_body_new(order->keep == FLIGHT_PASS ? NULL : t->store,
		cache_key_body_offset(&order->key), f->check);
	if (!f->body)
		return -ENOMEM;
	f->order = *order;
	*order = (struct flight_order){0};
	*ret = TAKE_PTR(f);
	return 0;
}

static void add_reader(struct flight *f, struct flight_reader *r)
{
	r->flight = f;
	r->next = f->readers;
	f->readers = r;
	f->refs++;
}

/* Join what is there, or begin @new (NULL: -ENOENT), which is then the table's. */
static int join(struct inflight *t, uint64_t epoch, const struct flight_order *order,
	struct flight **new, struct flight_reader *reader)
{
	bool shared = is_shared(order);
	struct flight *f;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	f = shared ? find(t, order) : NULL;
	if (f) {
		add_reader(f, reader);
		counters_add(t->counters, COUNTER_JOINED, 1);
	} else if (shared && t->epoch != epoch) {
		r = -EAGAIN;
	} else if (t->n_flights >= FLIGHTS_MAX) {
		r = -EBUSY;
	} else if (!new) {
		r = -ENOENT;
	} else {
		f = TAKE_PTR(*new);
		add_reader(f, reader);
		t->n_flights++;
		if (shared)
			list(f);
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

int inflight_join(struct inflight *t, uint64_t epoch, struct flight_order *order,
	const struct flight_sleeper *sleeper, struct flight_reader **ret_reader,
	struct flight **ret_new)
{
	AUTO_FREE struct flight_reader *reader = calloc(1, sizeof(*reader));
	AUTO_FLIGHT struct flight *made = NULL;
	struct flight *new = NULL;
	int r;

	if (!reader)
		return -ENOMEM;
	reader->sleeper = *sleeper;
	r = join(t, epoch, order, NULL, reader);
	if (r == -ENOENT) {
		/* It is made without the lock; if another was quicker, in vain. */
		r = flight_new(t, order, &made);
		if (r < 0)
			return r;
		new = made;
		r = join(t, epoch, &made->order, &made, reader);
		if (made) {
			*order = made->order; /* the caller's again */
			made->order = (struct flight_order){0};
			new = NULL;
		}
	}
	if (r < 0)
		return r;
	*ret_new = new;
	*ret_reader = TAKE_PTR(reader);
	return 0;
}

/* ---- readers ---- */

static void sleep_now(struct flight_reader *r)
{
	if (r->sleeps)
		return;
	r->sleeps = true;
	r->sleeper.sleep(r->sleeper.ctx);
}

void flight_wake_readers(struct flight *f)
{
	for (struct flight_reader *r = f->readers; r; r = r->next) {
		if (!r->sleeps)
			continue;
		r->sleeps = false;
		r->sleeper.wake(r->sleeper.ctx);
	}
}

enum flight_state flight_reader_look(
	struct flight_reader *r, bool whole, struct flight_answer *ret_answer)
{
	struct flight *f = r->flight;
	enum flight_state state;

	pthread_mutex_lock(&f->table->lock);
	state = f->state;
	r->wants_whole = whole;
	if (state == FLIGHT_ANSWERED && whole && !f->complete)
		state = FLIGHT_WAITING;
	if (state == FLIGHT_WAITING)
		sleep_now(r);
	else
		*ret_answer = f->answer;
	pthread_mutex_unlock(&f->table->lock);
	return state;
}

uint64_t flight_safe_bytes(const struct flight *f)
{
	if (f->complete || f->order.key.kind != CACHE_BY_DIGEST)
		return f->n_bytes;
	return f->n_bytes > INFLIGHT_HOLD_BYTES ? f->n_bytes - INFLIGHT_HOLD_BYTES : 0;
}

/* It will read nothing below @pos any more, whether or not that has come. Under the lock. */
static void note_position(struct flight_reader *r, uint64_t pos)
{
	r->at = pos;
	if (r->flight->paced)
		r->flight->consumed = MAX_OF(r->flight->consumed, pos / HOLE_BYTES * HOLE_BYTES);
}

/* Bytes that may be read at @pos, or 0 and the reader sleeps, or what read() returns. */
static ssize_t look_for_bytes(struct flight_reader *r, uint64_t pos)
{
	struct flight *f = r->flight;
	uint64_t safe;
	ssize_t n;

	pthread_mutex_lock(&f->table->lock);
	note_position(r, pos);
	safe = flight_safe_bytes(f);
	if (f->state == FLIGHT_FAILED)
		n = -EPIPE;
	else if (pos < safe)
		n = (ssize_t)MIN_OF(safe - pos, (uint64_t)SSIZE_MAX);
	else if (f->complete)
		n = -ENODATA;
	else
		n = 0;
	if (n == 0)
		sleep_now(r);
	pthread_mutex_unlock(&f->table->lock);
	return n;
}

ssize_t flight_reader_read(struct flight_reader *r, uint64_t pos, void *buf, size_t max)
{
	struct flight *f = r->flight;
	ssize_t n = look_for_bytes(r, pos);

	if (n <= 0)
		return n;
	n = flight_body_read(f->body, pos, buf, MIN_OF((size_t)n, max));
	return n > 0 ? n : -EPIPE;
}

uint8_t *flight_reader_memory(const struct flight_reader *r)
{
	struct flight *f = r->flight;
	bool complete;

	pthread_mutex_lock(&f->table->lock);
	complete = f->complete;
	pthread_mutex_unlock(&f->table->lock);
	return complete ? flight_body_memory(f->body) : NULL;
}

void flight_reader_leave(struct flight_reader *r)
{
	struct flight *f;

	if (!r)
		return;
	f = r->flight;
	pthread_mutex_lock(&f->table->lock);
	for (struct flight_reader **at = &f->readers; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			break;
		}
	}
	pthread_mutex_unlock(&f->table->lock);
	flight_unref(f);
	free(r);
}
