/*
 * log_limit: a small table of who has said how much. Contract: log_limit.h.
 *
 * One lock around the table; under it only memory is touched. A source's time that is over is noticed when it is
 * looked at, so nothing runs here by itself.
 */
#include "common/base/log_limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_over(const struct log_source *s, uint64_t now_ms)
{
	return now_ms >= s->began_ms && now_ms - s->began_ms >= LOG_LIMIT_MS;
}

static bool is_from(const struct log_source *s, const struct log_entry *e)
{
	return s->file && s->line == e->line && strcmp(s->file, e->file) == 0;
}

/* Nobody is owed a word about it. */
static bool may_be_forgotten(const struct log_source *s)
{
	return !s->file || s->n_left_out == 0;
}

/* The entry of @e's source, else one for it: a free one, or the oldest that may be forgotten. NULL: there is none. */
static struct log_source *find(struct log_limit *l, const struct log_entry *e)
{
	struct log_source *best = NULL;

	for (size_t i = 0; i < LOG_LIMIT_SOURCES; i++) {
		struct log_source *s = &l->sources[i];

		if (is_from(s, e))
			return s;
		if (may_be_forgotten(s) &&
			(!best || (best->file && (!s->file || s->began_ms < best->began_ms))))
			best = s;
	}
	return best;
}

/* A character of several bytes stays whole or goes. */
static void keep_text(struct log_source *s, const char *text)
{
	size_t len = strnlen(text, LOG_LIMIT_TEXT_MAX);

	if (len == LOG_LIMIT_TEXT_MAX) {
		len--;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(s->text, text, len);
	s->text[len] = '\0';
}

static void leave_out(struct log_source *s, const struct log_entry *e)
{
	s->n_left_out++;
	s->level = e->level;
	keep_text(s, e->text);
}

bool log_limit_pass(struct log_limit *l, const struct log_entry *e, uint64_t now_ms)
{
	struct log_source *s;
	bool pass = true;

	if (e->level > LOG_LEVEL_WARNING || e->each)
		return true;
	pthread_mutex_lock(&l->lock);
	s = find(l, e);
	if (s && (!is_from(s, e) || (may_be_forgotten(s) && is_over(s, now_ms))))
		*s = (struct log_source){.file = e->file,
			.function = e->function,
			.line = e->line,
			.began_ms = now_ms};
	if (s && s->n_said < LOG_LIMIT_LINES) {
		s->n_said++;
	} else if (s) {
		leave_out(s, e);
		pass = false;
	}
	pthread_mutex_unlock(&l->lock);
	return pass;
}

static void tell(const struct log_source *s, struct log_left_out *out)
{
	snprintf(out->text, sizeof(out->text), "… %" PRIu64 " more like it in %d s: %s",
		s->n_left_out, LOG_LIMIT_MS / 1000, s->text);
	out->entry = (struct log_entry){.level = s->level,
		.file = s->file,
		.function = s->function,
		.line = s->line,
		.text = out->text};
}

bool log_limit_take(struct log_limit *l, uint64_t now_ms, struct log_left_out *ret_left_out)
{
	bool found = false;

	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < LOG_LIMIT_SOURCES && !found; i++) {
		struct log_source *s = &l->sources[i];

		found = !may_be_forgotten(s) && is_over(s, now_ms);
		if (found) {
			tell(s, ret_left_out);
			s->file = NULL;
		}
	}
	pthread_mutex_unlock(&l->lock);
	return found;
}
