/*
 * text: strings that may stand in an answer of the API.
 *
 * The API sends valid UTF-8 only and no C string holds a NUL, so everything that comes from outside (request
 * strings, the version file of a slot) passes here before it is used.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Valid UTF-8 without NUL. */
bool text_is_clean(const char *s, size_t len_bytes);

/* The longest length ≤ @max_bytes at which @s, valid UTF-8, may be cut without splitting a character. */
size_t text_cut(const char *s, size_t len_bytes, size_t max_bytes);

/* Copy the string @text into @field of @size_bytes; what does not fit is left out, whole characters only. */
void text_put(char *field, size_t size_bytes, const char *text);

/* Put '?' for each byte that is no part of valid UTF-8; for sentences that were cut to their buffer. */
void text_repair(char *s);
