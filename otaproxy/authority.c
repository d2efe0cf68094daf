/*
 * authority: reading, comparing and writing host and port. Contract: authority.h.
 */
#include "otaproxy/authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/decimal.h"

enum {
	PORT_HTTP = 80,
	PORT_HTTPS = 443,
	PORT_DIGITS_MAX = 5,
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Labels of letters, digits, '-' and '_', none of them empty or too long. */
static bool is_name(const char *host)
{
	size_t label = 0;

	for (; *host; host++) {
		bool fine = is_digit(*host) || (*host >= 'a' && *host <= 'z') || *host == '-' ||
			    *host == '_';

		if (*host == '.' && label > 0)
			label = 0;
		else if (fine && label < AUTHORITY_LABEL_MAX_BYTES)
			label++;
		else
			return false;
	}
	return label > 0;
}

/* A last label that a resolver may read as a number: digits, or "0x" and hex digits. */
static bool ends_in_number(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *label = dot ? dot + 1 : host;

	if (label[0] == '0' && label[1] == 'x')
		return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
	return label[strspn(label, "0123456789")] == '\0';
}

static int read_name(struct authority *a, const char *text, size_t len)
{
	struct in_addr ip;

	if (len == 0 || len >= sizeof(a->host))
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		a->host[i] = lower(text[i]);
	a->host[len] = '\0';
	if (strlen(a->host) != len || !is_name(a->host))
		return -EINVAL;
	if (ends_in_number(a->host) && inet_pton(AF_INET, a->host, &ip) != 1)
		return -EINVAL;
	return 0;
}

static int read_ipv6(struct authority *a, const char *text, size_t len)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr ip;

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (strlen(copy) != len || inet_pton(AF_INET6, copy, &ip) != 1)
		return -EINVAL;
	a->is_ipv6 = !IN6_IS_ADDR_V4MAPPED(&ip);
	if (a->is_ipv6)
		inet_ntop(AF_INET6, &ip, a->host, sizeof(a->host));
	else
		inet_ntop(AF_INET, &ip.s6_addr[12], a->host, sizeof(a->host));
	return 0;
}

/* What follows the host: nothing, or ":port". */
static int read_port(struct authority *a, const char *text, size_t len)
{
	uint64_t port;

	if (len == 0)
		return 0;
	if (text[0] != ':' || len > 1 + PORT_DIGITS_MAX ||
		decimal_parse(text + 1, len - 1, 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	a->port = (uint16_t)port;
	return 0;
}

int authority_parse(const char *text, size_t len_bytes, struct authority *ret_authority)
{
	struct authority a = {0};
	const char *end;
	int r;

	if (len_bytes > 0 && text[0] == '[') {
		end = memchr(text, ']', len_bytes);
		if (!end)
			return -EINVAL;
		r = read_ipv6(&a, text + 1, (size_t)(end - text) - 1);
		end++;
	} else {
		end = len_bytes > 0 ? memchr(text, ':', len_bytes) : NULL;
		if (!end)
			end = text + len_bytes;
		r = read_name(&a, text, (size_t)(end - text));
	}
	if (r == 0)
		r = read_port(&a, end, len_bytes - (size_t)(end - text));
	if (r == 0)
		*ret_authority = a;
	return r;
}

static uint16_t scheme_port(bool https)
{
	return https ? PORT_HTTPS : PORT_HTTP;
}

uint16_t authority_port(const struct authority *a, bool https)
{
	return a->port ? a->port : scheme_port(https);
}

void authority_normalise(struct authority *a, bool https)
{
	if (a->port == scheme_port(https))
		a->port = 0;
}

bool authority_equal(const struct authority *a, const struct authority *b, bool https)
{
	return strcmp(a->host, b->host) == 0 &&
	       authority_port(a, https) == authority_port(b, https);
}

const char *authority_origin(
	const struct authority *a, bool https, char ret_text[AUTHORITY_ORIGIN_MAX])
{
	uint16_t port = authority_port(a, https);
	int len = snprintf(ret_text, AUTHORITY_ORIGIN_MAX, "%s://%s%s%s", https ? "https" : "http",
		a->is_ipv6 ? "[" : "", a->host, a->is_ipv6 ? "]" : "");

	if (port != scheme_port(https))
		snprintf(ret_text + len, AUTHORITY_ORIGIN_MAX - (size_t)len, ":%u", port);
	return ret_text;
}
