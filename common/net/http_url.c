/*
 * http_url: checks and forms of URLs. Contract: http_url.h.
 */
#include "common/net/http_url.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char http_scheme[] = "http://";
static const char https_scheme[] = "https://";

bool http_text_is_field_value(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

bool http_url_is_https(const char *url)
{
	return strncasecmp(url, https_scheme, sizeof(https_scheme) - 1) == 0;
}

static bool is_http(const char *url)
{
	return strncasecmp(url, http_scheme, sizeof(http_scheme) - 1) == 0;
}

/* Behind the scheme; NULL if it is neither of the two. */
static const char *after_scheme(const char *url)
{
	if (http_url_is_https(url))
		return url + sizeof(https_scheme) - 1;
	return is_http(url) ? url + sizeof(http_scheme) - 1 : NULL;
}

bool http_url_is_http_or_https(const char *url)
{
	return after_scheme(url) != NULL;
}

/* Behind user and password, if there are any. */
static const char *host_of(const char *authority)
{
	const char *end = authority + strcspn(authority, "/?#");
	const char *at = memrchr(authority, '@', (size_t)(end - authority));

	return at ? at + 1 : authority;
}

/* Of "[::1]" its brackets are part. */
static size_t host_len(const char *host)
{
	return host[0] == '[' ? strcspn(host, "]/?#") : strcspn(host, "/?#:");
}

bool http_url_same_host(const char *a, const char *b)
{
	const char *rest_a = after_scheme(a), *rest_b = after_scheme(b);
	const char *host_a, *host_b;
	size_t len;

	if (!rest_a || !rest_b)
		return false;
	host_a = host_of(rest_a);
	host_b = host_of(rest_b);
	len = host_len(host_a);
	return len == host_len(host_b) && strncasecmp(host_a, host_b, len) == 0;
}

char *http_url_origin(const char *url)
{
	const char *rest = after_scheme(url);
	const char *host;
	char *origin = NULL;

	assert(rest);
	host = host_of(rest);
	if (asprintf(&origin, "%s%.*s", http_url_is_https(url) ? https_scheme : http_scheme,
		    (int)strcspn(host, "/?#"), host) < 0)
		return NULL;
	return origin;
}

/* What is left to be wrong: the port, the form of an address. */
static int check_parts(const char *url, struct ota_err *err)
{
	char text[HTTP_URL_TEXT_MAX];
	CURLU *parts = curl_url();
	CURLUcode code;

	code = parts ? curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS)
		     : CURLUE_OUT_OF_MEMORY;
	curl_url_cleanup(parts);
	if (code == CURLUE_OK)
		return 0;
	if (code == CURLUE_OUT_OF_MEMORY)
		return ota_err_no_memory(err, "a URL");
	return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST, "The URL \"%s\" is malformed: %s",
		http_url_text(url, text), curl_url_strerror(code));
}

int http_url_check(const char *url, struct ota_err *err)
{
	char text[HTTP_URL_TEXT_MAX];
	const char *rest = after_scheme(url);

	for (const char *s = url; *s; s++)
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
			return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
				"The URL has the byte 0x%02x at position %td, which no URL may "
				"have",
				(unsigned char)*s, s - url);
	if (strlen(url) > HTTP_URL_MAX_BYTES)
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The URL %s is longer than %d bytes", http_url_text(url, text),
			HTTP_URL_MAX_BYTES);
	if (!rest)
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The URL \"%s\" begins with neither http:// nor https://",
			http_url_text(url, text));
	if (host_len(host_of(rest)) == 0)
		return ota_err_set(err, -EINVAL, OTA_E_INVALID_REQUEST,
			"The URL \"%s\" has no host", http_url_text(url, text));
	return check_parts(url, err);
}

char *http_url_for_request(const char *url, bool as_http)
{
	char *copy = NULL;

	if (!as_http || !http_url_is_https(url))
		return strdup(url);
	if (asprintf(&copy, "http://%s", url + sizeof(https_scheme) - 1) < 0)
		return NULL;
	return copy;
}

const char *http_url_text(const char *url, char ret_text[HTTP_URL_TEXT_MAX])
{
	const char *rest = after_scheme(url);
	const char *host = rest ? host_of(rest) : url;
	int scheme_len = rest ? (int)(rest - url) : 0;
	size_t len = strcspn(host, "?#");
	size_t room = HTTP_URL_TEXT_MAX - 1 - (size_t)scheme_len;

	if (len <= room)
		snprintf(ret_text, HTTP_URL_TEXT_MAX, "%.*s%.*s", scheme_len, url, (int)len, host);
	else
		snprintf(ret_text, HTTP_URL_TEXT_MAX, "%.*s%.*s...%.*s", scheme_len, url,
			(int)(room / 2 - 2), host, (int)(room / 2 - 2),
			host + len - (room / 2 - 2));
	return ret_text;
}
