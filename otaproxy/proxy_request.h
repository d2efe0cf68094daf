/*
 * proxy_request: from what came over a connection to what is done about it: show the status page,
 * fetch a URL, or refuse. Pure; every text is bytes from outside.
 *
 * The path is never decoded or shortened: no file of this machine is opened by it, and the server
 * that is asked must see what the client wrote.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/http_url.h"
#include "otaproxy/cache_control.h"
#include "otaproxy/origins.h"
#include "otaproxy/via.h"

enum {
	/* What is asked for may be a scheme and a host longer, and must still be a URL for us. */
	PROXY_TARGET_MAX_BYTES = HTTP_URL_MAX_BYTES - 512,
	PROXY_HEADER_MAX_BYTES = 32 * 1024, /* all fields together; four times what browsers send */
	PROXY_SECRET_MAX_BYTES = 8 * 1024,  /* authorization, cookie; what origins take at most */
	PROXY_IF_RANGE_MAX_BYTES = 255,     /* as for validators in common/net */
	PROXY_SENTENCE_MAX = 160,
};

struct proxy_field {
	const char *name, *value;
};

/* What the HTTP server hands over; all borrowed. */
struct proxy_received {
	const char *method;
	const char *target;  /* as on the request line: query and percent-encoding are in it */
	const char *version; /* "HTTP/1.1" */
	const struct proxy_field *fields; /* in the order they came; doubled ones are there twice */
	size_t n_fields;
	bool too_many_fields;      /* there are more than these */
	bool malformed;            /* there is more in its header than these texts */
	const char *local_address; /* "ip:port" that the connection came to; NULL = not known */
};

/* What this proxy allows, and who it is; all borrowed. */
struct proxy_rules {
	bool has_upper;                /* another proxy is asked, always by http */
	bool https;                    /* how servers are asked when there is no list */
	const struct origins *origins; /* NULL = every server may be asked */
	const char *pseudonym;         /* what we call ourselves in Via; one word */
	/* Is that this proxy? @host as in struct authority. NULL = only local_address is. */
	bool (*is_self)(void *ctx, const char *host, uint16_t port);
	void *is_self_ctx;
};

enum proxy_request_kind {
	PROXY_REFUSE,
	PROXY_STATUS_PAGE,
	PROXY_FETCH,
};

enum proxy_range_form {
	PROXY_RANGE_NONE,    /* the whole body */
	PROXY_RANGE_BETWEEN, /* first to last, both included */
	PROXY_RANGE_FROM,    /* first to the end */
	PROXY_RANGE_SUFFIX,  /* the last suffix_bytes, which may be 0 */
};

struct proxy_range {
	enum proxy_range_form form;
	uint64_t first, last; /* offsets */
	uint64_t suffix_bytes;
};

struct proxy_request {
	enum proxy_request_kind kind;
	bool head; /* no body is wanted (STATUS_PAGE, FETCH) */

	/* REFUSE */
	unsigned http_status;
	char sentence[PROXY_SENTENCE_MAX]; /* for the body; nothing of the request but its host */
	bool close;       /* where the next request begins is not certain: end the connection */
	bool retry_later; /* the same request may succeed in a while */

	/* FETCH; the texts are owned, NULL = none */
	char *url;    /* to ask; path and query byte for byte as they came */
	char *origin; /* "scheme://host[:port]" of the server itself, also behind an upper proxy */
	struct cache_control cache_control;
	struct proxy_range range;     /* one that is malformed, or several, counts as none */
	char *if_range;               /* only with a range */
	char *authorization, *cookie; /* field values that may be sent on */
	struct via via;               /* whom it has passed, without us */
	bool never_stale;             /* the name of signed metadata: always ask for the newest */
};

/*
 * Decide about @received. 0, or -ENOMEM. On 0 @ret_request is proxy_request_done()'s.
 *
 * Refused are, with 431 and 414: what is too long; 400: other methods than GET and HEAD, a body,
 * fields that are malformed, or doubled where only one may be, a target or Host that is wrong, and
 * the two being different; 505: anything but HTTP/1; 508: what has passed here before, or too many
 * others, or asks for ourselves; 503: everything while the list of servers is not known; 403: a server that is not on
 * it.
 *
 * A request that has no port means the scheme's, whichever scheme is then taken: "http://h" may be
 * fetched as "https://h".
 */
int proxy_request_read(const struct proxy_received *received, const struct proxy_rules *rules,
	struct proxy_request *ret_request);

void proxy_request_done(struct proxy_request *q);
#define AUTO_PROXY_REQUEST CLEANUP(proxy_request_done)
