/*
 * http: the client: which transfers run, and whether and when a request gets another try. Contract: http.h.
 *
 * Timers are ours and not libcurl's, because a stalled transfer must be cut even where another request waits
 * for its connection.
 *
 * Elsewhere: a try (http_try), what an answer's header says (http_answer), URLs (http_url), cookies
 * (http_cookies).
 */
#include "common/net/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/net/http_try.h"
#include "common/net/http_url.h"

enum {
	CONNECTIONS_DEFAULT = 8,
	CONNECTIONS_MAX = 32,
	RETRY_BASE_MS = 200,
	RETRY_MAX_MS = 8 * 1000,
	RETRY_AFTER_MAX_MS = 30 * 1000, /* a server may ask for so much patience, not for more */
	PROGRESS_MIN_BYTES = 16 * 1024, /* less than this is not worth a free try */
	POLL_MAX_MS = 1000,
};

struct http_client {
	CURLM *multi;
	struct http_shared shared;
	unsigned max_connections;
	uint32_t stall_timeout_ms, retry_base_ms;
	struct transfer *queue; /* waiting, in the order of being added */
	struct transfer *active[CONNECTIONS_MAX];
	unsigned n_active;
	size_t n_pending;
	size_t n_done;
	struct ota_err trouble; /* of the last failed try */
	int watched_fd;         /* -1 = none */
	bool sigpipe_ignored;
	atomic_bool woken;
};

/* ---- tries ---- */

static uint64_t back_off_ms(struct transfer *t, const struct http_client *c)
{
	unsigned doublings = MIN_OF(t->failures_in_row - 1, 12u);
	uint64_t ms = MIN_OF((uint64_t)c->retry_base_ms << doublings, (uint64_t)RETRY_MAX_MS);
	curl_off_t asked_s = 0;

	/* Half fixed, half random: clients that lost one server shall not come back in step. */
	ms = ms / 2 + clock_random_below(ms / 2 + 1);
	if (t->easy && curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &asked_s) == CURLE_OK &&
		asked_s > 0)
		ms = MAX_OF(ms, (uint64_t)MIN_OF(asked_s, RETRY_AFTER_MAX_MS / 1000) * 1000);
	return ms;
}

/* Note a failed try. False: it was the last. */
static bool may_try_again(struct transfer *t, enum outcome outcome)
{
	bool further = t->offset >= t->best_offset + PROGRESS_MIN_BYTES;

	t->best_offset = MAX_OF(t->best_offset, t->offset);
	if (outcome == OUTCOME_OUTAGE && further) {
		t->failures_in_row = 1;
		t->tries_used = 0;
		return true;
	}
	t->failures_in_row++;
	/* Bytes that lead nowhere would keep a watchdog quiet for ever, so such a try counts. */
	if (outcome == OUTCOME_OUTAGE && t->outlast_outages && t->try_bytes == 0)
		return true;
	return ++t->tries_used < t->tries_max;
}

static bool is_last_wrong(struct transfer *t, int r)
{
	bool again = t->came_wrong;

	/* Too much may come from a cache on the way, once; -EAGAIN is the sink's wish. */
	t->came_wrong = true;
	return r == -EFBIG && again;
}

/* Prepare the next try, or settle the result (true). */
static bool try_settles(struct http_client *c, struct transfer *t, struct verdict v)
{
	bool last = v.outcome == OUTCOME_DONE || v.outcome == OUTCOME_FINAL;

	if (v.outcome == OUTCOME_REDIRECT)
		return false;
	if (v.outcome == OUTCOME_WRONG_BYTES)
		last = is_last_wrong(t, v.r);
	if (!last)
		last = !may_try_again(t, v.outcome);
	if (last) {
		t->result.r = v.r;
		if (v.r == -EAGAIN) {
			t->result.r = t->result.err.errnum = -EBADMSG;
			ota_err_blame(&t->result.err, OTA_E_OTA_IMAGE_INVALID);
		}
		return true;
	}
	t->result.retries++;
	c->trouble = t->result.err;
	t->n_hops = 0;
	free(TAKE_PTR(t->hop_url));
	if (v.outcome == OUTCOME_WRONG_BYTES || v.outcome == OUTCOME_NO_RANGE) {
		/* From the start. A cache that had wrong bytes is not asked for a part of them. */
		t->no_range = true;
	}
	t->start_at_ms = clock_monotonic_ms() + back_off_ms(t, c);
	return false;
}

/* Take the transfer off the line. */
static void try_stop(struct http_client *c, struct transfer *t)
{
	for (unsigned i = 0; i < c->n_active; i++)
		if (c->active[i] == t)
			c->active[i] = c->active[--c->n_active];
	curl_multi_remove_handle(c->multi, t->easy);
	curl_easy_cleanup(t->easy);
	t->easy = NULL;
}

static int try_start(struct http_client *c, struct transfer *t)
{
	if (try_begin(t) < 0)
		return -ENOMEM;
	c->active[c->n_active++] = t;
	if (curl_multi_add_handle(c->multi, t->easy) == CURLM_OK)
		return 0;
	try_stop(c, t);
	return -ENOMEM;
}

/* ---- the queue ---- */

static void enqueue(struct http_client *c, struct transfer *t)
{
	struct transfer **at = &c->queue;

	while (*at)
		at = &(*at)->next;
	t->next = NULL;
	*at = t;
}

static void finish(struct http_client *c, struct transfer *t)
{
	c->n_pending--;
	c->n_done++;
	if (t->result.r == 0)
		t->result.err = (struct ota_err){0};
	if (t->done)
		t->done(t->done_ctx, &t->result);
	transfer_free(t);
}

static void start_due(struct http_client *c, uint64_t now)
{
	struct transfer **at = &c->queue;

	while (*at && c->n_active < c->max_connections) {
		struct transfer *t = *at;

		if (t->start_at_ms > now) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		if (try_start(c, t) < 0) {
			t->result.r = try_error(t, -ENOMEM, OTA_E_UNSPECIFIC, strerror(ENOMEM));
			finish(c, t);
			at = &c->queue; /* done() may have changed it */
		}
	}
}

static void try_ended(struct http_client *c, struct transfer *t, struct verdict v)
{
	bool settled = try_settles(c, t, v);

	try_stop(c, t);
	if (settled)
		finish(c, t);
	else
		enqueue(c, t);
}

/* Ask the sink of a paused transfer. False: the transfer has ended. */
static bool ask_sink(struct http_client *c, struct transfer *t)
{
	int ready = t->sink.ready(t->sink_ctx);
	struct verdict v;

	if (ready < 0)
		v = try_unwanted(t, ready);
	else if (ready == 0 || try_resume(t, &v))
		return true;
	try_ended(c, t, v);
	return false;
}

static void resume_paused(struct http_client *c)
{
	for (unsigned i = 0; i < c->n_active;)
		if (!c->active[i]->paused || ask_sink(c, c->active[i]))
			i++; /* else another one has taken its place */
}

static void collect_ended(struct http_client *c)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(c->multi, &left))) {
		CURLcode code = msg->data.result;
		struct transfer *t = NULL;
		char *private = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
		t = (struct transfer *)(void *)private;
		try_ended(c, t, try_judge(t, code));
	}
}

/*
 * Cut what stalls and end what is late. @now is from before the sockets were served: a transfer
 * whose bytes only waited for us, because another one's sink took long, is not stalled.
 */
static void cut_late(struct http_client *c, uint64_t now)
{
	for (unsigned i = 0; i < c->n_active;) {
		struct transfer *t = c->active[i];
		bool stalled = !t->paused && now >= t->last_byte_ms + c->stall_timeout_ms;

		if (now >= t->deadline_ms)
			try_ended(c, t, try_timed_out(t, OUTCOME_FINAL));
		else if (stalled)
			try_ended(c, t, try_timed_out(t, OUTCOME_OUTAGE));
		else
			i++;
	}
	for (struct transfer **at = &c->queue; *at;) {
		struct transfer *t = *at;

		if (now < t->deadline_ms) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		t->result.r = try_timed_out(t, OUTCOME_FINAL).r;
		finish(c, t);
		at = &c->queue;
	}
}

/* How long nothing of ours needs to happen, at most @wait_ms. */
static uint64_t until_next(const struct http_client *c, uint64_t now, uint64_t wait_ms)
{
	uint64_t at = now + MIN_OF(wait_ms, (uint64_t)POLL_MAX_MS);

	for (unsigned i = 0; i < c->n_active; i++) {
		const struct transfer *t = c->active[i];

		at = MIN_OF(at, t->deadline_ms);
		if (!t->paused)
			at = MIN_OF(at, t->last_byte_ms + c->stall_timeout_ms);
	}
	for (const struct transfer *t = c->queue; t; t = t->next) {
		at = MIN_OF(at, t->deadline_ms);
		if (c->n_active < c->max_connections)
			at = MIN_OF(at, t->start_at_ms);
	}
	return at > now ? at - now : 0;
}

static int multi_failed(CURLMcode code, struct ota_err *err)
{
	return ota_err_set(
		err, -EIO, OTA_E_NETWORK, "The HTTP library failed: %s", curl_multi_strerror(code));
}

/* What can be done without waiting. */
static int run_round(struct http_client *c, uint64_t now, struct ota_err *err)
{
	CURLMcode code;
	int n_running;

	if (c->n_pending == 0)
		return 0;
	start_due(c, now);
	resume_paused(c);
	code = curl_multi_perform(c->multi, &n_running);
	if (code != CURLM_OK)
		return multi_failed(code, err);
	collect_ended(c);
	cut_late(c, now);
	return 0;
}

static int run_loop(struct http_client *c, uint32_t wait_ms, struct ota_err *err)
{
	struct curl_waitfd watched = {.fd = c->watched_fd, .events = CURL_WAIT_POLLIN};
	unsigned n_watched = c->watched_fd >= 0;
	uint64_t end_ms = clock_monotonic_ms() + wait_ms;
	size_t n_done = c->n_done;

	for (;;) {
		uint64_t now = clock_monotonic_ms();
		CURLMcode code;
		int r = run_round(c, now, err);

		if (r < 0)
			return r;
		if (c->n_done != n_done || (c->n_pending == 0 && !n_watched) || now >= end_ms ||
			watched.revents || atomic_exchange(&c->woken, false))
			return 0;
		now = clock_monotonic_ms();
		code = curl_multi_poll(c->multi, n_watched ? &watched : NULL, n_watched,
			(int)until_next(c, now, now < end_ms ? end_ms - now : 0), NULL);
		if (code != CURLM_OK)
			return multi_failed(code, err);
	}
}

/* ---- the contract ---- */

/*
 * OpenSSL writes to sockets without MSG_NOSIGNAL. The signal is kept from this thread alone, and
 * one that came is taken, so that nobody else's handling of it changes.
 */
int http_client_run(struct http_client *c, uint32_t wait_ms, struct ota_err *err)
{
	sigset_t pipe_set, old_set, pending;
	int r;

	if (c->sigpipe_ignored)
		return run_loop(c, wait_ms, err);
	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);
	r = run_loop(c, wait_ms, err);
	if (!sigismember(&old_set, SIGPIPE) && sigpending(&pending) == 0 &&
		sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe_set, NULL, &(struct timespec){0});
	pthread_sigmask(SIG_SETMASK, &old_set, NULL);
	return r;
}

static void library_init(void)
{
	curl_global_init(CURL_GLOBAL_ALL);
}

static int check_field(const char *what, const char *value, struct ota_err *err)
{
	if (!value || http_text_is_field_value(value))
		return 0;
	return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
		"The value of %s has a line end or another control character in it", what);
}

static int check_config(const struct http_config *config, struct ota_err *err)
{
	int r = check_field("cookies", config->cookies, err);

	if (r == 0)
		r = check_field("user agent", config->user_agent, err);
	if (r == 0 && config->proxy) {
		r = http_url_check(config->proxy, err);
		if (r < 0)
			return ota_err_wrap(err, r, "Cannot use the proxy");
	}
	if (r == 0 && config->proxy && http_url_is_https(config->proxy))
		r = ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"Cannot use the proxy %s: only http:// is spoken to a proxy",
			config->proxy);
	return r;
}

static bool copy_text(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return !text || *ret_copy;
}

static int no_memory(struct ota_err *err)
{
	return ota_err_no_memory(err, "an HTTP client");
}

int http_client_new(
	const struct http_config *config, struct http_client **ret_client, struct ota_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO_HTTP_CLIENT struct http_client *c = NULL;
	int r = check_config(config, err);

	if (r < 0)
		return r;
	pthread_once(&once, library_init);
	c = calloc(1, sizeof(*c));
	if (!c)
		return no_memory(err);
	c->max_connections = MIN_OF(
		config->max_connections ? config->max_connections : (unsigned)CONNECTIONS_DEFAULT,
		(unsigned)CONNECTIONS_MAX);
	c->stall_timeout_ms = config->stall_timeout_ms ? config->stall_timeout_ms
						       : (uint32_t)HTTP_STALL_TIMEOUT_MS;
	c->retry_base_ms = config->retry_base_ms ? config->retry_base_ms : (uint32_t)RETRY_BASE_MS;
	c->shared.tls_cas = config->tls_cas;
	c->shared.net = config->net;
	c->watched_fd = -1;
	c->sigpipe_ignored = config->sigpipe_ignored;
	c->multi = curl_multi_init();
	c->shared.tls_sessions = curl_share_init();
	if (!c->multi || !c->shared.tls_sessions || !copy_text(config->proxy, &c->shared.proxy) ||
		!copy_text(config->tls_ca, &c->shared.tls_ca) ||
		!copy_text(config->cookies, &c->shared.cookies) ||
		!copy_text(config->user_agent ? config->user_agent : "otaclient/" OTA_VERSION,
			&c->shared.user_agent))
		return no_memory(err);
	curl_share_setopt(c->shared.tls_sessions, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)c->max_connections);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)c->max_connections);
	*ret_client = TAKE_PTR(c);
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	while (c->n_active > 0) {
		struct transfer *t = c->active[0];

		try_stop(c, t);
		transfer_free(t);
	}
	while (c->queue) {
		struct transfer *t = c->queue;

		c->queue = t->next;
		transfer_free(t);
	}
	curl_multi_cleanup(c->multi);
	curl_share_cleanup(c->shared.tls_sessions);
	free(c->shared.proxy);
	free(c->shared.tls_ca);
	free(c->shared.cookies);
	free(c->shared.user_agent);
	free(c);
}

void http_client_freep(struct http_client **c)
{
	http_client_free(*c);
}

/* "Name: value"? libcurl would leave out in silence what is none, and take "Name;" for one. */
static int check_whole_field(const char *field, struct ota_err *err)
{
	size_t name_bytes = strcspn(field, ":; \t");
	int r = check_field("a header field", field, err);

	if (r == 0 && (name_bytes == 0 || field[name_bytes] != ':'))
		r = ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST, "A header field has no name");
	return r;
}

static int check_request(const struct http_request *request, struct ota_err *err)
{
	int r = http_url_check(request->url, err);

	if (r == 0)
		r = check_field("cache-control directive", request->cache_control, err);
	for (const char *const *f = request->fields; r == 0 && f && *f; f++)
		r = check_whole_field(*f, err);
	return r;
}

static bool copy_fields(const char *const *fields, struct curl_slist **ret_list)
{
	for (; fields && *fields; fields++) {
		struct curl_slist *more = curl_slist_append(*ret_list, *fields);

		if (!more)
			return false;
		*ret_list = more;
	}
	return true;
}

/* An answer to what was sent cannot be continued. */
static bool copy_post(const struct http_request *request, struct transfer *t)
{
	if (!request->post)
		return true;
	t->no_range = true;
	t->post_bytes = request->post_bytes;
	t->post = malloc(MAX_OF(request->post_bytes, (size_t)1));
	if (t->post)
		memcpy(t->post, request->post, request->post_bytes);
	return t->post;
}

int http_client_add(struct http_client *c, const struct http_request *request, struct ota_err *err)
{
	CLEANUP(transfer_freep) struct transfer *t = NULL;
	int r = check_request(request, err);

	assert(request->sink.data || request->head);
	assert(!request->head || !request->post);
	if (r < 0)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t || !copy_text(request->url, &t->url) ||
		!copy_text(request->cache_control, &t->cache_control) ||
		!copy_fields(request->fields, &t->fields) || !copy_post(request, t))
		return no_memory(err);
	t->request_url = http_url_for_request(request->url, c->shared.proxy != NULL);
	if (!t->request_url)
		return no_memory(err);
	t->shared = &c->shared;
	t->max_bytes = request->max_bytes;
	t->tries_max = request->tries_max ? request->tries_max : (unsigned)HTTP_TRIES_MAX;
	t->outlast_outages = request->outlast_outages;
	t->undo_encoding = request->undo_encoding;
	t->head = request->head;
	t->conditional = request->conditional;
	t->hop = request->hop;
	t->hop_ctx = request->hop_ctx;
	t->sink = request->sink;
	t->sink_ctx = request->sink_ctx;
	t->done = request->done;
	t->done_ctx = request->done_ctx;
	t->total_bytes = HTTP_LENGTH_UNKNOWN;
	t->deadline_ms = request->total_timeout_ms
				 ? clock_monotonic_ms() + request->total_timeout_ms
				 : UINT64_MAX;
	c->n_pending++;
	enqueue(c, TAKE_PTR(t));
	return 0;
}

size_t http_client_pending(const struct http_client *c)
{
	return c->n_pending;
}

void http_client_watch(struct http_client *c, int fd)
{
	c->watched_fd = fd;
}

struct ota_err http_client_trouble(const struct http_client *c)
{
	return c->trouble;
}

void http_client_wakeup(struct http_client *c)
{
	atomic_store(&c->woken, true);
	curl_multi_wakeup(c->multi);
}

void http_client_yield(struct http_client *c)
{
	atomic_store(&c->woken, true);
}

struct one_get {
	struct http_result result;
	bool done;
};

static void one_done(void *ctx, const struct http_result *result)
{
	struct one_get *one = ctx;

	one->result = *result;
	one->done = true;
}

int http_get(
	struct http_client *c, const struct http_request *request, struct http_result *ret_result)
{
	struct one_get one = {0};
	struct http_request once = *request;
	int r;

	once.done = one_done;
	once.done_ctx = &one;
	r = http_client_add(c, &once, &one.result.err);
	while (r == 0 && !one.done)
		r = http_client_run(c, POLL_MAX_MS, &one.result.err);
	if (r < 0) {
		/* What may still be under way must not report to a frame that is gone. */
		for (unsigned i = 0; i < c->n_active; i++)
			if (c->active[i]->done_ctx == &one)
				c->active[i]->done = NULL;
		for (struct transfer *t = c->queue; t; t = t->next)
			if (t->done_ctx == &one)
				t->done = NULL;
		one.result.r = r;
	}
	*ret_result = one.result;
	return one.result.r;
}
