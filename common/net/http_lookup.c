/*
 * http_lookup: libcurl is told what it would look up, and given the sockets that it would make. Contract:
 * http_lookup.h.
 */
#include "common/net/http_lookup.h"

#include <arpa/inet.h>
#include <errno.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"

/* Of no host: libcurl is kept from looking itself, and the address gets no socket. */
#define NOWHERE "192.0.2.0"

static void url_freep(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void text_freep(char **text)
{
	curl_free(*text);
}

static bool is_address(const char *host)
{
	struct in_addr v4;

	return host[0] == '[' || inet_pton(AF_INET, host, &v4) == 1;
}

static int entry_add(struct transfer *t, const char *host, const char *port, const char *addresses)
{
	AUTO_BUF struct buf entry = {0};
	struct curl_slist *more;

	/* "+": it grows old as others do, so that the next try may find another one. */
	if (buf_printf(&entry, "+%s:%s:%s", host, port, addresses) < 0)
		return -ENOMEM;
	more = curl_slist_append(t->addresses, buf_str(&entry));
	if (!more)
		return -ENOMEM;
	t->addresses = more;
	return 0;
}

static int look_up(struct transfer *t, const char *url)
{
	CLEANUP(url_freep) CURLU *parts = curl_url();
	CLEANUP(text_freep) char *host = NULL;
	CLEANUP(text_freep) char *port = NULL;
	const struct http_net *net = t->shared->net;
	char addresses[HTTP_ADDRESSES_MAX];

	if (!parts || curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS) != CURLUE_OK ||
		curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
		curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
		return -ENOMEM;
	if (is_address(host))
		return 0;
	t->no_address = net->look_up(net->ctx, host, addresses, sizeof(addresses)) < 0;
	return entry_add(t, host, port, t->no_address ? NOWHERE : addresses);
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
	const struct transfer *t = ctx;
	const struct http_net *net = t->shared->net;
	int fd;

	if (t->no_address || address->socktype != SOCK_STREAM)
		return CURL_SOCKET_BAD;
	fd = net->open_socket(net->ctx, address->family);
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

int http_lookup_set(struct transfer *t, const char *url)
{
	int r;

	if (!t->shared->net)
		return 0;
	curl_slist_free_all(TAKE_PTR(t->addresses));
	t->no_address = false;
	r = look_up(t, t->shared->proxy ? t->shared->proxy : url);
	if (r < 0)
		return r;
	if (curl_easy_setopt(t->easy, CURLOPT_RESOLVE, t->addresses) != CURLE_OK ||
		curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) != CURLE_OK ||
		curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t) != CURLE_OK)
		return -ENOMEM;
	return 0;
}
