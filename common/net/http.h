/*
 * http: many requests at once (GET, HEAD, POST) over few connections, with resume, retries and limits.
 * The door to libcurl.
 *
 * One http_client belongs to one thread and runs all its transfers in http_client_run(). HTTP/1.1
 * and, over TLS, HTTP/2; keep-alive; TLS ≥ 1.2 always verified; no redirect from https to http.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum {
	HTTP_ADDRESSES_MAX = 512, /* what look_up() may answer, with the NUL; some eight of IPv6 */
	HTTP_CONNECT_TIMEOUT_MS = 16 * 1000,
	HTTP_STALL_TIMEOUT_MS = 32 * 1000, /* a transfer without a byte for so long is retried */
	HTTP_STALL_MIN_BYTES = 512, /* fewer than these, once it has begun, are as good as none */
	HTTP_TRIES_MAX = 8,         /* per file, over all causes */
	HTTP_REDIRECTS_MAX = 5,
	HTTP_PIECE_MAX_BYTES = 16 * 1024, /* what a sink that may be full must be able to take */
};

/*
 * How names are looked up and sockets made, for a program that may do neither. Both are called from
 * http_client_run(), and may take their time.
 */
struct http_net {
	/* The addresses of @host as libcurl lists them, "192.0.2.1,[2001:db8::1]". 0 or -errno: there is none now. */
	int (*look_up)(void *ctx, const char *host, char *ret_addresses, size_t size);
	/* A new stream socket of @family, not connected and close-on-exec, or -errno. */
	int (*open_socket)(void *ctx, int family);
	void *ctx;
};

struct http_config {
	/* "http://10.0.0.1:8082"; NULL = straight. With one, https URLs are asked for as http. */
	const char *proxy;
	const char *tls_ca;        /* file of trusted CAs; NULL = the system's store */
	const struct buf *
		tls_cas; /* or these, in PEM, where no file can be read later; borrowed; NULL = as above */
	const struct http_net *net; /* borrowed; NULL = the C library and the kernel */
	const char *cookies;       /* whole Cookie header value, "k=v; k2=v2"; NULL = none */
	const char *user_agent;    /* NULL = ours */
	unsigned max_connections;  /* transfers at once, per client; 0 = 8 */
	uint32_t stall_timeout_ms; /* 0 = HTTP_STALL_TIMEOUT_MS */
	bool sigpipe_ignored;      /* by the whole program: nothing needs to be done about it here */
	/* Back-off before the 2nd try, doubled each time, with jitter, ≤ 8 s; 0 = 200. */
	uint32_t retry_base_ms;
};

/* What came of one request. */
struct http_result {
	/* 0, or negative errno with err filled: -EACCES 401/403, -ENOENT 404/410, -EFBIG more than
	 * max_bytes, -ETIMEDOUT, -EIO, -EPROTO, -EBADMSG wrong bytes every time, or what the sink
	 * returned. Codes: E204 for 401/403; E203 for 404/410 and too much; E100 for the network;
	 * the sink's own wins. */
	int r;
	struct ota_err err;
	/* The last HTTP status that came, over all tries and also on failure, where it may be one
	 * below 400 (a 200 whose body was cut); 0 = none came. */
	unsigned status;
	uint64_t wire_bytes; /* body bytes received over all tries */
	unsigned retries;
};

/*
 * The sink sees the body from its first byte, contiguous, although the transfer may have been cut
 * and resumed by range. Where the server cannot resume, restart() is called and the body comes from
 * its first byte again.
 *
 * Negative returns end the request. -EAGAIN (with a sentence) says that wrong bytes came: while
 * tries are left the body is asked for again from its start, without a range and, through a proxy,
 * with "retry_caching" put first in the cache-control header; when none are left, the request ends
 * with -EBADMSG and that sentence.
 *
 * Order of calls: header()… → begin() → data()… → end(); restart() leads back to the first. Where a
 * body is continued by range, there is another header()….
 *
 * Back-pressure, with ready(): data() may return -EBUSY. Then it has taken nothing of this piece,
 * the transfer is paused, and its bytes wait here and in the connection. It keeps its place among
 * max_connections and does not count as stalled, but total_timeout_ms runs on. The same bytes come
 * again, perhaps in other pieces, once ready() says so.
 */
struct http_sink {
	int (*restart)(void *ctx, struct ota_err *err);
	/* One field of the answer that the body comes from, before its bytes; NULL = not wanted. */
	int (*header)(void *ctx, const char *name, const char *value, struct ota_err *err);
	/* The header of such an answer is complete and looks right. @total_bytes: of the whole body
	 * as data() will see it, or HTTP_LENGTH_UNKNOWN (http_answer.h). Comes also for an empty
	 * body, and anew after restart(), but not where a body is continued by range; NULL = not
	 * wanted. */
	int (*begin)(void *ctx, uint64_t total_bytes, struct ota_err *err);
	/* At most HTTP_PIECE_MAX_BYTES. */
	int (*data)(void *ctx, const void *data, size_t len_bytes, struct ota_err *err);
	/* Asked in each round of http_client_run(), for a paused transfer only: 1 = go on (data()
	 * may be called before this round ends), 0 = still full, negative = end the request with
	 * this errno, for example -ECANCELED. NULL = -EBUSY from data() ends the request. */
	int (*ready)(void *ctx);
	int (*end)(void *ctx, struct ota_err *err); /* the whole body came; NULL = fine */
};

struct http_request {
	const char *url;
	/* Further header fields, each "Name: value", NULL at the end; NULL = none. Copied. They go
	 * to the URL's own host only and not after a redirect to another, since there may be
	 * cookies and credentials among them. "Name:" without a value is not sent. */
	const char *const *fields;
	bool head; /* HEAD: no data(), no max_bytes; begin() says the length that a GET would have */
	/* POST with this body, copied; NULL = none of that. Its answer is never continued by range; each try sends the
	 * body again. A Content-Type goes into the fields. */
	const void *post;
	size_t post_bytes;
	/* The fields hold If-None-Match or If-Modified-Since: a 304 ends the request well, with
	 * result.r 0 and no call of the sink. Once a body has begun, retries go without the fields
	 * whose name begins with "If-". Without this flag, a 304 is a failure. */
	bool conditional;
	uint64_t max_bytes; /* limit of the body as the sink sees it */
	/* Value of ota-file-cache-control, sent only through a proxy; NULL = none. */
	const char *cache_control;
	unsigned tries_max;        /* 0 = HTTP_TRIES_MAX; counted anew when the body came further */
	uint32_t total_timeout_ms; /* over all tries; 0 = none */
	/* No connection, a cut, a stall, 429, 502, 503 and 504 do not count as tries: the caller
	 * has a watchdog of its own. */
	bool outlast_outages;
	/* Undo a content-encoding that came although none was asked for; else the sink gets the
	 * bytes as they are. */
	bool undo_encoding;
	/* Asked for the URL that a redirect leads to, each time and before it is followed; it has
	 * passed http_url_check(). Negative, with a sentence: the request ends with that. NULL = all
	 * may be followed. */
	int (*hop)(void *ctx, const char *url, struct ota_err *err);
	void *hop_ctx;
	struct http_sink sink;
	void *sink_ctx;
	/* Called once, with err and all borrowed for the call; may add requests. NULL is fine. */
	void (*done)(void *ctx, const struct http_result *result);
	void *done_ctx;
};

struct http_client;
int http_client_new(
	const struct http_config *config, struct http_client **ret_client, struct ota_err *err);
/* Requests still under way are dropped without done(). */
void http_client_free(struct http_client *c);
void http_client_freep(struct http_client **c);
#define AUTO_HTTP_CLIENT CLEANUP(http_client_freep)

/* Copies what it needs of @request. 0 or -ENOMEM, -EINVAL (E308: a URL that is not http or https,
 * or with characters that no URL has; a header field without a name or with a control character).
 */
int http_client_add(struct http_client *c, const struct http_request *request, struct ota_err *err);

/* Requests added and not yet done. */
size_t http_client_pending(const struct http_client *c);

/*
 * Drive all transfers for up to @wait_ms (or until something was done, or http_client_wakeup()). 0,
 * or -EIO when libcurl itself fails.
 */
int http_client_run(struct http_client *c, uint32_t wait_ms, struct ota_err *err);

/*
 * From now on http_client_run() also returns when something can be read from @fd, and waits for it where there is
 * nothing else to wait for: so one thread can run the client and something else. -1 = no more.
 */
void http_client_watch(struct http_client *c, int fd);

/* What the last failed try of any request came to, for who gives up waiting; errnum 0 = none. */
struct ota_err http_client_trouble(const struct http_client *c);

/* From any thread: make http_client_run() return. ready() is asked before, or first thing in the
 * next run. */
void http_client_wakeup(struct http_client *c);
/* From a callback: the same, for less. */
void http_client_yield(struct http_client *c);

/* One request to its end; done() is not called. Returns ret_result->r. */
int http_get(
	struct http_client *c, const struct http_request *request, struct http_result *ret_result);

/* The cookies of an update request: a JSON object of strings (or "" = none) to a Cookie header
 * value, malloc'ed, NULL = none. -EINVAL with E308. Lives in common/net because the header form is
 * HTTP's. */
int http_cookies_from_json(
	const char *json, size_t len_bytes, char **ret_header, struct ota_err *err);
