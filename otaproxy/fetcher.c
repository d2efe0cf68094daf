/*
 * fetcher: one thread, one HTTP client, many flights. Contract: fetcher.h.
 *
 * Shared, under fetcher.lock: the list of flights that wait to be begun, and the wish to stop. All else belongs to
 * the thread, which holds a reference to each flight until its end. With nothing to fetch it waits for the condition,
 * since the client then returns at once.
 */
#include "otaproxy/fetcher.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/net/http.h"
#include "otaproxy/cache_control.h"

enum {
	CONNECTIONS = 24,
	TRIES = 3, /* the clients have patience of their own */
	WAIT_MS = 1000,
	BODY_BYTES_MAX_LOG = 40, /* 1 TiB: more than any disk of an ECU */
};

/* One flight on its way. */
struct trip {
	struct fetcher *fetcher;
	struct flight *flight;
	struct trip *next, **at; /* of those that are under way */
	struct flight_answer answer;
	struct cache_meta meta; /* validators; url "" = must not be kept by URL */
	bool wrong_answer;      /* the upper proxy has something else */
};

struct fetcher {
	pthread_t thread;
	struct http_client *client;
	bool has_upper;
	struct trip *trips; /* under way */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* waiting or stop, for a thread without trips */
	struct trip *waiting;   /* the last one first */
	bool rests;             /* the thread waits for the condition, not for the client */
	bool stop;
};

/* ---- what arrives ---- */

static void copy_field(char *to, size_t size, const char *value)
{
	size_t len = strlen(value);

	if (len < size)
		memcpy(to, value, len + 1);
}

/* What an upper proxy says of the body: the form may be another than was asked for, the content may not. */
static void take_cache_control(struct trip *t, const char *value)
{
	const struct flight_order *o = flight_order(t->flight);
	struct cache_control said = {0};

	if (!t->fetcher->has_upper || o->key.kind != CACHE_BY_DIGEST)
		return;
	if (cache_control_parse(value, strlen(value), &said, NULL) < 0 || !said.has_digest)
		return;
	t->wrong_answer =
		!digest_equal(&said.digest, &o->key.digest) || said.alg == CACHE_ALG_OTHER;
	t->answer.form = said.alg == CACHE_ALG_ZST ? CACHE_ZST : CACHE_PLAIN;
}

/* With a digest that is what identifies the body, and for whichever server it comes from. */
static void take_etag(struct trip *t, const char *value)
{
	copy_field(t->meta.etag, sizeof(t->meta.etag), value);
	if (flight_order(t->flight)->key.kind == CACHE_BY_URL)
		copy_field(t->answer.etag, sizeof(t->answer.etag), value);
}

static int on_header(void *ctx, const char *name, const char *value, struct ota_err *err)
{
	struct trip *t = ctx;

	if (strcasecmp(name, "Content-Type") == 0)
		copy_field(t->answer.content_type, sizeof(t->answer.content_type), value);
	else if (strcasecmp(name, "Content-Encoding") == 0)
		copy_field(t->answer.content_encoding, sizeof(t->answer.content_encoding), value);
	else if (strcasecmp(name, "ETag") == 0)
		take_etag(t, value);
	else if (strcasecmp(name, "Last-Modified") == 0)
		copy_field(t->meta.last_modified, sizeof(t->meta.last_modified), value);
	else if (strcasecmp(name, CACHE_CONTROL_NAME) == 0)
		take_cache_control(t, value);
	return 0;
}

static int on_restart(void *ctx, struct ota_err *err)
{
	struct trip *t = ctx;

	t->answer = (struct flight_answer){.form = flight_order(t->flight)->key.form};
	t->meta = (struct cache_meta){0};
	t->wrong_answer = false;
	return 0;
}

static int on_begin(void *ctx, uint64_t total_bytes, struct ota_err *err)
{
	struct trip *t = ctx;

	if (t->wrong_answer)
		return ota_err_set(err, -EPROTO, OTA_E_NETWORK,
			"The upper proxy answers with another content");
	t->answer.total_bytes = total_bytes;
	return flight_begin(t->flight, &t->answer, err);
}

static int on_data(void *ctx, const void *data, size_t len_bytes, struct ota_err *err)
{
	struct trip *t = ctx;

	return flight_add(t->flight, data, len_bytes, err);
}

static int on_ready(void *ctx)
{
	struct trip *t = ctx;

	return flight_ready(t->flight);
}

/* May an entry be kept by URL? Only if it can be asked later whether it is still right. */
static struct cache_meta *meta_to_keep(struct trip *t)
{
	const struct flight_order *o = flight_order(t->flight);

	if (o->key.kind != CACHE_BY_URL || strlen(o->url) >= sizeof(t->meta.url) ||
		(!t->meta.etag[0] && !t->meta.last_modified[0]))
		return NULL;
	copy_field(t->meta.url, sizeof(t->meta.url), o->url);
	copy_field(t->meta.content_type, sizeof(t->meta.content_type), t->answer.content_type);
	copy_field(t->meta.content_encoding, sizeof(t->meta.content_encoding),
		t->answer.content_encoding);
	return &t->meta;
}

static int on_end(void *ctx, struct ota_err *err)
{
	struct trip *t = ctx;

	return flight_complete(t->flight, meta_to_keep(t), err);
}

static void trip_free(struct trip *t)
{
	if (t->at) {
		*t->at = t->next;
		if (t->next)
			t->next->at = t->at;
	}
	free(t);
}

static void trip_end(struct trip *t, int r, unsigned status, const struct ota_err *err)
{
	if (r < 0 && r != -ECANCELED)
		log_info("%s", err->msg);
	flight_end(t->flight, r, status, err);
	trip_free(t);
}

static void on_done(void *ctx, const struct http_result *result)
{
	trip_end(ctx, result->r, result->status, &result->err);
}

/* ---- the thread ---- */

static void trip_start(struct trip *t)
{
	const struct flight_order *o = flight_order(t->flight);
	const struct http_request request = {
		.url = o->url,
		.max_bytes = (uint64_t)1 << BODY_BYTES_MAX_LOG,
		.cache_control = o->cache_control,
		.tries_max = TRIES,
		.fields = (const char *const *)o->fields,
		.head = o->head,
		.conditional = o->conditional,
 /* A digest speaks of the plain bytes; without one the client gets what the origin sent. */
		.undo_encoding = o->key.kind == CACHE_BY_DIGEST && o->key.form == CACHE_PLAIN,
		.sink = {.restart = on_restart,
			 .header = on_header,
			 .begin = on_begin,
			 .data = on_data,
			 .ready = on_ready,
			 .end = on_end},
		.sink_ctx = t,
		.done = on_done,
		.done_ctx = t,
	};
	struct ota_err err = {0};
	int r;

	on_restart(t, NULL);
	r = http_client_add(t->fetcher->client, &request, &err);
	if (r < 0) {
		trip_end(t, r, 0, &err);
		return;
	}
	t->next = t->fetcher->trips;
	t->at = &t->fetcher->trips;
	if (t->next)
		t->next->at = &t->next;
	t->fetcher->trips = t;
}

/* Begin what waits; without any trip, wait for one. False: it is time to stop. */
static bool take_waiting(struct fetcher *f)
{
	struct trip *list, *in_order = NULL;
	bool stop;

	pthread_mutex_lock(&f->lock);
	while (!f->waiting && !f->stop && http_client_pending(f->client) == 0) {
		f->rests = true;
		pthread_cond_wait(&f->changed, &f->lock);
	}
	f->rests = false;
	list = TAKE_PTR(f->waiting);
	stop = f->stop;
	pthread_mutex_unlock(&f->lock);
	while (list) {
		struct trip *t = list;

		list = t->next;
		t->next = in_order;
		in_order = t;
	}
	while (in_order) {
		struct trip *t = in_order;

		in_order = TAKE_PTR(t->next);
		trip_start(t);
	}
	return !stop;
}

static void end_all(struct fetcher *f)
{
	struct ota_err err = {0};

	ota_err_set(&err, -ECANCELED, OTA_E_UNSPECIFIC, "The proxy ends");
	while (f->trips)
		trip_end(f->trips, -ECANCELED, 0, &err);
}

static void *fetcher_thread(void *arg)
{
	struct fetcher *f = arg;
	struct ota_err err = {0};

	while (take_waiting(f))
		if (http_client_run(f->client, WAIT_MS, &err) < 0)
			log_error("%s", err.msg);
	return NULL;
}

int fetcher_start(
	const struct fetcher_config *config, struct fetcher **ret_fetcher, struct ota_err *err)
{
	const struct http_config http = {
		.proxy = config->upper_proxy,
		.tls_ca = config->tls_ca,
		.max_connections = CONNECTIONS,
	};
	AUTO_FREE struct fetcher *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return ota_err_set(
			err, -ENOMEM, OTA_E_UNSPECIFIC, "There is not enough memory to begin");
	f->has_upper = config->upper_proxy;
	r = http_client_new(&http, &f->client, err);
	if (r < 0)
		return r;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	r = pthread_create(&f->thread, NULL, fetcher_thread, f);
	if (r != 0) {
		http_client_free(f->client);
		return ota_err_set(
			err, -r, OTA_E_UNSPECIFIC, "Cannot start a thread: %s", strerror(r));
	}
	*ret_fetcher = TAKE_PTR(f);
	return 0;
}

/* Takes the trip, if it is not too late: then it stays the caller's. True: the thread waits in the client. */
static bool put_waiting(struct fetcher *f, struct trip **trip)
{
	bool rests;

	pthread_mutex_lock(&f->lock);
	rests = f->rests;
	if (!f->stop) {
		(*trip)->next = f->waiting;
		f->waiting = TAKE_PTR(*trip);
		if (rests)
			pthread_cond_signal(&f->changed);
	}
	pthread_mutex_unlock(&f->lock);
	return !rests;
}

void fetcher_take(struct fetcher *fetcher, struct flight *flight)
{
	AUTO_FREE struct trip *t = calloc(1, sizeof(*t));
	struct ota_err err = {0};

	if (!t) {
		ota_err_set(&err, -ENOMEM, OTA_E_UNSPECIFIC,
			"There is not enough memory for another fetch");
		flight_end(flight, -ENOMEM, 0, &err);
		return;
	}
	t->fetcher = fetcher;
	t->flight = flight;
	if (put_waiting(fetcher, &t))
		http_client_wakeup(fetcher->client);
	if (t) {
		ota_err_set(&err, -ECANCELED, OTA_E_UNSPECIFIC, "The proxy ends");
		flight_end(flight, -ECANCELED, 0, &err);
	}
}

void fetcher_nudge(struct fetcher *fetcher)
{
	http_client_wakeup(fetcher->client);
}

void fetcher_stop(struct fetcher *fetcher)
{
	if (!fetcher)
		return;
	pthread_mutex_lock(&fetcher->lock);
	fetcher->stop = true;
	pthread_cond_signal(&fetcher->changed);
	pthread_mutex_unlock(&fetcher->lock);
	http_client_wakeup(fetcher->client);
	pthread_join(fetcher->thread, NULL);
	take_waiting(fetcher); /* what came meanwhile is ended with the rest */
	end_all(fetcher);
}

void fetcher_free(struct fetcher *fetcher)
{
	if (!fetcher)
		return;
	http_client_free(fetcher->client);
	pthread_cond_destroy(&fetcher->changed);
	pthread_mutex_destroy(&fetcher->lock);
	free(fetcher);
}
