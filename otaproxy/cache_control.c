/*
 * cache_control: reading and writing ota-file-cache-control. Contract: cache_control.h.
 */
#include "otaproxy/cache_control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/net/http_url.h"

static int take_no_cache(struct cache_control *cc, const char *value, struct ota_err *err)
{
	cc->no_cache = true;
	return 0;
}

static int take_retry(struct cache_control *cc, const char *value, struct ota_err *err)
{
	cc->retry_caching = true;
	return 0;
}

static int take_digest(struct cache_control *cc, const char *value, struct ota_err *err)
{
	struct digest digest;

	if (digest_from_hex(value, strlen(value), &digest) < 0)
		return ota_err_set(err, -EBADMSG, OTA_E_INVALID_REQUEST,
			"The file_sha256 of " CACHE_CONTROL_NAME " is not 64 hex digits");
	if (cc->has_digest && !digest_equal(&digest, &cc->digest))
		return ota_err_set(err, -EBADMSG, OTA_E_INVALID_REQUEST,
			"Two different file_sha256 stand in " CACHE_CONTROL_NAME);
	cc->has_digest = true;
	cc->digest = digest;
	return 0;
}

static int take_alg(struct cache_control *cc, const char *value, struct ota_err *err)
{
	bool is_zst = strcmp(value, "zst") == 0 || strcmp(value, "zstd") == 0;
	enum cache_alg alg = is_zst ? CACHE_ALG_ZST : CACHE_ALG_OTHER;

	if (value[0] == '\0') /* says nothing */
		return 0;
	if (cc->alg != CACHE_ALG_NONE && cc->alg != alg)
		return ota_err_set(err, -EBADMSG, OTA_E_INVALID_REQUEST,
			"Two different file_compression_alg stand in " CACHE_CONTROL_NAME);
	cc->alg = alg;
	return 0;
}

static const struct {
	const char *name;
	int (*take)(struct cache_control *cc, const char *value, struct ota_err *err);
} directives[] = {
	{"no_cache",             take_no_cache},
	{"retry_caching",        take_retry   },
	{"file_sha256",          take_digest  },
	{"file_compression_alg", take_alg     },
};

/* Without the spaces around it; changes the text. */
static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t");
	for (len = strlen(s); len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'); len--)
		s[len - 1] = '\0';
	return s;
}

/* "name" or "name=value" */
static int take_directive(struct cache_control *cc, char *text, struct ota_err *err)
{
	char *value = text;
	const char *name = trim(strsep(&value, "="));

	for (size_t i = 0; i < ARRAY_SIZE(directives); i++)
		if (strcmp(name, directives[i].name) == 0)
			return directives[i].take(cc, value ? trim(value) : "", err);
	return 0;
}

int cache_control_parse(
	const char *value, size_t len_bytes, struct cache_control *cc, struct ota_err *err)
{
	char copy[CACHE_CONTROL_MAX_BYTES + 1], *rest = copy, *directive;
	struct cache_control read = *cc;
	int r;

	if (len_bytes > CACHE_CONTROL_MAX_BYTES)
		return ota_err_set(err, -E2BIG, OTA_E_INVALID_REQUEST,
			CACHE_CONTROL_NAME " is longer than %d bytes", CACHE_CONTROL_MAX_BYTES);
	memcpy(copy, value, len_bytes);
	copy[len_bytes] = '\0';
	for (size_t i = 0; i < len_bytes; i++) /* a tab may stand where a space may */
		if (copy[i] == '\t')
			copy[i] = ' ';
	if (strlen(copy) != len_bytes || !http_text_is_field_value(copy))
		return ota_err_set(err, -EBADMSG, OTA_E_INVALID_REQUEST,
			CACHE_CONTROL_NAME " has control characters");
	while ((directive = strsep(&rest, ","))) {
		r = take_directive(&read, directive, err);
		if (r < 0)
			return r;
	}
	*cc = read;
	return 0;
}

const char *cache_control_write(
	const struct cache_control *cc, char ret_text[CACHE_CONTROL_TEXT_MAX])
{
	char hex[DIGEST_HEX_MAX] = "";
	bool tell = cc->has_digest && cc->alg != CACHE_ALG_OTHER;
	int len;

	if (tell)
		digest_to_hex(&cc->digest, hex);
	/* Each with a comma in front, the first of which is then left out. */
	len = snprintf(ret_text, CACHE_CONTROL_TEXT_MAX, "%s%s%s%s%s",
		cc->retry_caching ? ",retry_caching" : "", cc->no_cache ? ",no_cache" : "",
		tell ? ",file_sha256=" : "", hex,
		cc->alg == CACHE_ALG_ZST ? ",file_compression_alg=zst" : "");
	if (len > 0)
		memmove(ret_text, ret_text + 1, (size_t)len);
	return ret_text;
}
