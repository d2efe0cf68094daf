/*
 * proxy_steps: what is done about one request. Contract: proxy_steps.h.
 *
 * A step does one thing and names the next. Each runs in the thread of its connection; where it has to wait, the
 * connection sleeps, and the same step, or the one it named before, runs when it is woken.
 */
#include "otaproxy/proxy_steps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"

enum {
	RETRY_LATER_S = 5,
	LOOKUPS_MAX = 16, /* of one request: what it found was gone again so often */
};

enum step {
	STEP_LOOKUP,
	STEP_JOIN,
	STEP_ANSWER,
	STEP_HIT,
	STEP_STATUS_PAGE,
	STEP_REFUSE,
	/* no step any more */
	STEP_SLEEP,
	STEP_SEND,
	STEP_FAIL,
};

struct exchange {
	struct proxy *proxy;
	struct fetcher *fetcher;
	struct flight_sleeper sleeper;
	struct proxy_request request;
	enum step next;
	bool wants_openmetrics;

	enum flight_keep keep;
	struct cache_key key;
	uint64_t epoch;
	unsigned n_lookups;
	bool asked_checker, dropped, fresh;
	bool no_room;         /* the disk had none for this body */
	struct cache_hit hit; /* fd -1 = none */
	struct flight_reader *reader;
	struct flight_answer answer;
	struct reply reply;
};

struct exchange *exchange_new(
	struct proxy *proxy, struct fetcher *fetcher, const struct flight_sleeper *sleeper)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->proxy = proxy;
	x->fetcher = fetcher;
	x->sleeper = *sleeper;
	cache_hit_init(&x->hit);
	counters_add(proxy->counters, COUNTER_OPEN_REQUESTS, 1);
	return x;
}

void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	flight_reader_leave(x->reader);
	cache_hit_done(&x->hit);
	buf_done(&x->reply.text);
	proxy_request_done(&x->request);
	counters_sub(x->proxy->counters, COUNTER_OPEN_REQUESTS, 1);
	free(x);
}

/* ---- replies ---- */

static void __attribute__((format(printf, 3, 4)))
add_field(struct exchange *x, const char *name, const char *fmt, ...)
{
	struct reply_field *f = &x->reply.fields[x->reply.n_fields];
	va_list ap;

	if (x->reply.n_fields == REPLY_FIELDS_MAX)
		return;
	f->name = name;
	va_start(ap, fmt);
	/* One that does not fit is left out: a part of it would say something else. */
	if (vsnprintf(f->value, sizeof(f->value), fmt, ap) < (int)sizeof(f->value))
		x->reply.n_fields++;
	va_end(ap);
}

static enum step reply_text(struct exchange *x, unsigned status, const char *sentence)
{
	x->reply.kind = REPLY_TEXT;
	x->reply.status = status;
	add_field(x, "Content-Type", "text/plain; charset=utf-8");
	if (status == 503 || status == 429)
		add_field(x, "Retry-After", "%d", RETRY_LATER_S);
	if (buf_printf(&x->reply.text, "%s\n", sentence) < 0)
		return STEP_FAIL;
	return STEP_SEND;
}

/* For a reason of our own, whatever a server would say. */
static enum step reply_refusal(struct exchange *x, unsigned status, const char *sentence)
{
	counters_add(x->proxy->counters, COUNTER_REFUSED, 1);
	return reply_text(x, status, sentence);
}

static enum step step_refuse(struct exchange *x)
{
	x->reply.close = x->request.close;
	return reply_refusal(x, x->request.http_status, x->request.sentence);
}

static enum step step_status_page(struct exchange *x)
{
	int r;

	x->reply.kind = REPLY_TEXT;
	x->reply.status = 200;
	if (x->wants_openmetrics) {
		add_field(x, "Content-Type", "%s", COUNTERS_OPENMETRICS_TYPE);
		r = counters_openmetrics(x->proxy->counters, &x->reply.text);
	} else {
		add_field(x, "Content-Type", "text/plain; charset=utf-8");
		r = counters_text(x->proxy->counters, &x->reply.text);
	}
	return r < 0 ? STEP_FAIL : STEP_SEND;
}

/* ---- ranges ---- */

/* Only the header has come, so that nobody has looked at the body. */
static bool is_unseen(const struct exchange *x)
{
	return x->request.head && x->reader;
}

/* What identifies the bytes of a body; "" = nothing does. One that is too long would be another's. */
static void etag_of(const struct exchange *x, enum cache_form form, char ret_etag[REPLY_VALUE_MAX])
{
	char hex[DIGEST_HEX_MAX];

	ret_etag[0] = '\0';
	if (x->key.kind == CACHE_BY_DIGEST && !is_unseen(x)) {
		digest_to_hex(&x->key.digest, hex);
		snprintf(ret_etag, REPLY_VALUE_MAX, "\"%s%s\"", hex,
			form == CACHE_ZST ? ".zst" : "");
	} else if (x->reader) {
		memcpy(ret_etag, x->answer.etag, sizeof(x->answer.etag));
	} else if (x->hit.fd >= 0 && strlen(x->hit.meta.etag) < REPLY_VALUE_MAX) {
		snprintf(ret_etag, REPLY_VALUE_MAX, "%s", x->hit.meta.etag);
	}
}

/* The part of @total bytes that is asked for. False: there is no such part. */
static bool range_part(
	const struct proxy_range *range, uint64_t total, uint64_t *ret_first, uint64_t *ret_n)
{
	uint64_t first = range->first;
	uint64_t end = total;

	if (range->form == PROXY_RANGE_SUFFIX)
		first = total - MIN_OF(range->suffix_bytes, total);
	else if (range->form == PROXY_RANGE_BETWEEN && range->last < total)
		end = range->last + 1;
	if (first >= total)
		return false;
	*ret_first = first;
	*ret_n = end - first;
	return true;
}

/*
 * The reply carries a body of @total bytes: all of it, or the part that was asked for. Sets offset and size from the
 * body's first byte.
 */
static enum step deliver(
	struct exchange *x, enum reply_kind kind, uint64_t total, enum cache_form form)
{
	const struct proxy_range *range = &x->request.range;
	char etag[REPLY_VALUE_MAX];
	uint64_t first = 0, n = total;
	bool part;

	etag_of(x, form, etag);
	part = range->form != PROXY_RANGE_NONE && total != UINT64_MAX && !x->request.head &&
	       (!x->request.if_range || (etag[0] == '"' && strcmp(etag, x->request.if_range) == 0));
	if (part && !range_part(range, total, &first, &n)) {
		add_field(x, "Content-Range", "bytes */%" PRIu64, total);
		return reply_text(x, 416, "The body has no such part");
	}
	x->reply.kind = kind;
	x->reply.status = part ? 206 : 200;
	x->reply.offset = first;
	x->reply.size_bytes = n;
	if (part)
		add_field(x, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first,
			first + n - 1, total);
	add_field(x, "Accept-Ranges", "bytes");
	if (etag[0])
		add_field(x, "ETag", "%s", etag);
	if (x->key.kind == CACHE_BY_DIGEST && !is_unseen(x)) {
		const struct cache_control cc = {.has_digest = true,
			.digest = x->key.digest,
			.alg = form == CACHE_ZST ? CACHE_ALG_ZST : CACHE_ALG_NONE};
		char text[CACHE_CONTROL_TEXT_MAX];

		add_field(x, CACHE_CONTROL_NAME, "%s", cache_control_write(&cc, text));
	}
	return STEP_SEND;
}

/* Of the body; a sentence in its stead has its own. */
static void add_types(struct exchange *x, const char *type, const char *encoding)
{
	if (x->reply.kind == REPLY_TEXT)
		return;
	if (type[0])
		add_field(x, "Content-Type", "%s", type);
	if (encoding[0])
		add_field(x, "Content-Encoding", "%s", encoding);
}

/* ---- lookup: is it there already? ---- */

/* May what comes be kept, and what may be taken from the cache? Decided once. */
static enum flight_keep keep_of(const struct exchange *x)
{
	const struct cache_control *cc = &x->request.cache_control;
	enum cache_room room = inflight_room(x->proxy->inflight);

	/* What nobody can verify goes through, to the one who asked. */
	if (!x->proxy->store || room == ROOM_NONE || x->no_room || cc->no_cache ||
		(cc->has_digest && cc->alg == CACHE_ALG_OTHER))
		return FLIGHT_PASS;
	return room == ROOM_TIGHT || x->request.never_stale ? FLIGHT_SHARE : FLIGHT_PUBLISH;
}

static bool may_look_up(const struct exchange *x)
{
	const struct cache_control *cc = &x->request.cache_control;

	return x->proxy->store && !cc->no_cache && !x->request.never_stale &&
	       !(cc->has_digest && cc->alg == CACHE_ALG_OTHER);
}

static void on_checked(void *ctx)
{
	struct exchange *x = ctx;

	x->sleeper.wake(x->sleeper.ctx);
}

/* Have the checker look after the key; the lookup is repeated then. */
static enum step ask_checker(struct exchange *x)
{
	x->asked_checker = true;
	x->next = STEP_LOOKUP;
	if (atomic_load(&x->proxy->stopping))
		return STEP_JOIN;
	x->sleeper.sleep(x->sleeper.ctx);
	if (checker_ask(x->proxy->checker, &x->key, on_checked, x) < 0)
		x->sleeper.wake(x->sleeper.ctx);
	return STEP_SLEEP;
}

/* The client had no use for it: of a content both forms go, since an upper proxy may have sent the other one. */
static void drop_entry(struct exchange *x)
{
	struct cache_key key = x->key;

	x->dropped = true;
	for (int form = CACHE_PLAIN; form <= CACHE_ZST; form++) {
		struct ota_err err = {0};

		if (key.kind == CACHE_BY_DIGEST)
			key.form = (enum cache_form)form;
		if (cache_store_drop(x->proxy->store, &key, &err) < 0)
			log_warning("%s", err.msg);
	}
}

static enum step step_lookup(struct exchange *x)
{
	struct ota_err err = {0};
	int r;

	cache_hit_done(&x->hit);
	cache_hit_init(&x->hit);
	x->keep = keep_of(x);
	x->epoch = inflight_epoch(x->proxy->inflight);
	if (!may_look_up(x))
		return STEP_JOIN;
	if (x->n_lookups++ == LOOKUPS_MAX)
		return reply_refusal(x, 503, "The cache is too busy for this file");
	if (x->request.cache_control.retry_caching && !x->dropped) {
		drop_entry(x);
		return STEP_JOIN;
	}
	r = cache_store_find(x->proxy->store, &x->key, &x->hit, &err);
	if (r == 0 && x->hit.trusted)
		return x->key.kind == CACHE_BY_URL && !x->fresh ? STEP_JOIN : STEP_HIT;
	if (r < 0 && r != -ENOENT)
		log_warning("%s", err.msg);
	if (r == 0 || checker_has_externals(x->proxy->checker)) {
		cache_hit_done(&x->hit);
		cache_hit_init(&x->hit);
		if (!x->asked_checker)
			return ask_checker(x);
	}
	return STEP_JOIN;
}

/* ---- hit ---- */

static enum step step_hit(struct exchange *x)
{
	enum step next;

	counters_add(x->proxy->counters, x->fresh ? COUNTER_REVALIDATED : COUNTER_HITS, 1);
	next = deliver(x, REPLY_FILE, x->hit.size_bytes, x->key.form);
	/* A content is the same bytes under every name, so no server's word on its type is kept with it. */
	if (x->key.kind == CACHE_BY_URL)
		add_types(x, x->hit.meta.content_type, x->hit.meta.content_encoding);
	else
		add_types(x, "application/octet-stream", "");
	x->reply.offset += x->hit.body_offset;
	return next;
}

/* ---- join: read along with a fetch, or begin one ---- */

/* "@name: @value", malloc'ed. */
static int order_field(struct flight_order *o, const char *name, const char *value)
{
	size_t i = 0;

	if (!value || !value[0])
		return 0;
	while (i < FLIGHT_FIELDS_MAX && o->fields[i])
		i++;
	if (i == FLIGHT_FIELDS_MAX || asprintf(&o->fields[i], "%s: %s", name, value) < 0) {
		o->fields[i] = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* A field of the origin's that comes only with a conditional request. */
static int order_condition(const struct exchange *x, struct flight_order *o)
{
	if (x->key.kind != CACHE_BY_URL || x->hit.fd < 0)
		return 0;
	o->conditional = true;
	return x->hit.meta.etag[0] ? order_field(o, "If-None-Match", x->hit.meta.etag)
				   : order_field(o, "If-Modified-Since", x->hit.meta.last_modified);
}

static int order_make(const struct exchange *x, struct flight_order *o)
{
	const struct proxy_request *q = &x->request;
	struct cache_control cc = q->cache_control;
	char text[CACHE_CONTROL_TEXT_MAX];
	char via[VIA_TEXT_MAX + 64];

	*o = (struct flight_order){
		.key = x->key, .keep = q->head ? FLIGHT_PASS : x->keep, .head = q->head};
	/* A proxy above may know less of what must not be stale. */
	cc.no_cache |= q->never_stale;
	cache_control_write(&cc, text);
	/* All of them: of proxies that ask each other in a circle, only so each finds itself. */
	snprintf(via, sizeof(via), "%s%s1.1 %s", q->via.text, q->via.n_hops > 0 ? ", " : "",
		x->proxy->rules.pseudonym);
	o->url = strdup(q->url);
	o->cache_control = text[0] ? strdup(text) : NULL;
	if (!o->url || (text[0] && !o->cache_control) || order_field(o, "Via", via) < 0 ||
		order_field(o, "Authorization", q->authorization) < 0 ||
		order_field(o, "Cookie", q->cookie) < 0 || order_condition(x, o) < 0) {
		flight_order_done(o);
		return -ENOMEM;
	}
	return 0;
}

static enum step step_join(struct exchange *x)
{
	struct flight_order order;
	struct flight *new = NULL;
	int r;

	if (atomic_load(&x->proxy->stopping))
		return reply_refusal(x, 503, "This proxy is about to end");
	if (order_make(x, &order) < 0)
		return STEP_FAIL;
	r = inflight_join(x->proxy->inflight, x->epoch, &order, &x->sleeper, &x->reader, &new);
	flight_order_done(&order);
	if (r == -EAGAIN)
		return STEP_LOOKUP;
	if (r == -EBUSY)
		return reply_refusal(x, 429, "Too many files are being fetched at once");
	if (r < 0)
		return STEP_FAIL;
	if (new) {
		counters_add(x->proxy->counters, COUNTER_MISSES, 1);
		fetcher_take(x->fetcher, new);
	}
	return STEP_ANSWER;
}

/* ---- answer: what came of the fetch ---- */

static enum step failed(struct exchange *x)
{
	const struct flight_answer *a = &x->answer;

	/* A full disk is no reason to answer less: once more, past it. */
	if ((a->err.errnum == -ENOSPC || a->err.errnum == -EDQUOT) && !x->no_room) {
		flight_reader_leave(TAKE_PTR(x->reader));
		x->no_room = true;
		return STEP_LOOKUP;
	}
	if (a->status >= 400 && a->status <= 599)
		return reply_text(x, a->status, a->err.msg);
	/* That the server has other bytes than were asked for is no outage, which whoever asks might sit out. */
	if (a->err.errnum == -EBADMSG && a->err.code == OTA_E_OTA_IMAGE_INVALID)
		return reply_text(x, 500, a->err.msg);
	return reply_text(x, 502, a->err.errnum ? a->err.msg : "The server cannot be reached");
}

/*
 * Would the reply be whole to the client before the body is? An empty one is with its header, and a part that ends
 * before the body does with its last byte.
 */
static bool must_be_whole(const struct exchange *x)
{
	const struct proxy_range *range = &x->request.range;

	if (x->request.head || x->key.kind != CACHE_BY_DIGEST)
		return false;
	return x->answer.total_bytes == 0 || range->form == PROXY_RANGE_BETWEEN;
}

/* A body that is kept nowhere, and longer than what is held of it, is never whole before it has gone out. */
static bool can_be_whole(const struct exchange *x)
{
	return x->keep != FLIGHT_PASS || x->answer.total_bytes <= INFLIGHT_WINDOW_BYTES;
}

static enum step step_answer(struct exchange *x)
{
	enum flight_state state = flight_reader_look(x->reader, false, &x->answer);
	enum step next;

	if (state == FLIGHT_ANSWERED && must_be_whole(x)) {
		if (can_be_whole(x))
			state = flight_reader_look(x->reader, true, &x->answer);
		else
			x->request.range.form = PROXY_RANGE_NONE;
	}

	if (state == FLIGHT_WAITING) {
		x->next = STEP_ANSWER;
		return STEP_SLEEP;
	}
	if (state == FLIGHT_FAILED)
		return failed(x);
	if (state == FLIGHT_SAME) {
		flight_reader_leave(TAKE_PTR(x->reader));
		x->fresh = true;
		return STEP_LOOKUP;
	}
	/* The validators that are at hand are the old entry's. */
	cache_hit_done(&x->hit);
	cache_hit_init(&x->hit);
	x->reply.data = flight_reader_memory(x->reader);
	next = deliver(x, x->reply.data ? REPLY_MEMORY : REPLY_FLIGHT, x->answer.total_bytes,
		x->answer.form);
	add_types(x, x->answer.content_type, x->answer.content_encoding);
	if (x->reply.data)
		x->reply.data += x->reply.offset;
	return next;
}

/* ---- the exchange ---- */

static enum step (*const steps[])(struct exchange *x) = {
	[STEP_LOOKUP] = step_lookup,
	[STEP_JOIN] = step_join,
	[STEP_ANSWER] = step_answer,
	[STEP_HIT] = step_hit,
	[STEP_STATUS_PAGE] = step_status_page,
	[STEP_REFUSE] = step_refuse,
};

static bool wants_openmetrics(const struct proxy_received *received)
{
	for (size_t i = 0; i < received->n_fields; i++)
		if (strcasecmp(received->fields[i].name, "Accept") == 0 &&
			strstr(received->fields[i].value, "application/openmetrics-text"))
			return true;
	return false;
}

int exchange_receive(struct exchange *x, const struct proxy_received *received)
{
	static const enum step first[] = {[PROXY_REFUSE] = STEP_REFUSE,
		[PROXY_STATUS_PAGE] = STEP_STATUS_PAGE,
		[PROXY_FETCH] = STEP_LOOKUP};
	struct proxy_rules rules = x->proxy->rules;
	AUTO_ORIGINS struct origins *origins = NULL;
	struct ota_err err = {0};
	int r;

	if (x->proxy->origins_file) {
		rules.origins = origins = origins_file_get(x->proxy->origins_file, &err);
		if (err.errnum != 0)
			log_error("%s", err.msg);
	}
	r = proxy_request_read(received, &rules, &x->request);
	if (r < 0)
		return r;
	x->next = first[x->request.kind];
	x->wants_openmetrics = wants_openmetrics(received);
	if (x->request.kind == PROXY_FETCH) {
		const struct cache_control *cc = &x->request.cache_control;

		x->key = cc->has_digest
				 ? cache_key_of_content(&cc->digest,
					   cc->alg == CACHE_ALG_ZST ? CACHE_ZST : CACHE_PLAIN)
				 : cache_key_of_url(x->request.url);
		if (cc->alg == CACHE_ALG_OTHER)
			x->key = cache_key_of_url(x->request.url);
	}
	return 0;
}

enum exchange_state exchange_run(struct exchange *x)
{
	enum step step = x->next;

	while (step < STEP_SLEEP)
		step = steps[step](x);
	return step == STEP_SLEEP  ? EXCHANGE_SLEEPS
	       : step == STEP_SEND ? EXCHANGE_READY
				   : EXCHANGE_FAILED;
}

const struct reply *exchange_reply(const struct exchange *x)
{
	return &x->reply;
}

bool exchange_is_head(const struct exchange *x)
{
	return x->request.head;
}

bool exchange_ends_connection(const struct exchange *x)
{
	return x->request.kind == PROXY_REFUSE && x->request.close;
}

int exchange_take_file(struct exchange *x)
{
	return TAKE_FD(x->hit.fd);
}

ssize_t exchange_read(struct exchange *x, uint64_t pos, void *buf, size_t max)
{
	return flight_reader_read(x->reader, x->reply.offset + pos, buf, max);
}
