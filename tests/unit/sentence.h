/*
 * sentence: the whole of what an error says.
 */
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"

__attribute__((format(printf, 2, 3))) static inline bool sentence_is(
	const struct ota_err *said, const char *fmt, ...)
{
	char want[OTA_ERR_MSG_MAX];
	va_list ap;
	bool is;

	va_start(ap, fmt);
	vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	is = strcmp(said->msg, want) == 0;
	if (!is)
		fprintf(stderr, "it says: %s\nand not: %s\n", said->msg, want);
	return is;
}

#define assert_sentence(err, ...) assert_true(sentence_is((err), __VA_ARGS__))
