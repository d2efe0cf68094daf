/*
 * list_scan: lines, columns and quoting of an image's lists. Contract: list_scan.h; format:
 * docs/formats.md.
 *
 * Nothing is searched for from the end of a line, so no name, however odd, can be taken for a
 * separator. A text without an apostrophe stays where it is; the others are unquoted into the
 * table's arena.
 */
#include "common/image/list_scan.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/image/list_text.h"
#include "common/image/utf8.h"

enum {
	FOUND_SHOW_BYTES = 40, /* how much of a line is quoted in a sentence */
	ESCAPE_LEN = 4,        /* '\'' stands for one apostrophe */
};

/* ---- sentences ---- */

int scan_expected(const struct scan *s, const char *what)
{
	size_t left = (size_t)(s->end - s->at);
	char shown[UTF8_SHOW_MAX];

	if (left == 0)
		return ota_err_set(s->err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
			"Line %u of %s: expected %s, found the end of the line", s->line_no,
			s->list, what);
	return ota_err_set(s->err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID,
		"Line %u of %s: expected %s, found \"%s%s\"", s->line_no, s->list, what,
		utf8_show(s->at, MIN_OF(left, (size_t)FOUND_SHOW_BYTES), shown),
		left > FOUND_SHOW_BYTES ? "..." : "");
}

int scan_refuse(const struct scan *s, struct text thing, const char *why)
{
	char shown[UTF8_SHOW_MAX];

	return ota_err_set(s->err, -EBADMSG, OTA_E_OTA_IMAGE_INVALID, "Line %u of %s: %s %s",
		s->line_no, s->list, utf8_show(thing.at, thing.len, shown), why);
}

int scan_table_failed(const struct scan *s, int r)
{
	if (r == -E2BIG)
		return ota_err_set(s->err, r, OTA_E_OTA_IMAGE_INVALID,
			"Line %u of %s is too much: at most %u entries, and sizes with a 64-bit "
			"sum",
			s->line_no, s->list, s->t->entries_max);
	assert(r == -ENOMEM);
	return ota_err_no_memory(s->err, s->list);
}

/* ---- columns ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int scan_char(struct scan *s, char c, const char *what)
{
	if (s->at == s->end || *s->at != c)
		return scan_expected(s, what);
	s->at++;
	return 0;
}

int scan_number(struct scan *s, unsigned base, uint64_t max, const char *what, uint64_t *ret_number)
{
	const char *at = s->at;
	uint64_t n = 0;

	for (; at < s->end && is_digit(*at); at++) {
		unsigned digit = (unsigned)(*at - '0');

		if (digit >= base || n > (max - digit) / base)
			return scan_expected(s, what);
		n = n * base + digit;
	}
	if (at == s->at)
		return scan_expected(s, what);
	s->at = at;
	*ret_number = n;
	return 0;
}

int scan_skip_number(struct scan *s, const char *what)
{
	const char *start = s->at;

	while (s->at < s->end && is_digit(*s->at))
		s->at++;
	return s->at > start ? 0 : scan_expected(s, what);
}

int scan_end(struct scan *s)
{
	return s->at == s->end ? 0 : scan_expected(s, "nothing more on the line");
}

static bool is_escape(const char *quote, const char *end)
{
	return end - quote >= ESCAPE_LEN && memcmp(quote, "'\\''", ESCAPE_LEN) == 0;
}

int scan_raw_quoted(struct scan *s, const char *what, struct text *ret_raw, uint32_t *ret_escapes)
{
	uint32_t escapes = 0;
	const char *quote;
	int r = scan_char(s, '\'', what);

	if (r < 0)
		return r;
	for (quote = s->at;; quote += ESCAPE_LEN, escapes++) {
		quote = memchr(quote, '\'', (size_t)(s->end - quote));
		if (!quote) {
			s->at = s->end;
			return scan_expected(s, "a closing quote");
		}
		if (!is_escape(quote, s->end))
			break;
	}
	*ret_raw = (struct text){s->at, (uint32_t)(quote - s->at)};
	*ret_escapes = escapes;
	s->at = quote + 1;
	return 0;
}

uint32_t scan_unquote(struct text raw, char *ret_plain)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < raw.len; len++) {
		ret_plain[len] = raw.at[i];
		i += raw.at[i] == '\'' ? ESCAPE_LEN : 1;
	}
	return len;
}

int scan_quoted(struct scan *s, const char *what, struct text *ret_text)
{
	struct text raw = {0};
	uint32_t escapes = 0;
	char *plain;
	int r = scan_raw_quoted(s, what, &raw, &escapes);

	if (r < 0)
		return r;
	if (escapes == 0) {
		*ret_text = raw;
		return 0;
	}
	plain = arena_strndup(file_table_arena(s->t), raw.at, raw.len - (ESCAPE_LEN - 1) * escapes);
	if (!plain)
		return scan_table_failed(s, -ENOMEM);
	*ret_text = (struct text){plain, scan_unquote(raw, plain)};
	return 0;
}

/* ---- lines ---- */

/* Around a line, never inside quotes. The CR is that of a list that was edited elsewhere; it ends
 * no line. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

int scan_lines(struct scan *s, const char *text, size_t len_bytes,
	int (*fn)(struct scan *s, void *ctx), void *ctx)
{
	size_t at = 0;
	int r = 0;

	if (len_bytes > LIST_TEXT_MAX_BYTES)
		return ota_err_set(s->err, -E2BIG, OTA_E_OTA_IMAGE_INVALID,
			"%s has %zu bytes; at most %d are allowed", s->list, len_bytes,
			LIST_TEXT_MAX_BYTES);
	while (r == 0 && at < len_bytes) {
		const char *lf = memchr(text + at, '\n', len_bytes - at);

		s->line_no++;
		s->at = text + at;
		s->end = lf ? lf : text + len_bytes;
		at = (size_t)(s->end - text) + 1;
		while (s->at < s->end && is_blank(s->end[-1]))
			s->end--;
		while (s->at < s->end && is_blank(*s->at))
			s->at++;
		r = fn(s, ctx);
	}
	return r;
}
