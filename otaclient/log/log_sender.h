/*
 * log_sender: what is to go to a log server waits here, and a thread of its own sends it.
 *
 * Nobody who logs ever waits for a server: records beyond the limits push out the oldest ones, and how
 * many were lost is told in their place. A record goes out in order, until a server has taken it; after
 * a failure the ways are tried anew from the first, later and later. Twice the same record is possible,
 * where an answer got lost.
 *
 * Elsewhere: the ways (log_http, api/log_grpc), what a record looks like (log_record), who puts them
 * together (remote_log).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "otaclient/log/log_record.h"

enum {
	LOG_QUEUE_MAX = 2048,              /* records that wait */
	LOG_QUEUE_MAX_BYTES = 1024 * 1024, /* of their texts together */
	LOG_RETRY_MIN_MS = 1000,           /* after a failure; doubled each time */
	LOG_RETRY_MAX_MS = 30 * 1000,
	LOG_END_MS = 700, /* what the end waits for a server that takes records */
};

struct log_record {
	enum log_kind kind;
	const char *text; /* plain ASCII or UTF-8, one line */
};

/* Asked by a way while it waits, every 100 ms or more often: true = come back at once with -ECANCELED. */
struct log_patience {
	bool (*is_over)(void *ctx);
	void *ctx;
};

/* One way to the server. Only the sender's thread calls it. */
struct log_way {
	const char *name; /* "http://127.0.0.1:8083", in sentences; must outlive the sender */
	/* Is somebody there who can be sent to? NULL: send() finds out. */
	int (*check)(void *ctx, const struct log_patience *patience, struct ota_err *err);
	/* 0: the record was taken. */
	int (*send)(void *ctx, const struct log_record *record, const struct log_patience *patience,
		struct ota_err *err);
	void *ctx;
};

struct log_sender_config {
	/* One sentence when the server stops taking records, and one when it takes them again; in the sender's
	 * thread, without a lock. NULL is fine. */
	void (*note)(void *ctx, const char *sentence);
	void *note_ctx;
	/* The record that tells of @n lost ones, appended to @out. 0 or -ENOMEM. NULL: none is sent. */
	int (*tell_lost)(void *ctx, uint64_t n, struct buf *out);
	void *tell_ctx;
};

/* Nothing is sent yet, but records may come and wait. 0 or -ENOMEM. */
struct log_sender;
int log_sender_new(const struct log_sender_config *config, struct log_sender **ret_sender,
	struct ota_err *err);

/*
 * Begin to send, what waits first. Once. @ways is copied; the first that works is used until it fails; at most 2.
 * 0, or pthread_create's error.
 */
int log_sender_start(
	struct log_sender *s, const struct log_way *ways, size_t n_ways, struct ota_err *err);

/* Sends what waits, if a server takes it in LOG_END_MS; where none did lately, ends at once. */
void log_sender_free(struct log_sender *s);
void log_sender_freep(struct log_sender **s);
#define AUTO_LOG_SENDER CLEANUP(log_sender_freep)

/* From any thread; never waits for a server. @text is copied. */
void log_sender_put(struct log_sender *s, enum log_kind kind, const char *text);

/* Wait until all is sent, but no longer than @timeout_ms, and not at all for a server that takes nothing. */
void log_sender_flush(struct log_sender *s, uint32_t timeout_ms);
