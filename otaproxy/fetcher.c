/*
 * fetcher: one HTTP client, many flights. Contract: fetcher.h.
 *
 * It holds a reference to each flight until its end. A flight that waits for its reader is looked after in the next
 * run; its reader is a connection of the same thread.
 */
#include "otaproxy/fetcher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/net/http.h"
#include "otaproxy/cache_control.h"

enum {
	CONNECTIONS = 16,
	TRIES = 3,               /* the clients have patience of their own */
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
	unsigned refused;       /* status for the client: a redirect is not followed; 0 = none */
};

struct fetcher {
	struct http_client *client;
	bool has_upper;
	unsigned (*refuse_hop)(
		void *ctx, const char *url, struct ota_err *err); /* NULL = all may */
	void *hop_ctx;
	struct trip *trips;  /* under way */
	struct trip *landed; /* readers have all of them; not kept yet */
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

/* A digest speaks of the plain bytes; without one the client gets what the origin sent, and is told how. */
static bool is_decoded(const struct trip *t)
{
	const struct flight_order *o = flight_order(t->flight);

	return o->key.kind == CACHE_BY_DIGEST && o->key.form == CACHE_PLAIN;
}

static int on_header(void *ctx, const char *name, const char *value, struct ota_err *err)
{
	struct trip *t = ctx;

	if (strcasecmp(name, "Content-Type") == 0)
		copy_field(t->answer.content_type, sizeof(t->answer.content_type), value);
	else if (strcasecmp(name, "Content-Encoding") == 0 && !is_decoded(t))
		copy_field(t->answer.content_encoding, sizeof(t->answer.content_encoding), value);
	else if (strcasecmp(name, "ETag") == 0)
		take_etag(t, value);
	else if (strcasecmp(name, "Last-Modified") == 0)
		copy_field(t->meta.last_modified, sizeof(t->meta.last_modified), value);
	else if (strcasecmp(name, CACHE_CONTROL_NAME) == 0)
		take_cache_control(t, value);
	return 0;
}

static int on_hop(void *ctx, const char *url, struct ota_err *err)
{
	struct trip *t = ctx;
	const struct fetcher *f = t->fetcher;

	t->refused = f->refuse_hop ? f->refuse_hop(f->hop_ctx, url, err) : 0;
	return t->refused ? -EACCES : 0;
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

	return flight_complete(t->flight, err);
}

/* It is not under way any more. */
static void trip_unlist(struct trip *t)
{
	if (t->at) {
		*t->at = t->next;
		if (t->next)
			t->next->at = t->at;
	}
	t->next = NULL;
	t->at = NULL;
}

static void trip_end(struct trip *t, int r, unsigned status, const struct ota_err *err)
{
	if (r < 0 && r != -ECANCELED)
		log_info("%s", err->msg);
	flight_end(t->flight, r, status, err);
	trip_unlist(t);
	free(t);
}

static void on_done(void *ctx, const struct http_result *result)
{
	struct trip *t = ctx;
	struct fetcher *f = t->fetcher;

	if (result->r < 0) {
		trip_end(t, result->r, t->refused ? t->refused : result->status, &result->err);
		return;
	}
	trip_unlist(t);
	t->next = f->landed;
	f->landed = t;
}

/* Those who asked have been served meanwhile; they need not have waited for the disk. */
static void publish_landed(struct fetcher *f)
{
	while (f->landed) {
		struct trip *t = f->landed;

		f->landed = TAKE_PTR(t->next);
		flight_publish(t->flight, meta_to_keep(t));
		trip_end(t, 0, 0, NULL);
	}
}

/* ---- under way ---- */

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
		.undo_encoding = is_decoded(t),
		.hop = on_hop,
		.hop_ctx = t,
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

int fetcher_new(
	const struct fetcher_config *config, struct fetcher **ret_fetcher, struct ota_err *err)
{
	const struct http_config http = {
		.proxy = config->upper_proxy,
		.tls_ca = config->tls_ca,
		.max_connections = CONNECTIONS,
		.sigpipe_ignored = true,
	};
	AUTO_FREE struct fetcher *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return ota_err_no_memory(err, "a fetcher");
	f->has_upper = config->upper_proxy;
	f->refuse_hop = config->refuse_hop;
	f->hop_ctx = config->hop_ctx;
	r = http_client_new(&http, &f->client, err);
	if (r < 0)
		return r;
	*ret_fetcher = TAKE_PTR(f);
	return 0;
}

void fetcher_take(struct fetcher *fetcher, struct flight *flight)
{
	struct trip *t = calloc(1, sizeof(*t));
	struct ota_err err = {0};

	if (!t) {
		ota_err_no_memory(&err, "another fetch");
		flight_end(flight, -ENOMEM, 0, &err);
		return;
	}
	t->fetcher = fetcher;
	t->flight = flight;
	trip_start(t);
}

void fetcher_watch(struct fetcher *fetcher, int fd)
{
	http_client_watch(fetcher->client, fd);
}

void fetcher_run(struct fetcher *fetcher, uint32_t wait_ms)
{
	struct ota_err err = {0};

	publish_landed(fetcher);
	if (http_client_run(fetcher->client, wait_ms, &err) < 0)
		log_error("%s", err.msg);
}

void fetcher_wakeup(struct fetcher *fetcher)
{
	http_client_wakeup(fetcher->client);
}

void fetcher_yield(struct fetcher *fetcher)
{
	http_client_yield(fetcher->client);
}

void fetcher_end(struct fetcher *fetcher)
{
	struct ota_err err = {0};

	publish_landed(fetcher);
	ota_err_set(&err, -ECANCELED, OTA_E_UNSPECIFIC, "The proxy ends");
	while (fetcher->trips)
		trip_end(fetcher->trips, -ECANCELED, 0, &err);
}

void fetcher_free(struct fetcher *fetcher)
{
	if (!fetcher)
		return;
	http_client_free(fetcher->client);
	free(fetcher);
}
