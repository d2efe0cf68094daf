/*
 * http: the client: which transfers run, what comes of a try, and when the next one is due.
 * Contract: http.h.
 *
 * A request lives through tries. Each ends with an outcome (struct verdict) that one function
 * derives from the status, libcurl's code and the sink; only then is decided whether it was the
 * last. Timers are ours and not libcurl's, because a stalled transfer must be cut even where
 * another request waits for its connection.
 *
 * Elsewhere: what an answer's header says (http_answer), URLs (http_url), cookies (http_cookies).
 */
#include "common/net/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/net/http_answer.h"
#include "common/net/http_url.h"

enum {
	CONNECTIONS_DEFAULT = 8,
	CONNECTIONS_MAX = 32,
	RETRY_BASE_MS = 200,
	RETRY_MAX_MS = 8 * 1000,
	RETRY_AFTER_MAX_MS = 30 * 1000,   /* a server may ask for so much patience, not for more */
	ERROR_BODY_MAX_BYTES = 64 * 1024, /* read to keep the connection; beyond, it is closed */
	PROGRESS_MIN_BYTES = 16 * 1024,   /* less than this is not worth a free try */
	BUFFER_BYTES = 128 * 1024,
	POLL_MAX_MS = 1000,
};

enum outcome {
	OUTCOME_UNKNOWN = 0, /* the try is under way */
	OUTCOME_DONE,
	OUTCOME_FINAL,       /* nothing would be gained by a repetition */
	OUTCOME_OUTAGE,      /* no connection, a cut, a stall, a busy or lost server */
	OUTCOME_FAULT,       /* the server answers, but not as it should */
	OUTCOME_WRONG_BYTES, /* the sink says so, or more came than could be right */
	OUTCOME_NO_RANGE,    /* the server cannot continue where we stopped */
	OUTCOME_REDIRECT,    /* not a try of its own */
};

struct verdict {
	enum outcome outcome;
	int r; /* the request's result, should this have been the last try */
};

struct transfer {
	struct http_client *client;
	struct transfer *next; /* in the queue */

	/* the request */
	char *url, *request_url, *cache_control; /* request_url: as it is asked for */
	uint64_t max_bytes;
	unsigned tries_max;
	bool outlast_outages, undo_encoding;
	uint64_t deadline_ms; /* on the monotonic clock; UINT64_MAX = none */
	struct http_sink sink;
	void *sink_ctx;
	void (*done)(void *ctx, const struct http_result *result);
	void *done_ctx;

	/* over all tries */
	struct http_result result;
	uint64_t start_at_ms; /* not before this */
	uint64_t offset;      /* the next byte that the sink expects */
	uint64_t best_offset; /* how far any try came */
	uint64_t total_bytes; /* of the whole body; HTTP_LENGTH_UNKNOWN */
	unsigned tries_used, failures_in_row;
	unsigned n_answers; /* with a body for the sink */
	bool no_range, came_wrong;
	char *hop_url; /* where a redirect led; NULL = none did, since the last try began */
	unsigned n_hops;
	char validator[HTTP_VALIDATOR_MAX];

	/* this try */
	CURL *easy;
	struct curl_slist *headers;
	struct http_answer answer;
	bool asked_range, takes_body;
	uint64_t try_bytes, error_bytes;
	uint64_t last_byte_ms;
	struct verdict verdict; /* set by a callback that ends the try */
	char curl_text[CURL_ERROR_SIZE];
};

struct http_client {
	CURLM *multi;
	char *proxy, *tls_ca, *cookies, *user_agent;
	unsigned max_connections;
	uint32_t stall_timeout_ms, retry_base_ms;
	struct transfer *queue; /* waiting, in the order of being added */
	struct transfer *active[CONNECTIONS_MAX];
	unsigned n_active;
	CURLSH *share; /* TLS sessions, which would otherwise go with each try */
	size_t n_pending;
	size_t n_done;
	uint64_t last_byte_ms;
	struct ota_err trouble; /* of the last failed try */
	atomic_bool woken;
};

static void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	curl_slist_free_all(t->headers);
	free(t->url);
	free(t->request_url);
	free(t->hop_url);
	free(t->cache_control);
	free(t);
}

static void transfer_freep(struct transfer **t)
{
	transfer_free(*t);
}

static const char *asked_url(const struct transfer *t)
{
	return t->hop_url ? t->hop_url : t->request_url;
}

/* End this try from inside a callback. Returns false, so that the callback can return it. */
static bool try_ends(struct transfer *t, enum outcome outcome, int r)
{
	t->verdict = (struct verdict){outcome, r};
	return false;
}

static int network_error(struct transfer *t, int errnum, enum ota_code code, const char *reason)
{
	char text[HTTP_URL_TEXT_MAX];

	return ota_err_set(&t->result.err, errnum, code, "Cannot fetch %s: %s",
		http_url_text(t->url, text), reason);
}

/* What the sink returned (< 0) as the end of this try. */
static bool sink_refused(struct transfer *t, int r)
{
	if (t->result.err.errnum == 0)
		network_error(t, r, OTA_E_UNSPECIFIC, strerror(-r));
	return try_ends(t, r == -EAGAIN ? OUTCOME_WRONG_BYTES : OUTCOME_FINAL, r);
}

static bool too_much(struct transfer *t)
{
	char reason[96];

	snprintf(reason, sizeof(reason),
		"the server sends more than the %llu bytes that it may have",
		(unsigned long long)t->max_bytes);
	network_error(t, -EFBIG, OTA_E_OTA_IMAGE_INVALID, reason);
	return try_ends(t, OUTCOME_WRONG_BYTES, -EFBIG);
}

/* ---- what arrives ---- */

static long status_of(struct transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* A status line: a new answer begins, perhaps after a redirect. */
static bool answer_begins(struct transfer *t)
{
	long status = status_of(t);
	int r;

	http_answer_init(&t->answer);
	t->takes_body = status == 200 || (status == 206 && t->asked_range);
	if (status != 200)
		return true;
	t->offset = 0;
	t->total_bytes = HTTP_LENGTH_UNKNOWN;
	t->validator[0] = '\0';
	if (t->n_answers++ == 0)
		return true;
	r = t->sink.restart ? t->sink.restart(t->sink_ctx, &t->result.err) : 0;
	return r < 0 ? sink_refused(t, r) : true;
}

static bool range_fits(const struct transfer *t)
{
	const struct http_answer *a = &t->answer;
	const char *validator = http_answer_validator(a);

	return a->has_range && a->range_first == t->offset && !a->encoded &&
	       (t->total_bytes == HTTP_LENGTH_UNKNOWN || a->range_total == HTTP_LENGTH_UNKNOWN ||
		       a->range_total == t->total_bytes) &&
	       (validator[0] == '\0' || strcmp(validator, t->validator) == 0);
}

/* The header of an answer for the sink is complete: can its body be right? */
static bool answer_begun(struct transfer *t)
{
	const struct http_answer *a = &t->answer;

	if (!t->takes_body)
		return true;
	if (t->asked_range && status_of(t) == 206) {
		if (!range_fits(t)) {
			network_error(t, -EPROTO, OTA_E_NETWORK,
				"the server continues elsewhere than asked");
			return try_ends(t, OUTCOME_NO_RANGE, -EPROTO);
		}
		if (a->range_total != HTTP_LENGTH_UNKNOWN)
			t->total_bytes = a->range_total;
	} else {
		if (!a->encoded)
			t->total_bytes = a->length_bytes;
		if (!a->refuses_ranges && !a->encoded)
			memcpy(t->validator, http_answer_validator(a), sizeof(t->validator));
	}
	if (t->total_bytes != HTTP_LENGTH_UNKNOWN && t->total_bytes > t->max_bytes)
		return too_much(t);
	return true;
}

/* The status line, each field, the empty line, and, behind a chunked body, trailers. */
static bool header_line(struct transfer *t, const char *line, size_t len)
{
	struct http_field field;
	int r;

	if (t->try_bytes > 0)
		return true; /* trailers say nothing that we believe */
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		return answer_begins(t);
	if (line[0] == '\r' || line[0] == '\n')
		return answer_begun(t);
	if (!http_field_split(line, len, &field))
		return true;
	http_answer_add(&t->answer, &field);
	if (!t->takes_body || !t->sink.header)
		return true;
	r = t->sink.header(t->sink_ctx, field.name, field.value, &t->result.err);
	return r < 0 ? sink_refused(t, r) : true;
}

static bool body_piece(struct transfer *t, const char *data, size_t len)
{
	int r;

	if (!t->takes_body) {
		t->error_bytes += len;
		return t->error_bytes <= ERROR_BODY_MAX_BYTES;
	}
	t->try_bytes += len;
	t->result.wire_bytes += len;
	if (t->max_bytes - t->offset < len)
		return too_much(t);
	r = t->sink.data(t->sink_ctx, data, len, &t->result.err);
	if (r < 0)
		return sink_refused(t, r);
	t->offset += len;
	return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	t->last_byte_ms = clock_monotonic_ms();
	return n > 0 && !header_line(t, line, n) ? 0 : n;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	t->last_byte_ms = clock_monotonic_ms();
	if (t->takes_body) /* error pages are no sign of life */
		t->client->last_byte_ms = t->last_byte_ms;
	return n > 0 && !body_piece(t, data, n) ? 0 : n;
}

/* ---- what came of a try ---- */

/* clang-format off */
static const struct {
	long status;
	enum outcome outcome;
	int r;
	enum ota_code code;
	const char *text;
} status_table[] = {
	{401, OUTCOME_FINAL,  -EACCES, OTA_E_COOKIE_INVALID,    "the server wants other credentials"},
	{403, OUTCOME_FINAL,  -EACCES, OTA_E_COOKIE_INVALID,    "the server forbids it"},
	{404, OUTCOME_FINAL,  -ENOENT, OTA_E_OTA_IMAGE_INVALID, "the server does not have it"},
	{410, OUTCOME_FINAL,  -ENOENT, OTA_E_OTA_IMAGE_INVALID, "the server does not have it any more"},
	{408, OUTCOME_FAULT,  -EIO,    OTA_E_NETWORK,           "the server's patience ended"},
	{413, OUTCOME_FAULT,  -EIO,    OTA_E_NETWORK,           "the server finds the request too large"},
	{425, OUTCOME_FAULT,  -EIO,    OTA_E_NETWORK,           "the server wants it later"},
	{429, OUTCOME_OUTAGE, -EIO,    OTA_E_NETWORK,           "the server wants fewer requests"},
	{500, OUTCOME_FAULT,  -EIO,    OTA_E_NETWORK,           "the server failed"},
	{502, OUTCOME_OUTAGE, -EIO,    OTA_E_NETWORK,           "the server behind it failed"},
	{503, OUTCOME_OUTAGE, -EIO,    OTA_E_NETWORK,           "the server is busy"},
	{504, OUTCOME_OUTAGE, -EIO,    OTA_E_NETWORK,           "the server behind it does not answer"},
};

static const struct {
	CURLcode code;
	enum outcome outcome;
	int r;
} curl_table[] = {
	{CURLE_COULDNT_RESOLVE_PROXY,    OUTCOME_OUTAGE, -EIO},
	{CURLE_COULDNT_RESOLVE_HOST,     OUTCOME_OUTAGE, -EIO},
	{CURLE_COULDNT_CONNECT,          OUTCOME_OUTAGE, -EIO},
	{CURLE_PARTIAL_FILE,             OUTCOME_OUTAGE, -EIO},
	{CURLE_OPERATION_TIMEDOUT,       OUTCOME_OUTAGE, -ETIMEDOUT},
	{CURLE_GOT_NOTHING,              OUTCOME_OUTAGE, -EIO},
	{CURLE_SEND_ERROR,               OUTCOME_OUTAGE, -EIO},
	{CURLE_RECV_ERROR,               OUTCOME_OUTAGE, -EIO},
	{CURLE_SSL_CONNECT_ERROR,        OUTCOME_OUTAGE, -EIO},
	{CURLE_HTTP2,                    OUTCOME_OUTAGE, -EIO},
	{CURLE_HTTP2_STREAM,             OUTCOME_OUTAGE, -EIO},
	{CURLE_WEIRD_SERVER_REPLY,       OUTCOME_FAULT,  -EPROTO},
	{CURLE_BAD_CONTENT_ENCODING,     OUTCOME_FAULT,  -EPROTO},
	{CURLE_PEER_FAILED_VERIFICATION, OUTCOME_FINAL,  -EPROTO},
	{CURLE_SSL_CACERT_BADFILE,       OUTCOME_FINAL,  -EPROTO},
	{CURLE_UNSUPPORTED_PROTOCOL,     OUTCOME_FINAL,  -EPROTO},
	{CURLE_OUT_OF_MEMORY,            OUTCOME_FINAL,  -ENOMEM},
};
/* clang-format on */

/* The whole body came, as far as HTTP can tell. */
static struct verdict judge_body(struct transfer *t)
{
	int r = 0;

	if (t->total_bytes != HTTP_LENGTH_UNKNOWN && t->offset < t->total_bytes) {
		network_error(t, -EIO, OTA_E_NETWORK, "the server sent only a part");
		return (struct verdict){OUTCOME_OUTAGE, -EIO};
	}
	if (t->sink.end)
		r = t->sink.end(t->sink_ctx, &t->result.err);
	if (r == 0)
		return (struct verdict){OUTCOME_DONE, 0};
	sink_refused(t, r);
	return t->verdict;
}

static struct verdict judge_status(struct transfer *t, long status)
{
	char reason[160];

	for (size_t i = 0; i < ARRAY_SIZE(status_table); i++) {
		if (status_table[i].status != status)
			continue;
		snprintf(reason, sizeof(reason), "%s (status %ld)", status_table[i].text, status);
		network_error(t, status_table[i].r, status_table[i].code, reason);
		return (struct verdict){status_table[i].outcome, status_table[i].r};
	}
	snprintf(reason, sizeof(reason), "the server answers with status %ld", status);
	network_error(t, -EPROTO, OTA_E_NETWORK, reason);
	if (status == 416 && t->asked_range)
		return (struct verdict){OUTCOME_NO_RANGE, -EPROTO};
	return (struct verdict){status >= 500 ? OUTCOME_FAULT : OUTCOME_FINAL, -EPROTO};
}

/*
 * Redirects are followed here and not by libcurl, for the sake of two rules: never from https to
 * http, and cookies only to the host that they are for.
 */
static struct verdict judge_redirect(struct transfer *t, const char *to)
{
	const struct verdict refused = {OUTCOME_FINAL, -EPROTO};
	const char *from = asked_url(t);
	AUTO_FREE char *hop_url = NULL;
	struct ota_err why = {0};

	if (http_url_check(to, &why) < 0) {
		network_error(t, -EPROTO, OTA_E_NETWORK, "the server redirects to what is no URL");
		return refused;
	}
	if (http_url_is_https(from) && !http_url_is_https(to)) {
		network_error(t, -EPROTO, OTA_E_NETWORK, "the server redirects from https to http");
		return refused;
	}
	if (t->n_hops == HTTP_REDIRECTS_MAX) {
		network_error(t, -EPROTO, OTA_E_NETWORK, "the server redirects too often");
		return refused;
	}
	hop_url = http_url_for_request(to, t->client->proxy != NULL);
	if (!hop_url) {
		network_error(t, -ENOMEM, OTA_E_UNSPECIFIC, strerror(ENOMEM));
		return (struct verdict){OUTCOME_FINAL, -ENOMEM};
	}
	free(t->hop_url);
	t->hop_url = TAKE_PTR(hop_url);
	t->n_hops++;
	return (struct verdict){OUTCOME_REDIRECT, 0};
}

static struct verdict judge_curl(struct transfer *t, CURLcode code)
{
	struct verdict v = {OUTCOME_FINAL, -EIO};

	for (size_t i = 0; i < ARRAY_SIZE(curl_table); i++)
		if (curl_table[i].code == code)
			v = (struct verdict){curl_table[i].outcome, curl_table[i].r};
	network_error(
		t, v.r, OTA_E_NETWORK, t->curl_text[0] ? t->curl_text : curl_easy_strerror(code));
	return v;
}

static struct verdict judge(struct transfer *t, CURLcode code)
{
	long status = status_of(t);
	char *to = NULL;

	t->result.status = (unsigned)status;
	if (t->verdict.outcome != OUTCOME_UNKNOWN)
		return t->verdict;
	if (status >= 300 && status < 400)
		curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to);
	if (to)
		return judge_redirect(t, to);
	/* A page of error text that was cut, or that we stopped reading, is still that error. */
	if (!t->takes_body && (code == CURLE_OK || status >= 400))
		return judge_status(t, status);
	return code == CURLE_OK ? judge_body(t) : judge_curl(t, code);
}

/* ---- tries ---- */

static uint64_t back_off_ms(struct transfer *t, const struct http_client *c)
{
	unsigned doublings = MIN_OF(t->failures_in_row - 1, 12u);
	uint64_t ms = MIN_OF((uint64_t)c->retry_base_ms << doublings, (uint64_t)RETRY_MAX_MS);
	curl_off_t asked_s = 0;

	/* Half fixed, half random: many clients that lost one server shall not come back in step.
	 */
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

static int add_header(struct transfer *t, const char *name, const char *value)
{
	AUTO_FREE char *line = NULL;
	struct curl_slist *more;

	if (asprintf(&line, "%s: %s", name, value) < 0)
		return -ENOMEM;
	more = curl_slist_append(t->headers, line);
	if (!more)
		return -ENOMEM;
	t->headers = more;
	return 0;
}

static int set_headers(struct http_client *c, struct transfer *t)
{
	AUTO_FREE char *value = NULL;
	int r = 0;

	curl_slist_free_all(t->headers);
	t->headers = NULL;
	if (c->proxy && t->cache_control) {
		if (asprintf(&value, "%s%s", t->came_wrong ? "retry_caching," : "",
			    t->cache_control) < 0)
			return -ENOMEM;
		r = add_header(t, "ota-file-cache-control", value);
	}
	if (r == 0 && t->asked_range)
		r = add_header(t, "If-Range", t->validator);
	/* Takes libcurl's own line off: we ask for nothing, and undo what comes all the same. */
	if (r == 0 && t->undo_encoding)
		r = add_header(t, "Accept-Encoding", "");
	return r;
}

#define SET(option, value) (ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK)

/* Who we talk to, and what we believe. */
static bool set_connection(CURL *e, const struct http_client *c, const struct transfer *t)
{
	bool ok = true;

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PROXY, c->proxy ? c->proxy : ""); /* "": nor one from the environment */
	SET(CURLOPT_NOPROXY, "");
	if (http_url_is_https(asked_url(t))) {
		SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
		SET(CURLOPT_PIPEWAIT, 1L); /* rather share a connection than open the next */
	} else {
		SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	}
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (c->tls_ca) {
		SET(CURLOPT_CAINFO, c->tls_ca);
		SET(CURLOPT_CAPATH, NULL); /* these and no others */
	}
	SET(CURLOPT_SHARE, c->share);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_CONNECT_TIMEOUT_MS);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_NOSIGNAL, 1L);
	return ok;
}

static bool set_request(CURL *e, const struct http_client *c, struct transfer *t)
{
	bool ok = true;
	char range[32];

	snprintf(range, sizeof(range), "%llu-", (unsigned long long)t->offset);
	SET(CURLOPT_URL, asked_url(t));
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_USERAGENT, c->user_agent);
	SET(CURLOPT_COOKIE, http_url_same_host(asked_url(t), t->request_url) ? c->cookies : NULL);
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_RANGE, t->asked_range ? range : NULL);
	if (t->undo_encoding)
		SET(CURLOPT_ACCEPT_ENCODING, "");
	SET(CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_ERRORBUFFER, t->curl_text);
	SET(CURLOPT_PRIVATE, t);
	return ok;
}

#undef SET

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
	/* Without a validator the rest could be of another version of the file. */
	t->asked_range = t->offset > 0 && t->validator[0] && !t->no_range;
	t->takes_body = false;
	t->try_bytes = t->error_bytes = 0;
	t->verdict = (struct verdict){OUTCOME_UNKNOWN, 0};
	t->result.err = (struct ota_err){0};
	t->curl_text[0] = '\0';
	t->last_byte_ms = clock_monotonic_ms();
	t->easy = curl_easy_init();
	if (!t->easy)
		return -ENOMEM;
	c->active[c->n_active++] = t;
	if (set_headers(c, t) < 0 || !set_connection(t->easy, c, t) ||
		!set_request(t->easy, c, t) ||
		curl_multi_add_handle(c->multi, t->easy) != CURLM_OK) {
		try_stop(c, t);
		return -ENOMEM;
	}
	return 0;
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
			t->result.r = network_error(t, -ENOMEM, OTA_E_UNSPECIFIC, strerror(ENOMEM));
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
		try_ended(c, t, judge(t, code));
	}
}

static struct verdict timed_out(struct transfer *t, enum outcome outcome)
{
	network_error(t, -ETIMEDOUT, OTA_E_NETWORK,
		outcome == OUTCOME_FINAL ? "its time is up" : "no byte came for too long");
	return (struct verdict){outcome, -ETIMEDOUT};
}

/*
 * Cut what stalls and end what is late. @now is from before the sockets were served: a transfer
 * whose bytes only waited for us, because another one's sink took long, is not stalled.
 */
static void cut_late(struct http_client *c, uint64_t now)
{
	for (unsigned i = 0; i < c->n_active;) {
		struct transfer *t = c->active[i];
		bool stalled = now >= t->last_byte_ms + c->stall_timeout_ms;

		if (now >= t->deadline_ms)
			try_ended(c, t, timed_out(t, OUTCOME_FINAL));
		else if (stalled)
			try_ended(c, t, timed_out(t, OUTCOME_OUTAGE));
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
		t->result.r = timed_out(t, OUTCOME_FINAL).r;
		finish(c, t);
		at = &c->queue;
	}
}

/* How long nothing of ours needs to happen, at most @wait_ms. */
static uint64_t until_next(const struct http_client *c, uint64_t now, uint64_t wait_ms)
{
	uint64_t at = now + MIN_OF(wait_ms, (uint64_t)POLL_MAX_MS);

	for (unsigned i = 0; i < c->n_active; i++)
		at = MIN_OF(at, MIN_OF(c->active[i]->deadline_ms,
					c->active[i]->last_byte_ms + c->stall_timeout_ms));
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

static int run_loop(struct http_client *c, uint32_t wait_ms, struct ota_err *err)
{
	uint64_t end_ms = clock_monotonic_ms() + wait_ms;
	size_t n_done = c->n_done;

	for (;;) {
		uint64_t now = clock_monotonic_ms();
		CURLMcode code;
		int n_running;

		start_due(c, now);
		code = curl_multi_perform(c->multi, &n_running);
		if (code != CURLM_OK)
			return multi_failed(code, err);
		collect_ended(c);
		cut_late(c, now);
		if (c->n_done != n_done || c->n_pending == 0 || now >= end_ms ||
			atomic_exchange(&c->woken, false))
			return 0;
		now = clock_monotonic_ms();
		code = curl_multi_poll(c->multi, NULL, 0,
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
	return ota_err_set(err, -ENOMEM, OTA_E_UNSPECIFIC, "No memory for an HTTP client");
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
	c->last_byte_ms = clock_monotonic_ms();
	c->multi = curl_multi_init();
	c->share = curl_share_init();
	if (!c->multi || !c->share || !copy_text(config->proxy, &c->proxy) ||
		!copy_text(config->tls_ca, &c->tls_ca) ||
		!copy_text(config->cookies, &c->cookies) ||
		!copy_text(config->user_agent ? config->user_agent : "otaclient/" OTA_VERSION,
			&c->user_agent))
		return no_memory(err);
	curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
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
	curl_share_cleanup(c->share);
	free(c->proxy);
	free(c->tls_ca);
	free(c->cookies);
	free(c->user_agent);
	free(c);
}

void http_client_freep(struct http_client **c)
{
	http_client_free(*c);
}

int http_client_add(struct http_client *c, const struct http_request *request, struct ota_err *err)
{
	CLEANUP(transfer_freep) struct transfer *t = NULL;
	int r = http_url_check(request->url, err);

	assert(request->sink.data);
	if (r == 0)
		r = check_field("cache-control directive", request->cache_control, err);
	if (r < 0)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t || !copy_text(request->url, &t->url) ||
		!copy_text(request->cache_control, &t->cache_control))
		return no_memory(err);
	t->request_url = http_url_for_request(request->url, c->proxy != NULL);
	if (!t->request_url)
		return no_memory(err);
	t->client = c;
	t->max_bytes = request->max_bytes;
	t->tries_max = request->tries_max ? request->tries_max : (unsigned)HTTP_TRIES_MAX;
	t->outlast_outages = request->outlast_outages;
	t->undo_encoding = request->undo_encoding;
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

uint64_t http_client_idle_ms(const struct http_client *c)
{
	return clock_monotonic_ms() - c->last_byte_ms;
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
