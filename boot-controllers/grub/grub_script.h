/*
 * grub_script: the words of GRUB's script language, as far as finding and changing menu entries needs them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum grub_token_type {
	GRUB_TOKEN_WORD,
	GRUB_TOKEN_OPEN,  /* { */
	GRUB_TOKEN_CLOSE, /* } */
	GRUB_TOKEN_BREAK, /* newline or ; & | */
	GRUB_TOKEN_END,
	GRUB_TOKEN_BAD, /* a quote that is never closed */
};

struct grub_token {
	enum grub_token_type type;
	const char *text; /* borrowed; a word with its quotes */
	size_t len;
};

/* The token at *@at, which moves behind it. */
struct grub_token grub_token_next(const char **at, const char *end);

/* Is the word, without its quotes, @text? Words with escapes or variables are nobody's equal. */
bool grub_word_is(const struct grub_token *t, const char *text);

struct grub_text {
	const char *at; /* borrowed */
	size_t len;
};

/* The word without one pair of quotes around it. */
struct grub_text grub_word_bare(const struct grub_token *t);
