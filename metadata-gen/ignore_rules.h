/*
 * ignore_rules: which paths of a root file system stay out of the image.
 *
 * One rule a line, written like .gitignore but with a simpler law: a path is left out if any rule matches and
 * no rule with '!' does; the order of rules means nothing. Format: docs/man/metadata_gen.1, "IGNORE FILE".
 *
 * Names are matched character by character in the LC_CTYPE locale; main sets a UTF-8 one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

enum {
	IGNORE_FILE_MAX_BYTES = 1 << 20, /* a rule file written by people has some kB */
};

struct ignore_rules;

/* 0, or -ENOMEM. Every text is a valid rule file. */
int ignore_rules_parse(
	const char *text, size_t len_bytes, struct ignore_rules **ret_rules, struct ota_err *err);
void ignore_rules_free(struct ignore_rules *rules);
void ignore_rules_freep(struct ignore_rules **rules);
#define AUTO_IGNORE_RULES CLEANUP(ignore_rules_freep)

/*
 * Is @path left out? It is absolute below the root of the tree ("/etc/hosts"). @is_file: a regular file, or a
 * symbolic link that leads to one; a rule with '/' at its end does not match those. NULL @rules match nothing.
 */
bool ignore_rules_match(const struct ignore_rules *rules, const char *path, bool is_file);
