/*
 * log: lines for the operator on stderr, with the kernel's "<level>" prefix where a service manager
 * reads them. Only main, the updater and the servers log; modules return their errors.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Lines above @level are dropped. Default: LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* "error", "warning", "info", "debug"; 0 or -EINVAL. */
int log_level_from_text(const char *text, enum log_level *ret_level);

/* A figure under a name of its own, "OTA_DOWNLOAD_BYTES". */
struct log_number {
	const char *name;
	uint64_t value;
};

/* What happens, for programs that read the log. All borrowed. */
struct log_event {
	const char *id; /* 32 hexadecimal digits that never change; NULL = only the fields count */
	const char *session; /* of an update; NULL = not known */
	const char *phase;   /* 〃 */
	int code;            /* why it failed; 0 = it did not */
	const struct log_number *numbers;
	unsigned n_numbers; /* three at most */
};

/* One message and where in the sources it comes from. All borrowed. */
struct log_entry {
	enum log_level level;
	const char *file, *function;
	unsigned line;
	bool each;        /* each line is wanted, however many come from there */
	const char *text; /* without control characters; at most LOG_TEXT_MAX bytes with the NUL */
	const struct log_event *event; /* NULL = a line like any other */
};

enum {
	LOG_TEXT_MAX = 1024,
};

/* Where a line goes besides stderr (NULL: nowhere), such as a log server. Called under the log's
 * lock. */
void log_set_sink(void (*sink)(void *ctx, const struct log_entry *entry), void *ctx);

/* Takes lines in place of stderr; false: it could not take this one, which goes to stderr then. NULL: no longer. Called
 * under the log's lock. */
void log_set_journal(bool (*journal)(const struct log_entry *entry));

/*
 * From now on each place that logs errors or warnings is cut short when it repeats itself (log_limit.h), towards stderr
 * and sink alike; false: no longer, and what was left out is told. For programs that run for long: what a tool has to
 * say about each of many files is wanted whole.
 */
void log_set_limit(bool on);

/* Say what was left out where the time is over. Every line does so too; this is for when none comes. */
void log_tell_left_out(void);

/* @from->text is not looked at. */
void log_put(const struct log_entry *from, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_line(level_, ...)                                \
	log_put(&(const struct log_entry){.level = (level_), \
			.file = __FILE__,                    \
			.function = __func__,                \
			.line = __LINE__},                   \
		__VA_ARGS__)

/* For a place that passes on what others say: no two of its lines need be about the same. */
#define log_each_warning(...)                                         \
	log_put(&(const struct log_entry){.level = LOG_LEVEL_WARNING, \
			.file = __FILE__,                             \
			.function = __func__,                         \
			.line = __LINE__,                             \
			.each = true},                                \
		__VA_ARGS__)

#define log_event(level_, event_, ...)                       \
	log_put(&(const struct log_entry){.level = (level_), \
			.file = __FILE__,                    \
			.function = __func__,                \
			.line = __LINE__,                    \
			.event = (event_)},                  \
		__VA_ARGS__)

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
