/*
 * kernel_line_check: what a kernel line means for a machine that must come back by itself, as a finding.
 */
#pragma once

#include <stddef.h>

#include "common/base/finding.h"

/* @whose: "The running system", for the sentence. @advice: where panic= is to be put. */
void kernel_line_check(const char *whose, const char *line, size_t len_bytes, const char *advice,
	struct finding *ret);

/* That of the running system, from @root's /proc/cmdline. */
void kernel_line_check_running(const char *root, const char *advice, struct finding *ret);
