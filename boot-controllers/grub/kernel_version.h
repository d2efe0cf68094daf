/*
 * kernel_version: order of kernel releases ("5.15.0-100-generic"), and of our own releases.
 */
#pragma once

#include <stdbool.h>

/* < 0, 0, > 0 as strcmp, but parts that are numbers compare as numbers: 5.15.0-100 comes after 5.15.0-25. */
int kernel_version_cmp(const char *a, const char *b);

enum {
	RELEASE_PARTS_MAX = 8, /* numbers of a release that count */
};

/* Is @version, such as "3.14.1.dev2+g12", of an earlier release than @limit? -EINVAL: it has no release. */
int release_is_before(const char *version, const char *limit, bool *ret_before);
