/*
 * log: one write per line, so that lines of several threads never mix. Contract: log.h.
 */
#include "common/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"

static enum log_level max_level = LOG_LEVEL_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*entry_sink)(void *ctx, const struct log_entry *entry);
static void *entry_sink_ctx;

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

void log_put(const struct log_entry *from, const char *fmt, ...)
{
	static int to_journal = -1; /* systemd sets JOURNAL_STREAM when stderr is the journal */
	char line[LOG_TEXT_MAX];
	size_t head, len;
	va_list ap;
	int n;

	if (from->level > max_level)
		return;
	pthread_mutex_lock(&lock);
	if (to_journal < 0)
		to_journal = getenv("JOURNAL_STREAM") != NULL;
	head = 0;
	if (to_journal)
		head = (size_t)snprintf(line, sizeof(line), "<%d>", (int)from->level);
	va_start(ap, fmt);
	n = vsnprintf(line + head, sizeof(line) - head - 1, fmt, ap);
	va_end(ap);
	len = head + MIN_OF((size_t)(n < 0 ? 0 : n), sizeof(line) - head - 2);
	/* A message never makes two lines: what an outside name carries could forge one. */
	for (size_t i = head; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
	if (entry_sink) {
		struct log_entry entry = *from;

		line[len] = '\0';
		entry.text = line + head;
		entry_sink(entry_sink_ctx, &entry);
	}
	line[len] = '\n';
	if (write(STDERR_FILENO, line, len + 1) < 0) {
		/* Nowhere is left to say so; losing a log line must not stop an update. */
	}
	pthread_mutex_unlock(&lock);
}
