/*
 * log: one write per line, so that lines of several threads never mix. Contract: log.h.
 */
#include "common/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log_limit.h"

static enum log_level max_level = LOG_LEVEL_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*entry_sink)(void *ctx, const struct log_entry *entry);
static void *entry_sink_ctx;
static bool (*entry_journal)(const struct log_entry *entry);
static atomic_bool is_limited;
static struct log_limit limit = LOG_LIMIT_INIT; /* its own lock, never held with the other */

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_level_from_text(const char *text, enum log_level *ret_level)
{
	static const struct {
		const char *name;
		enum log_level level;
	} names[] = {
		{"error",   LOG_LEVEL_ERROR  },
		{"warning", LOG_LEVEL_WARNING},
		{"info",    LOG_LEVEL_INFO   },
		{"debug",   LOG_LEVEL_DEBUG  },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*ret_level = names[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_sink(void (*sink)(void *ctx, const struct log_entry *entry), void *ctx)
{
	pthread_mutex_lock(&lock);
	entry_sink = sink;
	entry_sink_ctx = ctx;
	pthread_mutex_unlock(&lock);
}

void log_set_journal(bool (*journal)(const struct log_entry *entry))
{
	pthread_mutex_lock(&lock);
	entry_journal = journal;
	pthread_mutex_unlock(&lock);
}

/* One write, which the lock keeps apart from those of other threads. */
static void put_line(const struct log_entry *entry)
{
	static int to_journal = -1; /* systemd sets JOURNAL_STREAM when stderr is the journal */
	char line[LOG_TEXT_MAX + 8];
	int len;

	pthread_mutex_lock(&lock);
	if (to_journal < 0)
		to_journal = getenv("JOURNAL_STREAM") != NULL;
	if (to_journal)
		len = snprintf(line, sizeof(line), "<%d>%s\n", (int)entry->level, entry->text);
	else
		len = snprintf(line, sizeof(line), "%s\n", entry->text);
	if (entry_sink)
		entry_sink(entry_sink_ctx, entry);
	if (!(entry_journal && entry_journal(entry)) &&
		write(STDERR_FILENO, line, (size_t)len) < 0) {
		/* Nowhere is left to say so; losing a log line must not stop an update. */
	}
	pthread_mutex_unlock(&lock);
}

static void tell_left_out(uint64_t now_ms)
{
	struct log_left_out left_out;

	while (log_limit_take(&limit, now_ms, &left_out))
		put_line(&left_out.entry);
}

void log_set_limit(bool on)
{
	atomic_store(&is_limited, on);
	if (!on)
		tell_left_out(UINT64_MAX);
}

void log_tell_left_out(void)
{
	if (atomic_load(&is_limited))
		tell_left_out(clock_monotonic_ms());
}

/* What was left out before comes first. */
static bool passes(const struct log_entry *entry)
{
	uint64_t now_ms;

	if (!atomic_load(&is_limited))
		return true;
	now_ms = clock_monotonic_ms();
	tell_left_out(now_ms);
	return log_limit_pass(&limit, entry, now_ms);
}

void log_put(const struct log_entry *from, const char *fmt, ...)
{
	struct log_entry entry = *from;
	char text[LOG_TEXT_MAX];
	size_t len;
	va_list ap;
	int n;

	if (from->level > max_level)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = MIN_OF((size_t)(n < 0 ? 0 : n), sizeof(text) - 1);
	text[len] = '\0';
	/* A message never makes two lines: what an outside name carries could forge one. */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
	entry.text = text;
	if (passes(&entry))
		put_line(&entry);
}
