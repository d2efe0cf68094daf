/*
 * decimal: numbers from text that nobody has checked. Stricter than strtoull(): no sign, no space, and what is too
 * large is no number.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The digits at *@at, before @end: 0, and *@at is moved behind them; or -EINVAL: there are none, or they say more than
 * @max. */
int decimal_read(const char **at, const char *end, uint64_t max, uint64_t *ret_number);

/* All of @text, which is @len bytes long, must be digits that say @min to @max; 0 or -EINVAL. */
int decimal_parse(const char *text, size_t len, uint64_t min, uint64_t max, uint64_t *ret_number);
