/*
 * inflight: the fetches that are under way, and who reads along.
 *
 * A flight is one fetch: its body streams into one place (flight_body), from which any number of readers take it at
 * their own pace.
 * It has two sides. The fetcher begins, adds and ends; it never waits for a reader that others share. A reader is
 * one request of a client; where it finds nothing to read yet it sleeps, and is woken when there is more.
 *
 * What a flight promises its readers: with a digest, the last INFLIGHT_HOLD_BYTES of a body (all of a smaller one)
 * are handed out only once the whole body agreed with the digest; a body that breaks off, or turns out wrong, never
 * comes to a regular end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "otaproxy/cache_store.h"
#include "otaproxy/counters.h"
#include "otaproxy/reclaim.h"

enum {
	INFLIGHT_HOLD_BYTES = 64 * 1024,
	/* What a flight that keeps no file may be ahead of its reader; more than what is held back. */
	INFLIGHT_WINDOW_BYTES = 512 * 1024,
	FLIGHT_FIELDS_MAX = 4,
	INFLIGHT_FIELD_MAX =
		128, /* content-type, -encoding and etag with their NUL; longer ones are not passed on */
};

struct inflight;
struct flight;
struct flight_reader;

/* @store borrowed, NULL = nothing is ever kept. NULL: no memory. */
struct inflight *inflight_new(struct cache_store *store, struct counters *counters);
/* All readers have left and all flights have ended. */
void inflight_free(struct inflight *t);

/* ---- what is fetched ---- */

enum flight_keep {
	/* With a full disk, and one reader, the rest of a file goes the way of FLIGHT_PASS. */
	FLIGHT_PUBLISH, /* a file, which becomes the cache's entry */
	FLIGHT_SHARE,   /* a file for those who read along; not kept */
	FLIGHT_PASS,    /* no file: one reader, who sets the pace; nobody joins */
};

/* Owned by the flight. */
struct flight_order {
	char *url;
	struct cache_key key; /* by digest: the body is checked; else the body is whatever comes */
	enum flight_keep keep;
	bool head; /* only the header is wanted; nobody joins */
	char *fields[FLIGHT_FIELDS_MAX +
		     1];     /* further request fields, "Name: value"; NULL ends them */
	bool conditional;    /* they ask for a body only if the cache's one is stale */
	char *cache_control; /* for an upper proxy; NULL = none */
};

void flight_order_done(struct flight_order *order);

/* ---- readers ---- */

/* Called under the table's lock: short, and never back into this module. */
struct flight_sleeper {
	void (*sleep)(void *ctx); /* nothing to read yet */
	void (*wake)(void *ctx);  /* look again; only after a sleep() */
	void *ctx;
};

/*
 * Read along with the flight for @order's key and URL, or begin a new one, which takes the content of @order.
 * @epoch: inflight_epoch() from before the caller looked into the cache.
 * Returns 0, or
 *   -EAGAIN  something was published since @epoch: look into the cache again
 *   -EBUSY   too many flights
 *   -ENOMEM
 * @ret_new is the flight to be handed to the fetcher, or NULL if it was under way already.
 */
int inflight_join(struct inflight *t, uint64_t epoch, struct flight_order *order,
	const struct flight_sleeper *sleeper, struct flight_reader **ret_reader,
	struct flight **ret_new);
uint64_t inflight_epoch(struct inflight *t);

/* The next flights find no room for a file: what wrote one has met a full disk. Until the next call. */
void inflight_set_room(struct inflight *t, enum cache_room room);
enum cache_room inflight_room(struct inflight *t);

enum flight_state {
	FLIGHT_WAITING,  /* no answer yet: the reader sleeps now */
	FLIGHT_ANSWERED, /* the header, and of a checked body some bytes; more may come */
	FLIGHT_SAME,     /* conditional: the cache's entry is fresh */
	FLIGHT_FAILED,
};

struct flight_answer {
	uint64_t total_bytes; /* UINT64_MAX = not known */
	char content_type[INFLIGHT_FIELD_MAX], content_encoding[INFLIGHT_FIELD_MAX]; /* "" = none */
	char etag[INFLIGHT_FIELD_MAX]; /* the server's, of the body as it comes; "" = none */
	enum cache_form form; /* of the body: an upper proxy may have another than was asked for */
	unsigned status;      /* FLIGHT_FAILED: the server's status, 0 = none came */
	struct ota_err err;   /* FLIGHT_FAILED */
};

/* @whole: an answer counts only once the whole body has come and is right. */
enum flight_state flight_reader_look(
	struct flight_reader *r, bool whole, struct flight_answer *ret_answer);

/*
 * Up to @max bytes of the body from @pos on. More than 0: so many; 0: none yet, the reader sleeps now;
 *   -ENODATA  the body has ended there
 *   -EPIPE    the flight failed: the client must see a broken connection
 */
ssize_t flight_reader_read(struct flight_reader *r, uint64_t pos, void *buf, size_t max);

/*
 * All of the body at once, as long as the reader is there; NULL: it is not complete, or too long for that. Of a
 * complete flight total_bytes says how long it is.
 */
uint8_t *flight_reader_memory(const struct flight_reader *r);

/* NULL is fine. Not while it sleeps, but for a sleeper that is not woken any more. */
void flight_reader_leave(struct flight_reader *r);

/* ---- the fetcher's side: one thread ---- */

const struct flight_order *flight_order(const struct flight *f);

/*
 * The header is there. @answer: total_bytes, the fields, and the form. Called anew when the body comes from its first
 * byte again; it must then repeat what was there already. -ENOSPC, -EDQUOT: the disk has no room for so much, and
 * nothing of it has been handed out.
 */
int flight_begin(struct flight *f, const struct flight_answer *answer, struct ota_err *err);

/*
 * 0, or
 *   -EBUSY     the reader is too far behind; flight_ready() says when there is room again
 *   -ECANCELED nobody reads a flight that is kept nowhere, or by URL, or whose end cannot be seen coming; nobody joins
 *              it any more
 *   -EBADMSG   the body is not what its digest says
 */
int flight_add(struct flight *f, const void *data, size_t len_bytes, struct ota_err *err);
int flight_ready(struct flight *f); /* 1, 0, or -ECANCELED */

/* The whole body came: check it, and let its readers have all of it. 0, or -EBADMSG. */
int flight_complete(struct flight *f, struct ota_err *err);

/*
 * Once it is complete, and before flight_end(): have the cache keep it, if it may. Until then others join it.
 * @meta: for an entry that is kept by URL, its size and digest are filled in; NULL for others, and where it must not
 * be kept.
 */
void flight_publish(struct flight *f, struct cache_meta *meta);

/* The fetch is over: @r as http_result has it. The flight belongs to its readers now. */
void flight_end(struct flight *f, int r, unsigned status, const struct ota_err *err);
