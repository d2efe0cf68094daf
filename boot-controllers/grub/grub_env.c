/*
 * grub_env: read, change and write a GRUB environment block. Contract: grub_env.h.
 *
 * The block is a signature line, lines "name=value", and '#' up to its end. In a value a backslash makes the next
 * byte plain, so that a newline can be part of it. We keep the lines as they were spelled and touch only those
 * that we are asked for. Pure.
 */
#include "boot-controllers/grub/grub_env.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char signature[] = "# GRUB Environment Block\n";

enum {
	SIGNATURE_BYTES = sizeof(signature) - 1,
	BODY_MAX_BYTES = GRUB_ENV_BYTES - SIGNATURE_BYTES,
};

/* Behind the newline of the line at @p, stepping over escaped bytes; NULL if it has none. */
static const char *line_end(const char *p, const char *end)
{
	while (p < end && *p != '\n')
		p += *p == '\\' ? 2 : 1;
	return p < end ? p + 1 : NULL;
}

/* The same for a comment, and for the padding: they know no escape. */
static const char *comment_end(const char *p, const char *end)
{
	const char *nl = memchr(p, '\n', (size_t)(end - p));

	return nl ? nl + 1 : NULL;
}

static int keep_line(struct grub_env *env, const char *line, size_t len, struct ota_err *err)
{
	if (memchr(line, '\0', len))
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"A variable of the GRUB environment block has a NUL byte");
	if (env->len_bytes + len > BODY_MAX_BYTES)
		return ota_err_set(err, -E2BIG, OTA_E_UNSPECIFIC,
			"The variables of the GRUB environment do not fit into %d bytes",
			GRUB_ENV_BYTES);
	memcpy(env->body + env->len_bytes, line, len);
	env->len_bytes += len;
	return 0;
}

int grub_env_parse(
	const void *data, size_t len_bytes, struct grub_env *ret_env, struct ota_err *err)
{
	const char *p = data, *end = p + len_bytes, *next;
	struct grub_env env = {0};

	if (len_bytes < GRUB_ENV_BYTES || len_bytes > GRUB_ENV_FILE_MAX_BYTES ||
		memcmp(p, signature, SIGNATURE_BYTES) != 0)
		return ota_err_set(err, -EBADMSG, OTA_E_UNSPECIFIC,
			"It is not a GRUB environment block of %d bytes", GRUB_ENV_BYTES);
	for (p += SIGNATURE_BYTES; p < end; p = next) {
		bool comment = *p == '#';
		int r = 0;

		next = comment ? comment_end(p, end) : line_end(p, end);
		if (!next)
			break; /* the padding, or a line that was cut off */
		if (!comment && *p != '=' && memchr(p, '=', (size_t)(next - p)))
			r = keep_line(&env, p, (size_t)(next - p), err);
		if (r < 0)
			return r;
	}
	*ret_env = env;
	return 0;
}

/* The line of @name, its length in @ret_len; NULL if there is none. */
static char *find_line(struct grub_env *env, const char *name, size_t *ret_len)
{
	size_t name_len = strlen(name);
	char *p = env->body, *end = env->body + env->len_bytes;

	while (p && p < end) {
		const char *next = line_end(p, end);
		size_t len = next ? (size_t)(next - p) : 0;

		if (len > name_len && memcmp(p, name, name_len) == 0 && p[name_len] == '=') {
			*ret_len = len;
			return p;
		}
		p = next ? p + len : NULL; /* every kept line has its newline */
	}
	return NULL;
}

int grub_env_get(const struct grub_env *env, const char *name, char *ret_value, size_t value_size)
{
	struct grub_env copy = *env;
	size_t len = 0, out = 0;
	char *line = find_line(&copy, name, &len);

	if (!line)
		return -ENOENT;
	for (size_t i = strlen(name) + 1; i < len - 1; i++) {
		if (line[i] == '\\' && i + 1 < len - 1)
			i++;
		if (out + 1 >= value_size)
			return -ENAMETOOLONG;
		line[out++] = line[i];
	}
	memcpy(ret_value, line, out);
	ret_value[out] = '\0';
	return 0;
}

void grub_env_unset(struct grub_env *env, const char *name)
{
	size_t len = 0;
	char *line;

	while ((line = find_line(env, name, &len))) {
		char *next = line + len;

		memmove(line, next, (size_t)(env->body + env->len_bytes - next));
		env->len_bytes -= len;
	}
}

int grub_env_set(struct grub_env *env, const char *name, const char *value)
{
	struct grub_env copy = *env;
	size_t name_len = strlen(name), need;

	if (name_len == 0 || name_len > GRUB_ENV_VALUE_MAX || name[0] == '#' ||
		strpbrk(name, "=\n\\"))
		return -EINVAL;
	grub_env_unset(&copy, name);
	need = name_len + 2;
	for (const char *v = value; *v; v++)
		need += *v == '\\' || *v == '\n' ? 2 : 1;
	if (need > BODY_MAX_BYTES - copy.len_bytes)
		return -ENOSPC;
	memcpy(copy.body + copy.len_bytes, name, name_len);
	copy.len_bytes += name_len;
	copy.body[copy.len_bytes++] = '=';
	for (const char *v = value; *v; v++) {
		if (*v == '\\' || *v == '\n')
			copy.body[copy.len_bytes++] = '\\';
		copy.body[copy.len_bytes++] = *v;
	}
	copy.body[copy.len_bytes++] = '\n';
	*env = copy;
	return 0;
}

void grub_env_render(const struct grub_env *env, char ret_block[GRUB_ENV_BYTES])
{
	assert(env->len_bytes <= BODY_MAX_BYTES);
	memset(ret_block, '#', GRUB_ENV_BYTES);
	memcpy(ret_block, signature, SIGNATURE_BYTES);
	memcpy(ret_block + SIGNATURE_BYTES, env->body, env->len_bytes);
}
