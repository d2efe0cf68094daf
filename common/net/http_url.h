/*
 * http_url: which URLs we ask for, how they are asked for through a proxy, and how they look in a
 * sentence. Pure.
 */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"

enum {
	/* A path of 4 kB with every byte percent-encoded, below a base URL. */
	HTTP_URL_MAX_BYTES = 16 * 1024,
	HTTP_URL_TEXT_MAX = 208, /* leaves room for the reason in a sentence of OTA_ERR_MSG_MAX */
};

/* May @s stand in a header's value: printable, no CR, LF or other control character? */
bool http_text_is_field_value(const char *s);

/*
 * http or https, a host, no white space, no control character, nothing beyond ASCII (those are to
 * be percent-encoded). 0, or -EINVAL with E308 and the reason.
 */
int http_url_check(const char *url, struct ota_err *err);

bool http_url_is_https(const char *url);

/* Does it begin with http:// or https://? What follows may be wrong. */
bool http_url_is_http_or_https(const char *url);

/* The same host, whatever scheme and port? Both URLs have passed http_url_check(). */
bool http_url_same_host(const char *a, const char *b);

/* "scheme://host[:port]" of @url, which has passed http_url_check(), without user and password. NULL: no memory. */
char *http_url_origin(const char *url);

/* What is asked for: a copy of @url, as http where it was https if @as_http. NULL: no memory. */
char *http_url_for_request(const char *url, bool as_http);

/* @url for a person: without user and password, without query, its middle left out if it is long.
 */
const char *http_url_text(const char *url, char ret_text[HTTP_URL_TEXT_MAX]);
