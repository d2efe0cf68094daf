/*
 * peer: ask another ECU's API. Contract: peer.h.
 */
#include "otaclient/api/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "otaclient/api/grpc_door.h"
#include "otaclient/api/service.h"
#include "otaclient/api/unary.h"

void peer_open(void)
{
	grpc_door_open();
}

void peer_close(void)
{
	grpc_door_close();
}

static int parse_port(const char *text, uint16_t *ret_port)
{
	uint64_t v;
	int r = decimal_parse(text, strlen(text), 1, UINT16_MAX, &v);

	if (r == 0)
		*ret_port = (uint16_t)v;
	return r;
}

/* A zone ("%eth0") is for the resolver. */
static bool is_ipv6(const char *host)
{
	char address[INET6_ADDRSTRLEN] = "";
	struct in6_addr parsed;
	size_t len = strcspn(host, "%");

	if (len >= sizeof(address))
		return false;
	memcpy(address, host, len);
	return inet_pton(AF_INET6, address, &parsed) == 1;
}

int peer_address_parse(const char *text, struct peer_address *ret_address, struct ota_err *err)
{
	struct peer_address a = {.port = API_PORT};
	const char *host = text, *end, *port = NULL;

	if (text[0] == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			goto invalid;
		if (end[1] == ':')
			port = end + 2;
	} else {
		end = strchr(host, ':');
		if (end && !strchr(end + 1, ':'))
			port = end + 1;
		else
			end = host + strlen(host); /* two colons: an IPv6 address without port */
	}
	if (end == host || (size_t)(end - host) >= sizeof(a.host))
		goto invalid;
	if (port && parse_port(port, &a.port) < 0)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"'%s' is no address of an ECU: the port must be a number from 1 to 65535", text);
	memcpy(a.host, host, (size_t)(end - host));
	if (a.host[strcspn(a.host, "/ []")] != '\0' || (strchr(a.host, ':') && !is_ipv6(a.host)))
		goto invalid;
	*ret_address = a;
	return 0;
invalid:
	return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
		"'%s' is no address of an ECU: it must be HOST, HOST:PORT or [IPV6]:PORT", text);
}

static bool must_stop(void *ctx)
{
	const atomic_bool *stop = ctx;

	return atomic_load(stop);
}

static int exchange(const struct peer_address *peer, enum api_method m, const struct buf *request,
	uint32_t timeout_ms, const atomic_bool *stop, struct buf *ret_answer, struct ota_err *err)
{
	char address[PEER_HOST_MAX + 16];
	struct unary_call call = {
		.address = address,
		.path = api_method_path(m),
		.request = request,
		.timeout_ms = timeout_ms,
		.give_up = stop ? must_stop : NULL,
		.ctx = (void *)(uintptr_t)stop,
	};
	int r;

	grpc_door_address(peer->host, peer->port, address, sizeof(address));
	call.channel = unary_channel(address);
	r = unary_ask(&call, ret_answer, err);
	grpc_channel_destroy(call.channel);
	return r;
}

/* @r of reading it; 0 is fine. */
static int cannot_read(
	const struct peer_address *address, enum api_method m, int r, struct ota_err *err)
{
	return r < 0 ? ota_err_wrap(err, r, "Cannot read the answer of %s to %s", address->host,
			       strrchr(api_method_path(m), '/') + 1)
		     : 0;
}

int peer_status_until(const struct peer_address *address, uint32_t timeout_ms,
	const atomic_bool *stop, struct wire_status *ret_status, struct ota_err *err)
{
	static const struct buf nothing; /* a StatusRequest has no fields */
	AUTO_BUF struct buf answer = {0};
	int r = exchange(address, API_STATUS, &nothing, timeout_ms, stop, &answer, err);

	if (r < 0)
		return r;
	r = wire_status_decode(answer.data, answer.len_bytes, ret_status, err);
	return cannot_read(address, API_STATUS, r, err);
}

int peer_ask_until(const struct peer_address *address, enum api_method m,
	const struct wire_request *request, uint32_t timeout_ms, const atomic_bool *stop,
	struct wire_answer *ret_answer, struct ota_err *err)
{
	AUTO_BUF struct buf bytes = {0};
	AUTO_BUF struct buf answer = {0};
	int r = wire_request_encode(m, request, &bytes);

	if (r < 0)
		return ota_err_no_memory(err, "the request");
	r = exchange(address, m, &bytes, timeout_ms, stop, &answer, err);
	if (r < 0)
		return r;
	r = wire_answer_decode(m, answer.data, answer.len_bytes, ret_answer, err);
	return cannot_read(address, m, r, err);
}

int peer_forecast(const struct peer_address *address, const struct wire_request *request,
	uint32_t timeout_ms, struct wire_forecast *ret_forecast, struct ota_err *err)
{
	AUTO_BUF struct buf bytes = {0};
	AUTO_BUF struct buf answer = {0};
	int r = wire_request_encode(API_FORECAST, request, &bytes);

	if (r < 0)
		return ota_err_no_memory(err, "the request");
	r = exchange(address, API_FORECAST, &bytes, timeout_ms, NULL, &answer, err);
	if (r < 0)
		return r;
	r = wire_forecast_decode(answer.data, answer.len_bytes, ret_forecast, err);
	return cannot_read(address, API_FORECAST, r, err);
}

int peer_status(const struct peer_address *address, uint32_t timeout_ms,
	struct wire_status *ret_status, struct ota_err *err)
{
	return peer_status_until(address, timeout_ms, NULL, ret_status, err);
}

int peer_ask(const struct peer_address *address, enum api_method m,
	const struct wire_request *request, uint32_t timeout_ms, struct wire_answer *ret_answer,
	struct ota_err *err)
{
	return peer_ask_until(address, m, request, timeout_ms, NULL, ret_answer, err);
}
