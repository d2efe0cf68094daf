/*
 * grub_default: rewrite /etc/default/grub. Contract: grub_default.h.
 *
 * The file is shell; grub-mkconfig sources it. We read it as a list of assignments whose values may be quoted and
 * may go over several lines, and write back only those. Pure.
 */
#include "boot-controllers/grub/grub_default.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "common/base/cleanup.h"

struct assignment {
	const char *key, *value; /* borrowed; as they were spelled */
	size_t key_len, value_len;
};

struct assignments {
	struct assignment *list;
	size_t n;
};

static void assignments_done(struct assignments *a)
{
	free(a->list);
}

#define AUTO_ASSIGNMENTS CLEANUP(assignments_done)

/* name, value */
static const char *const forced[][2] = {
	{"GRUB_TIMEOUT_STYLE",     "menu" },
	{"GRUB_TIMEOUT",           "0"    },
	{"GRUB_DISABLE_SUBMENU",   "y"    },
	{"GRUB_DISABLE_OS_PROBER", "true" },
	{"GRUB_DISABLE_RECOVERY",  "true" },
	{"GRUB_DEFAULT",           "saved"},
};

/* With it GRUB would make every entry that was chosen once the default: a trial would commit itself. */
static const char removed[] = "GRUB_SAVEDEFAULT";

/* The first byte behind the shell word sequence at @p that no quote and no backslash carries on: a newline or @end. */
static const char *command_end(const char *p, const char *end)
{
	char quote = 0;

	for (; p < end && (quote || *p != '\n'); p++) {
		if (*p == '\\' && quote != '\'' && p + 1 < end)
			p++;
		else if (quote && *p == quote)
			quote = 0;
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (!quote && *p == '#' && isspace((unsigned char)p[-1])) {
			const char *nl = memchr(p, '\n', (size_t)(end - p));

			return nl ? nl : end;
		}
	}
	return p < end ? p : end;
}

/* A line that begins with "name=" (perhaps behind "export"); @p moves on by the line or the whole value. */
static bool assignment_parse(const char **at, const char *end, struct assignment *ret)
{
	const char *p = *at, *nl = memchr(p, '\n', (size_t)(end - p)), *stop;

	*at = nl ? nl + 1 : end;
	stop = nl ? nl : end;
	while (p < stop && (*p == ' ' || *p == '\t'))
		p++;
	if (stop - p > 7 && memcmp(p, "export", 6) == 0 && (p[6] == ' ' || p[6] == '\t'))
		for (p += 6; p < stop && (*p == ' ' || *p == '\t'); p++)
			;
	ret->key = p;
	while (p < stop && (isalnum((unsigned char)*p) || *p == '_'))
		p++;
	ret->key_len = (size_t)(p - ret->key);
	if (ret->key_len == 0 || isdigit((unsigned char)*ret->key) || p == stop || *p != '=')
		return false;
	ret->value = p + 1;
	stop = command_end(ret->value, end);
	*at = stop < end ? stop + 1 : end;
	while (stop > ret->value && isspace((unsigned char)stop[-1]) &&
		(stop - ret->value < 2 || stop[-2] != '\\'))
		stop--;
	ret->value_len = (size_t)(stop - ret->value);
	return true;
}

static bool key_is(const struct assignment *a, const char *key)
{
	return a->key_len == strlen(key) && memcmp(a->key, key, a->key_len) == 0;
}

/* The last assignment of a name wins, in the place of its first. */
static int assignments_parse(const char *text, size_t len, struct assignments *ret)
{
	AUTO_ASSIGNMENTS struct assignments as = {
		.list = calloc(GRUB_DEFAULT_KEYS_MAX, sizeof(*as.list))};
	const char *p = text, *end = text + len;

	if (!as.list)
		return -ENOMEM;
	if (len > GRUB_DEFAULT_MAX_BYTES || memchr(text, '\0', len))
		return -E2BIG;
	while (p < end) {
		struct assignment a = {0};
		size_t i = 0;

		if (!assignment_parse(&p, end, &a))
			continue;
		while (i < as.n && !(as.list[i].key_len == a.key_len &&
					   memcmp(as.list[i].key, a.key, a.key_len) == 0))
			i++;
		if (i == GRUB_DEFAULT_KEYS_MAX)
			return -E2BIG;
		as.list[i] = a;
		if (i == as.n)
			as.n++;
	}
	*ret = as;
	as.list = NULL;
	return 0;
}

static const char *forced_value(const struct assignment *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(forced); i++)
		if (key_is(a, forced[i][0]))
			return forced[i][1];
	return NULL;
}

static int put_all(const struct assignments *as, struct buf *out)
{
	bool seen[ARRAY_SIZE(forced)] = {false};
	int r = buf_puts(out, GRUB_CFG_HEADER);

	for (size_t i = 0; i < as->n && r == 0; i++) {
		const struct assignment *a = &as->list[i];
		const char *v = forced_value(a);

		for (size_t j = 0; j < ARRAY_SIZE(forced); j++)
			seen[j] = seen[j] || key_is(a, forced[j][0]);
		if (key_is(a, removed))
			continue;
		r = buf_append(out, a->key, a->key_len);
		if (r == 0)
			r = buf_puts(out, "=");
		if (r == 0)
			r = v ? buf_puts(out, v) : buf_append(out, a->value, a->value_len);
		if (r == 0)
			r = buf_puts(out, "\n");
	}
	for (size_t j = 0; j < ARRAY_SIZE(forced) && r == 0; j++)
		if (!seen[j])
			r = buf_printf(out, "%s=%s\n", forced[j][0], forced[j][1]);
	return r;
}

int grub_default_rewrite(const char *text, size_t len_bytes, struct buf *ret, struct ota_err *err)
{
	AUTO_ASSIGNMENTS struct assignments as = {0};
	int r = assignments_parse(text, len_bytes, &as);

	if (r == -E2BIG)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"/etc/default/grub is no text or has more than %d bytes or %d names",
			GRUB_DEFAULT_MAX_BYTES, GRUB_DEFAULT_KEYS_MAX);
	if (r == 0)
		r = put_all(&as, ret);
	return r < 0 ? ota_err_no_memory(err, "/etc/default/grub") : 0;
}

int grub_default_value(const char *text, size_t len_bytes, const char *key, struct buf *ret)
{
	AUTO_ASSIGNMENTS struct assignments as = {0};
	int r = assignments_parse(text, len_bytes, &as);
	char quote = 0;

	for (size_t i = 0; i < as.n; i++) {
		const char *v = as.list[i].value, *end = v + as.list[i].value_len;

		if (!key_is(&as.list[i], key))
			continue;
		for (; v < end && r == 0; v++) {
			if (!quote && (*v == ' ' || *v == '\t'))
				break; /* the end of the word: a comment or a command */
			if (quote && *v == quote)
				quote = 0;
			else if (!quote && (*v == '\'' || *v == '"'))
				quote = *v;
			else if (*v == '\\' && quote != '\'' && v + 1 < end && v[1] == '\n')
				v++;
			else if (*v == '\\' && v + 1 < end &&
				 (!quote || (quote == '"' && strchr("$`\"\\", v[1]))))
				r = buf_append(ret, ++v, 1);
			else
				r = buf_append(ret, v, 1);
		}
		return r;
	}
	return r < 0 ? r : -ENOENT;
}
