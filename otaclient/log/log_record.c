/*
 * log_record: a log entry as a line of JSON. Contract: log_record.h.
 */
#include "otaclient/log/log_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "otaclient/status/text.h"

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "ERROR";
	case LOG_LEVEL_WARNING:
		return "WARNING";
	case LOG_LEVEL_INFO:
		return "INFO";
	case LOG_LEVEL_DEBUG:
		return "DEBUG";
	}
	return "INFO";
}

static int put_time(struct buf *out, int64_t unix_s)
{
	time_t t = (time_t)unix_s;
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf_printf(out, "{\"timestamp\":\"%s\"", text);
}

/* The source file stands for the part of the program: "otaclient.updater". */
static int put_origin(struct buf *out, const struct log_entry *e)
{
	const char *slash = strrchr(e->file, '/');
	const char *name = slash ? slash + 1 : e->file;

	return buf_printf(out,
		",\"level\":\"%s\",\"logger\":\"otaclient.%.*s\""
		",\"function\":\"%s\",\"line\":\"%u\"",
		level_name(e->level), (int)strcspn(name, "."), name, e->function, e->line);
}

int log_record_line(const struct log_entry *entry, int64_t unix_s, struct buf *out)
{
	AUTO_FREE char *text = strdup(entry->text);
	size_t before = out->len_bytes;
	int r = text ? put_time(out, unix_s) : -ENOMEM;

	if (r == 0)
		r = put_origin(out, entry);
	if (r == 0)
		r = buf_puts(out, ",\"message\":");
	if (r == 0) {
		text_repair(text);
		r = json_put_string(out, text, strlen(text));
	}
	if (r == 0)
		r = buf_puts(out, "}");
	if (r < 0 && out->data) {
		out->len_bytes = before;
		out->data[before] = '\0';
	}
	return r;
}
