/*
 * log_limit: of the lines that one place in the sources has to say, LOG_LIMIT_LINES are let through in LOG_LIMIT_MS,
 * counted from the first; the others are counted, and told of in one line when the time is over.
 *
 * It knows lines and times only; who writes them is log.c. All functions may be called from any thread.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/log.h"

enum {
	LOG_LIMIT_LINES = 6,
	LOG_LIMIT_MS = 16 * 1000,
	LOG_LIMIT_SOURCES =
		64, /* who has said something lately; programs have about so many places that log trouble */
	LOG_LIMIT_TEXT_MAX = 128, /* of a line that was left out this much is kept, with the NUL */
};

/* A place in the sources: file and line. Strings that live as long as the program. */
struct log_source {
	const char *file, *function; /* file NULL = free */
	unsigned line;
	enum log_level level; /* of the last line that was left out */
	uint64_t began_ms;    /* when the first line came */
	unsigned n_said;
	uint64_t n_left_out;
	char text[LOG_LIMIT_TEXT_MAX]; /* 〃 */
};

struct log_limit {
	pthread_mutex_t lock;
	struct log_source sources[LOG_LIMIT_SOURCES];
};
#define LOG_LIMIT_INIT                            \
	{                                         \
		.lock = PTHREAD_MUTEX_INITIALIZER \
	}

/*
 * Is @entry to be written? False: it has been counted, and will be told of. Should more than LOG_LIMIT_SOURCES be cut
 * short at once, those beyond are not.
 */
bool log_limit_pass(struct log_limit *l, const struct log_entry *entry, uint64_t now_ms);

/* The line that tells what was left out; entry.text is text. */
struct log_left_out {
	struct log_entry entry;
	char text[LOG_LIMIT_TEXT_MAX + 64];
};

/* One whose time is over at @now_ms, which begins anew with that; UINT64_MAX: any. False: there is none. */
bool log_limit_take(struct log_limit *l, uint64_t now_ms, struct log_left_out *ret_left_out);
