/*
 * journal: a line of the log as fields of the journal. Contract: journal.h.
 *
 * All lines go this way, not only those with fields: on two ways they would come in another order.
 */
#include "otaclient/log/journal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The place in the sources is that of the entry, not of this file. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "common/base/cleanup.h"

static void add(struct journal_entry *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void add(struct journal_entry *e, const char *fmt, ...)
{
	char *text = e->text[e->n];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, JOURNAL_FIELD_MAX, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	e->fields[e->n++] = (struct iovec){
		.iov_base = text, .iov_len = MIN_OF((size_t)n, (size_t)JOURNAL_FIELD_MAX - 1)};
}

/* The compiler names a source as seen from the build folder. */
static const char *from_root(const char *file)
{
	while (strncmp(file, "../", 3) == 0)
		file += 3;
	return file;
}

void journal_entry_make(const struct log_entry *from, struct journal_entry *e)
{
	const struct log_event *event = from->event;

	e->n = 0;
	add(e, "MESSAGE=%s", from->text);
	add(e, "PRIORITY=%d", (int)from->level);
	add(e, "SYSLOG_IDENTIFIER=otaclient");
	add(e, "CODE_FILE=%s", from_root(from->file));
	add(e, "CODE_LINE=%u", from->line);
	add(e, "CODE_FUNC=%s", from->function);
	if (event && event->id)
		add(e, "MESSAGE_ID=%s", event->id);
	if (event && event->session)
		add(e, "OTA_SESSION=%s", event->session);
	if (event && event->phase)
		add(e, "OTA_PHASE=%s", event->phase);
	if (event && event->code != 0)
		add(e, "OTA_CODE=E%03d", event->code);
	for (unsigned i = 0; event && i < event->n_numbers && e->n < JOURNAL_FIELDS_MAX; i++)
		add(e, "%s=%" PRIu64, event->numbers[i].name, event->numbers[i].value);
}

bool journal_is_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, ours) == 0;
}

static bool put(const struct log_entry *entry)
{
	struct journal_entry e;

	journal_entry_make(entry, &e);
	return sd_journal_sendv(e.fields, (int)e.n) == 0;
}

void journal_use(void)
{
	if (journal_is_stderr())
		log_set_journal(put);
}
