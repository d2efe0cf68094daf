/*
 * http_cookies: the cookies of an update request as one Cookie header value. Contract: http.h.
 *
 * They come from outside and go into a header, so names and values are checked for what RFC 6265 lets them be
 * (a value may also have spaces, quotes and commas inside, which servers take).
 */
#include <errno.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "common/net/http.h"

enum {
	COOKIES_JSON_MAX_BYTES = 64 * 1024,
	COOKIES_MAX_BYTES = 16 * 1024, /* no server takes a longer header line */
	NAME_SHOWN_MAX = 64,           /* characters of a name in a sentence; values are secrets */
};

struct cookies {
	struct buf header;
	struct ota_err *err;
};

static bool is_token(const char *s)
{
	static const char separators[] = "()<>@,;:\\\"/[]?={} \t";

	if (!*s)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f ||
			strchr(separators, *s))
			return false;
	return true;
}

static bool is_cookie_value(const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || (unsigned char)s[i] >= 0x7f || s[i] == ';')
			return false;
	return len == 0 || (s[0] != ' ' && s[len - 1] != ' ');
}

static int add_cookie(void *ctx, const char *key, const struct json_value *value)
{
	struct cookies *c = ctx;
	const char *text = json_value_string(value);
	int r;

	if (!is_token(key))
		return ota_err_set(c->err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The request's cookies are invalid: a cookie has a name that no cookie may "
			"have");
	if (!text)
		return ota_err_set(c->err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The request's cookies are invalid: the value of \"%.*s\" is no string",
			NAME_SHOWN_MAX, key);
	if (!is_cookie_value(text))
		return ota_err_set(c->err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The request's cookies are invalid: the value of \"%.*s\" has a character "
			"that"
			" no cookie may have",
			NAME_SHOWN_MAX, key);
	r = buf_printf(&c->header, "%s%s=%s", c->header.len_bytes ? "; " : "", key, text);
	if (r == 0 && c->header.len_bytes > COOKIES_MAX_BYTES)
		return ota_err_set(c->err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The request's cookies are longer than %d bytes", COOKIES_MAX_BYTES);
	return r < 0 ? ota_err_wrap(c->err, r, "Cannot read the request's cookies") : 0;
}

int http_cookies_from_json(
	const char *json, size_t len_bytes, char **ret_header, struct ota_err *err)
{
	AUTO_JSON_DOC struct json_doc *doc = NULL;
	struct cookies c = {.err = err};
	int r;

	if (len_bytes == 0) {
		*ret_header = NULL;
		return 0;
	}
	r = json_doc_parse(json, len_bytes, COOKIES_JSON_MAX_BYTES, &doc, err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		ota_err_wrap(err, -EINVAL, "The request's cookies are no JSON object");
		ota_err_blame(err, OTA_E_INVALID_REQUEST);
		return -EINVAL;
	}
	if (!json_value_is_object(json_doc_root(doc)))
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The request's cookies are no JSON object");
	r = json_value_each_member(json_doc_root(doc), add_cookie, &c);
	if (r < 0) {
		buf_done(&c.header);
		return r;
	}
	*ret_header = c.header.data; /* NULL while empty */
	return 0;
}
