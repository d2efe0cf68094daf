/*
 * http_try: one request on its way, and one try of it: what is asked for, what arrives, and what it came to.
 * Internal to common/net; the client (http.c) decides when a try begins and whether another follows.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/net/http.h"
#include "common/net/http_answer.h"

enum {
	HTTP_SAID_MAX = 160, /* with the NUL; a sentence has hardly more room */
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

/* What all tries of a client share. */
struct http_shared {
	char *proxy, *tls_ca, *cookies, *user_agent; /* as in http_config, owned */
	const struct buf *tls_cas;                   /* as in http_config, borrowed */
	const struct http_net *net;                  /* 〃 */
	CURLSH *tls_sessions;                        /* which would otherwise go with each try */
};

struct transfer {
	struct http_shared *shared;
	struct transfer *next; /* in the client's queue */

	/* the request */
	char *url, *request_url, *cache_control; /* request_url: as it is asked for */
	struct curl_slist *fields;
	bool head, conditional;
	char *post; /* owned; NULL = GET or HEAD */
	size_t post_bytes;
	uint64_t max_bytes;
	unsigned tries_max;
	bool outlast_outages, undo_encoding;
	uint64_t deadline_ms; /* on the monotonic clock; UINT64_MAX = none */
	int (*hop)(void *ctx, const char *url, struct ota_err *err);
	void *hop_ctx;
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
	struct curl_slist *addresses; /* of the host, if they were looked up for libcurl */
	bool no_address;              /* there is none: it gets no socket */
	struct http_answer answer;
	bool asked_range, asked_condition, takes_body;
	bool headed; /* the header of an answer is complete, whomever it is for */
	bool begun;  /* the header of the answer for the sink is complete */
	bool paused; /* libcurl keeps what data() could not take */
	uint64_t try_bytes, error_bytes, fields_bytes;
	bool says_text;           /* the body of an answer that is not for the sink is text/plain */
	char said[HTTP_SAID_MAX]; /* through a proxy: the first line of it; "" = nothing */
	uint64_t last_byte_ms;    /* or of the last HTTP_STALL_MIN_BYTES */
	uint64_t fresh_bytes;     /* that came since then */
	struct verdict verdict; /* set by a callback that ends the try */
	char curl_text[CURL_ERROR_SIZE];
};

void transfer_free(struct transfer *t);
void transfer_freep(struct transfer **t);

/* Make t->easy ready for the next try. 0 or -ENOMEM. */
int try_begin(struct transfer *t);

/* What the try came to that libcurl ended with @code. A sentence, if it failed, is in t->result.err. */
struct verdict try_judge(struct transfer *t, CURLcode code);

/* The verdict on a try that the client cuts: too late in all (OUTCOME_FINAL), or stalled (OUTCOME_OUTAGE). */
struct verdict try_timed_out(struct transfer *t, enum outcome outcome);

/* The verdict on a paused try whose sink wants no more: @r is what its ready() returned (< 0). */
struct verdict try_unwanted(struct transfer *t, int r);

/* Hand on what waits since the pause. False: the try has ended. */
bool try_resume(struct transfer *t, struct verdict *ret_verdict);

/* Fill t->result.err: "Cannot fetch <URL>: <reason>". Returns @errnum. */
int try_error(struct transfer *t, int errnum, enum ota_code code, const char *reason);
