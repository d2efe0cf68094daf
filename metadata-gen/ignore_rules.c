/*
 * ignore_rules: parse and match the rules of an ignore file. Contract: ignore_rules.h.
 *
 * A rule becomes a row of path components. One without a '/' before its end gets "**" in front, so that it
 * matches at any depth. A rule that matches a folder matches everything below it, so matching means: does
 * some leading part of the path match all components?
 */
#include "metadata-gen/ignore_rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/arena.h"
#include "common/base/cleanup.h"

struct rule_part {
	const char *glob; /* NULL = "**": any number of components, also none */
	bool literal;     /* no wildcard: compare bytes */
};

struct rule {
	struct rule *next;
	struct rule_part *parts;
	size_t n_parts; /* 0 = the root, so everything */
	bool not_files; /* ended in '/' */
};

struct ignore_rules {
	struct arena arena;
	struct rule *positive, *negative;
};

enum {
	PATH_PARTS_MAX = PATH_MAX / 2 + 1,
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* Cut blanks at both ends; one that is written "\ " at the end stays. */
static void trim(const char **text, size_t *len)
{
	while (*len > 0 && is_blank((*text)[0])) {
		++*text;
		--*len;
	}
	while (*len > 0 && is_blank((*text)[*len - 1])) {
		if (*len > 1 && (*text)[*len - 1] == ' ' && (*text)[*len - 2] == '\\')
			break;
		--*len;
	}
}

static int add_part(struct ignore_rules *rules, struct rule *rule, const char *at, size_t len)
{
	struct rule_part *part = &rule->parts[rule->n_parts];

	if (len == 2 && at[0] == '*' && at[1] == '*') {
		*part = (struct rule_part){0};
	} else {
		part->glob = arena_strndup(&rules->arena, at, len);
		if (!part->glob)
			return -ENOMEM;
		part->literal = strpbrk(part->glob, "*?[\\") == NULL;
	}
	rule->n_parts++;
	return 0;
}

/* @text is trimmed, not empty, without the '!'. */
static int parse_rule(struct ignore_rules *rules, struct rule *rule, const char *text, size_t len)
{
	const char *slash = memchr(text, '/', len);
	bool anchored = slash && slash < text + len - 1;
	size_t n_max = 2;

	rule->not_files = text[len - 1] == '/';
	for (size_t i = 0; i < len; i++)
		n_max += text[i] == '/';
	rule->parts = arena_alloc(&rules->arena, n_max * sizeof(*rule->parts));
	if (!rule->parts)
		return -ENOMEM;
	if (!anchored && text[0] != '/' && add_part(rules, rule, "**", 2) < 0)
		return -ENOMEM;
	for (size_t at = 0; at < len;) {
		const char *end = memchr(text + at, '/', len - at);
		size_t part_len = end ? (size_t)(end - (text + at)) : len - at;

		if (part_len > 0 && add_part(rules, rule, text + at, part_len) < 0)
			return -ENOMEM;
		at += part_len + 1;
	}
	return 0;
}

static int parse_line(struct ignore_rules *rules, const char *line, size_t len)
{
	struct rule **head = &rules->positive;
	struct rule *rule;
	int r;

	trim(&line, &len);
	if (len == 0 || line[0] == '#')
		return 0;
	if (line[0] == '!') {
		head = &rules->negative;
		line++;
		len--;
		if (len == 0)
			return 0;
	}
	rule = arena_alloc(&rules->arena, sizeof(*rule));
	if (!rule)
		return -ENOMEM;
	r = parse_rule(rules, rule, line, len);
	if (r < 0)
		return r;
	rule->next = *head;
	*head = rule;
	return 0;
}

int ignore_rules_parse(
	const char *text, size_t len_bytes, struct ignore_rules **ret_rules, struct ota_err *err)
{
	AUTO_IGNORE_RULES struct ignore_rules *rules = calloc(1, sizeof(*rules));

	if (!rules)
		return ota_err_no_memory(err, "the ignore rules");
	for (size_t at = 0; at < len_bytes;) {
		const char *end = memchr(text + at, '\n', len_bytes - at);
		size_t len = end ? (size_t)(end - (text + at)) : len_bytes - at;

		if (parse_line(rules, text + at, len) < 0)
			return ota_err_no_memory(err, "the ignore rules");
		at += len + 1;
	}
	*ret_rules = TAKE_PTR(rules);
	return 0;
}

void ignore_rules_free(struct ignore_rules *rules)
{
	if (!rules)
		return;
	arena_done(&rules->arena);
	free(rules);
}

void ignore_rules_freep(struct ignore_rules **rules)
{
	ignore_rules_free(*rules);
}

struct names {
	const char *at[PATH_PARTS_MAX];
	size_t n;
};

static bool part_matches(const struct rule_part *part, const char *name)
{
	if (part->literal)
		return strcmp(part->glob, name) == 0;
	return fnmatch(part->glob, name, 0) == 0;
}

/* Do the parts from @p on match the names from @i up to some later one? */
static bool match_from(
	const struct rule *rule, size_t p, const struct names *names, size_t i, bool is_file)
{
	if (p == rule->n_parts)
		return i < names->n || !(rule->not_files && is_file);
	if (!rule->parts[p].glob) {
		/* Several "**" in a row are one; without this they would cost exponentially. */
		while (p + 1 < rule->n_parts && !rule->parts[p + 1].glob)
			p++;
		for (size_t k = i; k <= names->n; k++)
			if (match_from(rule, p + 1, names, k, is_file))
				return true;
		return false;
	}
	return i < names->n && part_matches(&rule->parts[p], names->at[i]) &&
	       match_from(rule, p + 1, names, i + 1, is_file);
}

static bool any_matches(const struct rule *rule, const struct names *names, bool is_file)
{
	for (; rule; rule = rule->next)
		if (match_from(rule, 0, names, 0, is_file))
			return true;
	return false;
}

bool ignore_rules_match(const struct ignore_rules *rules, const char *path, bool is_file)
{
	struct names names = {.n = 0};
	char copy[PATH_MAX];
	size_t len = strlen(path);
	char *save = NULL;

	if (!rules || !rules->positive || len >= sizeof(copy))
		return false;
	memcpy(copy, path, len + 1);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		names.at[names.n++] = name;
	return any_matches(rules->positive, &names, is_file) &&
	       !any_matches(rules->negative, &names, is_file);
}
