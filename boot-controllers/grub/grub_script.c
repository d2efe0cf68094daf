/*
 * grub_script: cut GRUB script into tokens. Contract: grub_script.h. Pure.
 *
 * As GRUB's own reader has it: '#' begins a comment only where a word could begin; in '…' nothing is special, in
 * "…" a backslash is; ${name} belongs to the word that it stands in, so its braces are not braces.
 */
#include "boot-controllers/grub/grub_script.h"

#include <string.h>

static const char *skip_blanks(const char *p, const char *end)
{
	for (;;) {
		while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
			p++;
		if (p + 1 < end && p[0] == '\\' && p[1] == '\n') {
			p += 2;
			continue;
		}
		if (p < end && *p == '#')
			while (p < end && *p != '\n')
				p++;
		return p;
	}
}

static bool ends_word(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';' || c == '&' ||
	       c == '|' || c == '{' || c == '}';
}

/* Behind the quoted text that begins at @p; NULL if the quote is never closed. */
static const char *skip_quoted(const char *p, const char *end)
{
	char quote = *p++;

	for (; p < end; p++) {
		if (*p == quote)
			return p + 1;
		if (quote == '"' && *p == '\\' && p + 1 < end)
			p++;
	}
	return NULL;
}

static const char *word_end(const char *p, const char *end)
{
	while (p && p < end && !ends_word(*p)) {
		if (*p == '\'' || *p == '"') {
			p = skip_quoted(p, end);
		} else if (*p == '\\' && p + 1 < end) {
			p += 2;
		} else if (*p == '$' && p + 1 < end && p[1] == '{') {
			const char *close = memchr(p, '}', (size_t)(end - p));

			p = close ? close + 1 : NULL;
		} else {
			p++;
		}
	}
	return p;
}

struct grub_token grub_token_next(const char **at, const char *end)
{
	const char *p = skip_blanks(*at, end), *stop;
	struct grub_token t = {.type = GRUB_TOKEN_END, .text = p};

	if (p >= end) {
		*at = end;
		return t;
	}
	stop = p + 1;
	if (*p == '{') {
		t.type = GRUB_TOKEN_OPEN;
	} else if (*p == '}') {
		t.type = GRUB_TOKEN_CLOSE;
	} else if (*p == '\n' || *p == ';' || *p == '&' || *p == '|') {
		t.type = GRUB_TOKEN_BREAK;
	} else {
		stop = word_end(p, end);
		t.type = stop ? GRUB_TOKEN_WORD : GRUB_TOKEN_BAD;
		stop = stop ? stop : end;
	}
	t.len = (size_t)(stop - p);
	*at = stop;
	return t;
}

struct grub_text grub_word_bare(const struct grub_token *t)
{
	bool quoted = t->len >= 2 && (t->text[0] == '\'' || t->text[0] == '"') &&
		      t->text[t->len - 1] == t->text[0];

	return quoted ? (struct grub_text){t->text + 1, t->len - 2}
		      : (struct grub_text){t->text, t->len};
}

bool grub_word_is(const struct grub_token *t, const char *text)
{
	struct grub_text w = grub_word_bare(t);

	return t->type == GRUB_TOKEN_WORD && w.len == strlen(text) &&
	       memcmp(w.at, text, w.len) == 0;
}
