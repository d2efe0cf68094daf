/*
 * http_try: asking, listening, judging. Contract: http_try.h.
 *
 * Callbacks of libcurl take what arrives and may end the try with a verdict; all other verdicts are derived at
 * its end from the status, libcurl's code and the sink, with the help of two tables.
 */
#include "common/net/http_try.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/net/http_lookup.h"
#include "common/net/http_url.h"

enum {
	ERROR_BODY_MAX_BYTES = 64 * 1024, /* read to keep the connection; beyond, it is closed */
	/* Of one answer, with interim ones before it and trailers behind it. libcurl keeps every
	 * field until the end, and does not limit trailers. */
	FIELDS_MAX_BYTES = 64 * 1024,
	BUFFER_BYTES = 128 * 1024,
};

_Static_assert(
	CURL_MAX_WRITE_SIZE <= (int)HTTP_PIECE_MAX_BYTES, "libcurl hands over no larger pieces");

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->addresses);
	curl_slist_free_all(t->fields);
	free(t->url);
	free(t->request_url);
	free(t->hop_url);
	free(t->cache_control);
	free(t->post);
	free(t);
}

void transfer_freep(struct transfer **t)
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

int try_error(struct transfer *t, int errnum, enum ota_code code, const char *reason)
{
	char text[HTTP_URL_TEXT_MAX];

	return ota_err_set(&t->result.err, errnum, code, "Cannot fetch %s: %s",
		http_url_text(t->url, text), reason);
}

/* What the sink returned (< 0) as the end of this try. */
static bool sink_refused(struct transfer *t, int r)
{
	if (t->result.err.errnum == 0)
		try_error(t, r, OTA_E_UNSPECIFIC, strerror(-r));
	return try_ends(t, r == -EAGAIN ? OUTCOME_WRONG_BYTES : OUTCOME_FINAL, r);
}

static bool too_much(struct transfer *t)
{
	char reason[96];

	snprintf(reason, sizeof(reason),
		"the server sends more than the %llu bytes that it may have",
		(unsigned long long)t->max_bytes);
	try_error(t, -EFBIG, OTA_E_OTA_IMAGE_INVALID, reason);
	return try_ends(t, OUTCOME_WRONG_BYTES, -EFBIG);
}

static size_t too_many_fields(struct transfer *t)
{
	char reason[96];

	snprintf(reason, sizeof(reason),
		"the server sends more than %d bytes of header and trailer fields",
		FIELDS_MAX_BYTES);
	try_error(t, -EPROTO, OTA_E_NETWORK, reason);
	try_ends(t, OUTCOME_FINAL, -EPROTO);
	return 0;
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
	t->headed = false;
	t->says_text = false;
	t->said[0] = '\0';
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

static bool has_too_much(const struct transfer *t)
{
	return !t->head && t->total_bytes != HTTP_LENGTH_UNKNOWN && t->total_bytes > t->max_bytes;
}

static bool part_begun(struct transfer *t)
{
	const struct http_answer *a = &t->answer;

	if (!range_fits(t)) {
		try_error(t, -EPROTO, OTA_E_NETWORK, "the server continues elsewhere than asked");
		return try_ends(t, OUTCOME_NO_RANGE, -EPROTO);
	}
	if (a->range_total != HTTP_LENGTH_UNKNOWN)
		t->total_bytes = a->range_total;
	return has_too_much(t) ? too_much(t) : true;
}

static bool whole_begun(struct transfer *t)
{
	const struct http_answer *a = &t->answer;
	/* Of a coded body, the length is that of what we do not hand on, if we undo the coding. */
	uint64_t sink_bytes =
		a->encoded && t->undo_encoding ? HTTP_LENGTH_UNKNOWN : http_answer_length(a);
	int r;

	if (!a->encoded)
		t->total_bytes = http_answer_length(a);
	if (!a->refuses_ranges && !a->encoded)
		memcpy(t->validator, http_answer_validator(a), sizeof(t->validator));
	if (has_too_much(t))
		return too_much(t);
	if (!t->sink.begin)
		return true;
	r = t->sink.begin(t->sink_ctx, sink_bytes, &t->result.err);
	return r < 0 ? sink_refused(t, r) : true;
}

/* The header of an answer for the sink is complete: can its body be right? */
static bool answer_begun(struct transfer *t)
{
	if (!t->takes_body)
		return true;
	t->begun = true;
	return status_of(t) == 206 ? part_begun(t) : whole_begun(t);
}

/* The status line, each field, the empty line, and, behind a chunked body, trailers. */
static bool header_line(struct transfer *t, const char *line, size_t len)
{
	struct http_field field;
	int r;

	if (t->begun)
		return true; /* trailers say nothing that we believe */
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
		return answer_begins(t);
	if (line[0] == '\r' || line[0] == '\n') {
		t->headed = status_of(t) >= 200; /* else it is an interim answer */
		return answer_begun(t);
	}
	if (!http_field_split(line, len, &field))
		return true;
	http_answer_add(&t->answer, &field);
	if (strcasecmp(field.name, "Content-Type") == 0)
		t->says_text = t->shared->proxy && strncasecmp(field.value, "text/plain", 10) == 0;
	if (!t->takes_body || !t->sink.header)
		return true;
	r = t->sink.header(t->sink_ctx, field.name, field.value, &t->result.err);
	return r < 0 ? sink_refused(t, r) : true;
}

/* What a proxy says about a failure is worth telling; what is not printable is not. */
static void note_said(struct transfer *t, const char *data, size_t len)
{
	size_t have = strlen(t->said);

	for (size_t i = 0; i < len && t->says_text; i++) {
		bool printable = data[i] >= 0x20 && data[i] < 0x7f;

		t->says_text = data[i] != '\n' && data[i] != '\r' && have < sizeof(t->said) - 1;
		if (t->says_text)
			t->said[have++] = printable ? data[i] : '?';
	}
	t->said[have] = '\0';
}

static bool body_piece(struct transfer *t, const char *data, size_t len)
{
	int r;

	if (!t->takes_body) {
		note_said(t, data, len);
		t->error_bytes += len;
		return t->error_bytes <= ERROR_BODY_MAX_BYTES;
	}
	t->try_bytes += len;
	t->result.wire_bytes += len;
	if (t->max_bytes - t->offset < len)
		return too_much(t);
	r = t->sink.data(t->sink_ctx, data, len, &t->result.err);
	t->paused = r == -EBUSY && t->sink.ready;
	if (t->paused) { /* the piece comes again and counts then */
		t->try_bytes -= len;
		t->result.wire_bytes -= len;
		return true;
	}
	if (r < 0)
		return sink_refused(t, r);
	t->offset += len;
	return true;
}

/*
 * @n bytes came, the @first of a header or a body or later ones. Somebody who sends one now and then must not hold
 * the try for ever.
 */
static void note_alive(struct transfer *t, size_t n, bool first)
{
	t->fresh_bytes += n;
	if (!first && t->fresh_bytes < HTTP_STALL_MIN_BYTES)
		return;
	t->fresh_bytes = 0;
	t->last_byte_ms = clock_monotonic_ms();
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	note_alive(t, n, t->fields_bytes == 0);
	t->fields_bytes += n;
	if (t->fields_bytes > FIELDS_MAX_BYTES)
		return too_many_fields(t);
	return n > 0 && !header_line(t, line, n) ? 0 : n;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	note_alive(t, n, t->try_bytes + t->error_bytes == 0);
	if (n > 0 && !body_piece(t, data, n))
		return 0;
	return t->paused ? CURL_WRITEFUNC_PAUSE : n;
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
	/* What proxies that ask each other in a circle say; it would be the same again. */
	{508, OUTCOME_FINAL,  -ELOOP,  OTA_E_NETWORK,           "the request goes in a loop"},
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
	{CURLE_UNSUPPORTED_PROTOCOL,     OUTCOME_FAULT,  -EPROTO}, /* no HTTP, or what was left of another answer */
	{CURLE_OUT_OF_MEMORY,            OUTCOME_FINAL,  -EPROTO},
};
/* clang-format on */

/* The whole body came, as far as HTTP can tell. */
static struct verdict judge_body(struct transfer *t)
{
	int r = 0;

	if (!t->head && t->total_bytes != HTTP_LENGTH_UNKNOWN && t->offset < t->total_bytes) {
		try_error(t, -EIO, OTA_E_NETWORK, "the server sent only a part");
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
	const char *colon = t->said[0] ? ": " : "";
	char reason[160 + HTTP_SAID_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(status_table); i++) {
		if (status_table[i].status != status)
			continue;
		snprintf(reason, sizeof(reason), "%s (status %ld)%s%s", status_table[i].text,
			status, colon, t->said);
		try_error(t, status_table[i].r, status_table[i].code, reason);
		return (struct verdict){status_table[i].outcome, status_table[i].r};
	}
	snprintf(reason, sizeof(reason), "the server answers with status %ld%s%s", status, colon,
		t->said);
	try_error(t, -EPROTO, OTA_E_NETWORK, reason);
	if (status == 416 && t->asked_range)
		return (struct verdict){OUTCOME_NO_RANGE, -EPROTO};
	return (struct verdict){status >= 500 ? OUTCOME_FAULT : OUTCOME_FINAL, -EPROTO};
}

/* Does whoever wants the file object to asking @to? */
static int ask_about_hop(struct transfer *t, const char *to)
{
	char text[HTTP_URL_TEXT_MAX];
	int r = t->hop ? t->hop(t->hop_ctx, to, &t->result.err) : 0;

	return r < 0 ? ota_err_wrap(
			       &t->result.err, r, "Cannot fetch %s", http_url_text(t->url, text))
		     : 0;
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
	int r;

	if (!http_url_is_http_or_https(to)) {
		try_error(t, -EPROTO, OTA_E_NETWORK,
			"the server redirects to what is neither http nor https");
		return refused;
	}
	if (http_url_check(to, &why) < 0) {
		try_error(t, -EPROTO, OTA_E_NETWORK, "the server redirects to what is no URL");
		return refused;
	}
	if (http_url_is_https(from) && !http_url_is_https(to)) {
		try_error(t, -EPROTO, OTA_E_NETWORK, "the server redirects from https to http");
		return refused;
	}
	if (t->n_hops == HTTP_REDIRECTS_MAX) {
		try_error(t, -EPROTO, OTA_E_NETWORK, "the server redirects too often");
		return refused;
	}
	r = ask_about_hop(t, to);
	if (r < 0)
		return (struct verdict){OUTCOME_FINAL, r};
	hop_url = http_url_for_request(to, t->shared->proxy != NULL);
	if (!hop_url) {
		try_error(t, -ENOMEM, OTA_E_UNSPECIFIC, strerror(ENOMEM));
		return (struct verdict){OUTCOME_FINAL, -ENOMEM};
	}
	free(t->hop_url);
	t->hop_url = TAKE_PTR(hop_url);
	t->n_hops++;
	return (struct verdict){OUTCOME_REDIRECT, 0};
}

static const char *curl_words(const struct transfer *t, CURLcode code)
{
	/* It calls a buffer with a limit that is full by the same name as memory that is short. */
	if (code == CURLE_OUT_OF_MEMORY)
		return "a line of its header or trailer is too long, or memory is short";
	if (t->no_address)
		return "the name of its host leads nowhere";
	return t->curl_text[0] ? t->curl_text : curl_easy_strerror(code);
}

static struct verdict judge_curl(struct transfer *t, CURLcode code)
{
	struct verdict v = {OUTCOME_FINAL, -EIO};

	for (size_t i = 0; i < ARRAY_SIZE(curl_table); i++)
		if (curl_table[i].code == code)
			v = (struct verdict){curl_table[i].outcome, curl_table[i].r};
	try_error(t, v.r, OTA_E_NETWORK, curl_words(t, code));
	return v;
}

/* A try without an answer leaves the status of the one before. */
static long note_status(struct transfer *t)
{
	long status = t->easy ? status_of(t) : 0;

	if (status > 0)
		t->result.status = (unsigned)status;
	return status;
}

struct verdict try_judge(struct transfer *t, CURLcode code)
{
	long status = note_status(t);
	char *to = NULL;

	if (t->verdict.outcome != OUTCOME_UNKNOWN)
		return t->verdict;
	/* libcurl takes the fields that came before the cut for all of them, and the body for empty. */
	if (code == CURLE_OK && !t->headed && status < 400) {
		try_error(t, -EIO, OTA_E_NETWORK, "the server's answer ends in its header");
		return (struct verdict){OUTCOME_OUTAGE, -EIO};
	}
	if (status == 304 && t->asked_condition && code == CURLE_OK)
		return (struct verdict){OUTCOME_DONE, 0};
	if (status >= 300 && status < 400)
		curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to);
	if (to)
		return judge_redirect(t, to);
	/* A page of error text that was cut, or that we stopped reading, is still that error. */
	if (!t->takes_body && (code == CURLE_OK || status >= 400))
		return judge_status(t, status);
	return code == CURLE_OK ? judge_body(t) : judge_curl(t, code);
}

struct verdict try_timed_out(struct transfer *t, enum outcome outcome)
{
	note_status(t);
	try_error(t, -ETIMEDOUT, OTA_E_NETWORK,
		outcome == OUTCOME_FINAL ? "its time is up"
		: t->fresh_bytes > 0     ? "hardly a byte came for too long"
					 : "no byte came for too long");
	return (struct verdict){outcome, -ETIMEDOUT};
}

struct verdict try_unwanted(struct transfer *t, int r)
{
	note_status(t);
	try_error(t, r, OTA_E_UNSPECIFIC, strerror(-r));
	return (struct verdict){OUTCOME_FINAL, r};
}

bool try_resume(struct transfer *t, struct verdict *ret_verdict)
{
	CURLcode code;

	t->paused = false; /* before libcurl calls data(), from in there, which may pause again */
	t->last_byte_ms = clock_monotonic_ms();
	code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
	if (code == CURLE_OK && t->verdict.outcome == OUTCOME_UNKNOWN)
		return true;
	*ret_verdict = try_judge(t, code);
	return false;
}

/* ---- what is asked for ---- */

static int append_line(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

/* "name: " and both parts of the value, of which the second may be "". */
static int add_header(struct transfer *t, const char *name, const char *value, const char *rest)
{
	AUTO_BUF struct buf line = {0};
	int r = buf_printf(&line, "%s: %s%s", name, value, rest);

	return r < 0 ? r : append_line(&t->headers, buf_str(&line));
}

static bool goes_to_own_host(const struct transfer *t)
{
	return http_url_same_host(asked_url(t), t->request_url);
}

/* The request's own fields. A body that has begun is wanted whatever it is compared with. */
static int add_fields(struct transfer *t)
{
	int r = 0;

	t->asked_condition = t->conditional && t->n_answers == 0 && goes_to_own_host(t);
	if (!goes_to_own_host(t))
		return 0;
	for (const struct curl_slist *f = t->fields; f && r == 0; f = f->next)
		if (t->n_answers == 0 || strncasecmp(f->data, "If-", 3) != 0)
			r = append_line(&t->headers, f->data);
	return r;
}

static int set_headers(struct transfer *t)
{
	int r;

	curl_slist_free_all(t->headers);
	t->headers = NULL;
	r = add_fields(t);
	if (r == 0 && t->shared->proxy && t->cache_control)
		r = add_header(t, "ota-file-cache-control", t->came_wrong ? "retry_caching," : "",
			t->cache_control);
	if (r == 0 && t->asked_range)
		r = add_header(t, "If-Range", t->validator, "");
	/* Takes libcurl's own line off: we ask for nothing, and undo what comes all the same. */
	if (r == 0 && t->undo_encoding)
		r = add_header(t, "Accept-Encoding", "", "");
	return r;
}

#define SET(option, value) (ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK)

/* Who we talk to, and what we believe. */
static bool set_connection(CURL *e, const struct transfer *t)
{
	const struct http_shared *s = t->shared;
	bool ok = true;

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PROXY, s->proxy ? s->proxy : ""); /* "": nor one from the environment */
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
	if (s->tls_cas) {
		struct curl_blob blob = {s->tls_cas->data, s->tls_cas->len_bytes, CURL_BLOB_NOCOPY};

		SET(CURLOPT_CAINFO_BLOB, &blob);
		SET(CURLOPT_CAINFO, NULL);
		SET(CURLOPT_CAPATH, NULL);
	} else if (s->tls_ca) {
		SET(CURLOPT_CAINFO, s->tls_ca);
		SET(CURLOPT_CAPATH, NULL); /* these and no others */
	}
	SET(CURLOPT_SHARE, s->tls_sessions);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_CONNECT_TIMEOUT_MS);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_NOSIGNAL, 1L);
	return ok;
}

static bool set_request(CURL *e, struct transfer *t)
{
	const struct http_shared *s = t->shared;
	bool ok = true;
	char range[32];

	snprintf(range, sizeof(range), "%llu-", (unsigned long long)t->offset);
	SET(CURLOPT_URL, asked_url(t));
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(t->head ? CURLOPT_NOBODY : t->post ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
	if (t->post) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->post_bytes);
		SET(CURLOPT_POSTFIELDS, t->post);
	}
	SET(CURLOPT_USERAGENT, s->user_agent);
	SET(CURLOPT_COOKIE, goes_to_own_host(t) ? s->cookies : NULL);
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

int try_begin(struct transfer *t)
{
	/* Without a validator the rest could be of another version of the file. */
	t->asked_range = t->offset > 0 && t->validator[0] && !t->no_range;
	t->takes_body = t->headed = t->begun = t->paused = false;
	t->try_bytes = t->error_bytes = t->fields_bytes = t->fresh_bytes = 0;
	t->verdict = (struct verdict){OUTCOME_UNKNOWN, 0};
	t->result.err = (struct ota_err){0};
	t->curl_text[0] = t->said[0] = '\0';
	t->last_byte_ms = clock_monotonic_ms();
	t->easy = curl_easy_init();
	if (t->easy && set_headers(t) == 0 && set_connection(t->easy, t) &&
		set_request(t->easy, t) && http_lookup_set(t, asked_url(t)) == 0)
		return 0;
	curl_easy_cleanup(t->easy);
	t->easy = NULL;
	return -ENOMEM;
}
