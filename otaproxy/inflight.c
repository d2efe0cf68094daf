/*
 * inflight: flights and their readers. Contract: inflight.h.
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
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/net/http_url.h"
#include "otaproxy/body_check.h"
#include "otaproxy/flight_body.h"

enum {
	BUCKETS = 256,
	FLIGHTS_MAX = 1024,     /* as many as a vehicle's ECUs may ask for at once */
	HOLE_BYTES = 64 * 1024, /* what a reader has taken is given back in pieces of this */
};

struct flight_reader {
	struct flight *flight;
	struct flight_reader *next;
	struct flight_sleeper sleeper;
	bool sleeps;
	bool wants_whole; /* reads nothing before all of it has come */
	uint64_t at;      /* of the body, where it has read last */
};

struct flight {
	struct inflight *table;
	struct flight *next; /* in its bucket */
	bool listed;         /* in the table: others may join */
	unsigned refs;       /* readers, and the fetcher until flight_end() */
	struct flight_reader *readers;
	struct flight_order order;

	enum flight_state state;
	struct flight_answer answer;
	bool begun;        /* the answer has been set, by the fetcher's thread */
	bool complete;     /* the body has ended, and is right */
	uint64_t n_bytes;  /* of the body, that can be read */
	bool paced;        /* its one reader sets the pace: FLIGHT_PASS, or the disk became full */
	uint64_t consumed; /* @paced: what its reader has taken */

	/* of the fetcher's thread, but for what of the body can be read */
	struct flight_body *body;
	struct body_check *check;
	uint64_t at; /* of the next byte that comes; below n_bytes while a body is repeated */
	uint64_t forgotten; /* @paced: all below this */
};

struct inflight {
	pthread_mutex_t lock;
	struct cache_store *store;
	struct counters *counters;
	struct flight *buckets[BUCKETS];
	unsigned n_flights;
	uint64_t epoch;
	enum cache_room room;
};

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

static void unlist(struct flight *f)
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

/* Give a reference back; not under the lock. */
static void flight_unref(struct flight *f)
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

/* Under the lock. */
static void wake_readers(struct flight *f)
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

/* How far may readers read? Under the lock. */
static uint64_t safe_bytes(const struct flight *f)
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
	safe = safe_bytes(f);
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

/* ---- the fetcher's side ---- */

const struct flight_order *flight_order(const struct flight *f)
{
	return &f->order;
}

/*
 * Under the lock: what is asked for by URL may be another body by now, so nobody may join one that has come whole; nor,
 * where no old one will do or its end cannot be seen coming, one that has begun.
 */
static void close_to_late_ones(struct flight *f)
{
	if (f->order.key.kind == CACHE_BY_URL &&
		(f->order.keep == FLIGHT_SHARE || f->answer.total_bytes == UINT64_MAX ||
			f->n_bytes >= f->answer.total_bytes))
		unlist(f);
}

/* Does @new keep what readers may have told their clients of @told? */
static bool is_same_version(const struct flight_answer *told, const struct flight_answer *new)
{
	return new->form == told->form &&strcmp(new->content_encoding, told->content_encoding) ==
		       0 &&
	       strcmp(new->etag, told->etag) == 0 &&
	       (told->total_bytes == UINT64_MAX || new->total_bytes == told->total_bytes);
}

int flight_begin(struct flight *f, const struct flight_answer *answer, struct ota_err *err)
{
	int r = f->begun ? 0 : flight_body_reserve(f->body, answer->total_bytes, err);

	if (r < 0)
		return r;
	r = f->check ? body_check_start(
			       f->check, &f->order.key.digest, answer->form, BODY_CONTENT_MAX_BYTES)
		     : 0;
	if (r < 0)
		return ota_err_set(
			err, r, OTA_E_UNSPECIFIC, "There is not enough memory to check a body");
	f->at = 0;
	flight_body_rewind(f->body);
	pthread_mutex_lock(&f->table->lock);
	if (!f->begun) {
		f->begun = true;
		f->answer = *answer;
		close_to_late_ones(f);
		/* Readers of what is checked would only find that nothing may be read yet. */
		if (!f->check) {
			f->state = FLIGHT_ANSWERED;
			wake_readers(f);
		}
	} else if (!is_same_version(&f->answer, answer)) {
		r = -EBADMSG;
	}
	pthread_mutex_unlock(&f->table->lock);
	return r < 0 ? ota_err_set(err, r, OTA_E_NETWORK,
			       "The server sends another form or version of the body than before")
		     : 0;
}

/* Bytes that readers may have already: they must come again as they were. */
static int compare(struct flight *f, const void *data, size_t len, struct ota_err *err)
{
	if (len == 0 || (!f->paced && flight_body_has(f->body, f->at, data, len)))
		return 0;
	return ota_err_set(err, -EBADMSG, OTA_E_NETWORK,
		"The body began anew, with other bytes than were passed on");
}

/* All before @n_bytes can be read now. */
static void hand_out(struct flight *f, uint64_t n_bytes)
{
	pthread_mutex_lock(&f->table->lock);
	if (n_bytes > f->n_bytes) {
		uint64_t safe = safe_bytes(f);

		f->n_bytes = n_bytes;
		close_to_late_ones(f);
		if (safe_bytes(f) > safe) {
			f->state = FLIGHT_ANSWERED;
			wake_readers(f);
		}
	}
	pthread_mutex_unlock(&f->table->lock);
}

/* From now on its only reader sets the pace, and nobody joins. False: none can. */
static bool be_paced(struct flight *f)
{
	bool is_one;

	pthread_mutex_lock(&f->table->lock);
	is_one = !f->paced && f->readers && !f->readers->next && !f->readers->wants_whole;
	if (is_one) {
		unlist(f);
		f->paced = true;
		f->consumed = f->readers->at / HOLE_BYTES * HOLE_BYTES;
	}
	pthread_mutex_unlock(&f->table->lock);
	return is_one;
}

/*
 * The disk may become full under a body whose length nobody knew. What its reader has not taken yet is still there, so
 * it is passed through from here on. Of several readers the slowest would hold up the others, so these see it break.
 */
static int after_full_disk(struct flight *f, int r, struct ota_err *err)
{
	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	inflight_set_room(f->table, ROOM_NONE);
	if (!be_paced(f) || flight_body_leave_disk(f->body, err) < 0)
		return r;
	if (err)
		*err = (struct ota_err){0};
	return 0;
}

/* Put @len bytes at the end of what is there. */
static int store_piece(struct flight *f, const uint8_t *data, size_t len, struct ota_err *err)
{
	uint64_t before = flight_body_size(f->body), readable;
	int r = flight_body_add(f->body, data, len, &readable, err);

	if (r < 0) {
		size_t taken = (size_t)(flight_body_size(f->body) - before);

		r = after_full_disk(f, r, err);
		if (r == 0)
			r = flight_body_add(f->body, data + taken, len - taken, &readable, err);
	}
	if (r < 0)
		return r;
	f->at += len;
	hand_out(f, readable);
	return 0;
}

/*
 * Under the lock: is the rest worth its way without a reader? A content is, which others will want. What nobody can
 * check may be of any length, and will be asked for anew.
 */
static bool is_worth_its_end(const struct flight *f)
{
	return !f->paced && f->order.key.kind == CACHE_BY_DIGEST &&
	       f->answer.total_bytes != UINT64_MAX;
}

/* May @len more bytes come? Only a flight with one reader waits for it. */
static int has_room(struct flight *f, size_t len)
{
	int r = 0;

	pthread_mutex_lock(&f->table->lock);
	if (!f->readers && !is_worth_its_end(f)) {
		unlist(f);
		r = -ECANCELED;
	} else if (f->paced && f->n_bytes > f->consumed &&
		   flight_body_size(f->body) - f->consumed + len > INFLIGHT_WINDOW_BYTES) {
		r = -EBUSY;
	}
	pthread_mutex_unlock(&f->table->lock);
	return r;
}

/* The only reader has taken what is below @consumed, or will not: whole pieces of it at a time. */
static void forget_consumed(struct flight *f)
{
	uint64_t consumed;

	if (!f->paced)
		return;
	pthread_mutex_lock(&f->table->lock);
	consumed = MIN_OF(f->consumed, f->n_bytes / HOLE_BYTES * HOLE_BYTES);
	pthread_mutex_unlock(&f->table->lock);
	if (consumed <= f->forgotten)
		return;
	flight_body_forget(f->body, f->forgotten, consumed);
	f->forgotten = consumed;
}

int flight_ready(struct flight *f)
{
	int r = has_room(f, INFLIGHT_WINDOW_BYTES / 2);

	forget_consumed(f);

	return r == 0 ? 1 : r == -EBUSY ? 0 : r;
}

static int wrong_body(struct flight *f, struct ota_err *err)
{
	char text[HTTP_URL_TEXT_MAX], hex[DIGEST_HEX_MAX];

	counters_add(f->table->counters, COUNTER_REJECTED, 1);
	digest_to_hex(&f->order.key.digest, hex);
	return ota_err_set(err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"The body is not what its digest %s says: %s", hex,
		http_url_text(f->order.url, text));
}

int flight_add(struct flight *f, const void *data, size_t len_bytes, struct ota_err *err)
{
	size_t again =
		f->at < f->n_bytes ? (size_t)MIN_OF(f->n_bytes - f->at, (uint64_t)len_bytes) : 0;
	int r = has_room(f, len_bytes);

	if (r == 0)
		r = compare(f, data, again, err);
	if (r == 0 && f->check && body_check_feed(f->check, data, len_bytes) < 0)
		r = wrong_body(f, err);
	f->at += r == 0 ? again : 0;
	if (r == 0)
		r = store_piece(f, (const uint8_t *)data + again, len_bytes - again, err);
	if (r < 0)
		return r;
	forget_consumed(f);
	counters_add(f->table->counters, COUNTER_ORIGIN_BYTES, len_bytes);
	return 0;
}

/* What is kept by URL is named by the URL; these are the bytes that a power cut may spoil. */
static int note_body(const struct flight *f, int fd, struct cache_meta *meta)
{
	AUTO_DIGEST_CTX struct digest_ctx *ctx = digest_ctx_new();

	if (!ctx)
		return -ENOMEM;
	meta->size_bytes = f->n_bytes;
	if (lseek(fd, (off_t)cache_key_body_offset(&f->order.key), SEEK_SET) < 0)
		return -errno;
	return digest_of_fd(ctx, fd, &meta->digest, NULL);
}

static int publish(struct flight *f, struct cache_meta *meta, struct ota_err *err)
{
	struct cache_key key = f->order.key;
	struct cache_temp *temp;
	int r;

	if (f->order.keep != FLIGHT_PUBLISH || f->paced || (!f->check && !meta))
		return 0;
	key.form = f->answer.form;
	r = flight_body_file(f->body, &temp, err);
	if (r == -ENOSPC || r == -EDQUOT)
		inflight_set_room(f->table, ROOM_NONE);
	if (r == 0 && meta)
		r = note_body(f, cache_temp_fd(temp), meta);
	return r < 0 ? r : cache_temp_publish(temp, &key, meta, err);
}

/* The body has ended and is right: readers may have all of it. */
static int hand_out_all(struct flight *f, struct ota_err *err)
{
	uint64_t n_bytes;
	int r = flight_body_end(f->body, &n_bytes, err);

	if (r < 0) {
		r = after_full_disk(f, r, err);
		if (r == 0)
			r = flight_body_end(f->body, &n_bytes, err);
	}
	if (r < 0)
		return r;
	pthread_mutex_lock(&f->table->lock);
	f->n_bytes = n_bytes;
	f->complete = true;
	f->state = FLIGHT_ANSWERED;
	f->answer.total_bytes = n_bytes;
	wake_readers(f);
	pthread_mutex_unlock(&f->table->lock);
	return 0;
}

int flight_complete(struct flight *f, struct ota_err *err)
{
	if (f->order.head)
		return 0;
	if (f->at < f->n_bytes)
		return ota_err_set(err, -EBADMSG, OTA_E_NETWORK,
			"The body began anew, and is shorter than before");
	if (f->check && body_check_finish(f->check) < 0)
		return wrong_body(f, err);
	return hand_out_all(f, err);
}

void flight_publish(struct flight *f, struct cache_meta *meta)
{
	struct ota_err trouble = {0};

	/* What cannot be kept can be read all the same. */
	if (f->complete && publish(f, meta, &trouble) < 0)
		log_warning("%s", trouble.msg);
}

void flight_end(struct flight *f, int r, unsigned status, const struct ota_err *err)
{
	pthread_mutex_lock(&f->table->lock);
	if (r < 0 && !f->complete) {
		f->state = FLIGHT_FAILED;
		f->answer.status = status;
		if (err)
			f->answer.err = *err;
	} else if (f->state == FLIGHT_WAITING) {
		f->state = FLIGHT_SAME;
	}
	unlist(f);
	wake_readers(f);
	pthread_mutex_unlock(&f->table->lock);
	body_check_free(TAKE_PTR(f->check));
	flight_unref(f);
}
