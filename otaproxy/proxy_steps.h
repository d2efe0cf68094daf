/*
 * proxy_steps: one request, from its bytes to the reply that the server sends: recv → lookup → hit | check | join →
 * deliver. Knows nothing of the HTTP server.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"
#include "otaproxy/checker.h"
#include "otaproxy/fetcher.h"
#include "otaproxy/inflight.h"
#include "otaproxy/proxy_request.h"

/* What all requests share. Constant while the server runs. */
struct proxy {
	struct proxy_rules rules;          /* origins: set for each request from origins_file */
	struct origins_file *origins_file; /* NULL = every server may be asked */
	struct counters *counters;
	struct inflight *inflight;
	struct cache_store *store; /* NULL = nothing is kept */
	struct checker *checker;   /* NULL without a store */
	atomic_bool stopping; /* nobody may begin to wait any more */
};

enum reply_kind {
	REPLY_TEXT,   /* text, which says why there is no body, or the status page */
	REPLY_FILE,   /* from a file: exchange_take_file() */
	REPLY_MEMORY, /* of a fetch that has come whole */
	REPLY_FLIGHT, /* from a fetch that is under way: exchange_read() */
};

enum {
	REPLY_FIELDS_MAX = 8,
	REPLY_VALUE_MAX = 192,
};

struct reply_field {
	const char *name;
	char value[REPLY_VALUE_MAX];
};

struct reply {
	enum reply_kind kind;
	unsigned status;
	bool close;          /* the connection ends with it */
	struct buf text;     /* REPLY_TEXT */
	uint8_t *
		data; /* REPLY_MEMORY: size_bytes of it, not to be changed; lives as long as the exchange */
	uint64_t offset;     /* REPLY_FILE: in the file; REPLY_FLIGHT: in the body */
	uint64_t size_bytes; /* UINT64_MAX = not known (REPLY_FLIGHT) */
	struct reply_field fields[REPLY_FIELDS_MAX];
	unsigned n_fields;
};

enum exchange_state {
	EXCHANGE_SLEEPS, /* the sleeper was told so; run again when it is woken */
	EXCHANGE_READY,  /* the reply can be sent */
	EXCHANGE_FAILED, /* no memory: end the connection */
};

struct exchange;

/* @fetcher: of the connection's thread; @sleeper: of the connection. NULL: no memory. */
struct exchange *exchange_new(
	struct proxy *proxy, struct fetcher *fetcher, const struct flight_sleeper *sleeper);
void exchange_free(struct exchange *x);

/* The request as it came. 0 or -ENOMEM. Once. */
int exchange_receive(struct exchange *x, const struct proxy_received *received);

/* Go on until there is a reply or something to wait for. */
enum exchange_state exchange_run(struct exchange *x);

const struct reply *exchange_reply(const struct exchange *x);
bool exchange_is_head(const struct exchange *x);
/* Received, and refused so that the connection ends with it: whatever follows is not a request. */
bool exchange_ends_connection(const struct exchange *x);

/* REPLY_FILE, once: its descriptor, the caller's from here on. */
int exchange_take_file(struct exchange *x);
/* REPLY_FLIGHT: as flight_reader_read(), @pos counted from the reply's first byte. */
ssize_t exchange_read(struct exchange *x, uint64_t pos, void *buf, size_t max);
