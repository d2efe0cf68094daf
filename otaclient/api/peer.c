/*
 * peer: ask another ECU's API. Contract: peer.h.
 */
#include "otaclient/api/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/decimal.h"
#include "otaclient/api/grpc_door.h"
#include "otaclient/api/service.h"
#include "otaclient/text.h"

/* A call and what comes back from it. */
struct exchange {
	grpc_channel *channel;
	grpc_completion_queue *queue;
	grpc_call *call;
	grpc_byte_buffer *request, *answer;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
};
#define AUTO_EXCHANGE CLEANUP(exchange_done)

static void exchange_done(struct exchange *x)
{
	if (x->call)
		grpc_call_unref(x->call);
	if (x->channel)
		grpc_channel_destroy(x->channel);
	if (x->queue) {
		grpc_completion_queue_shutdown(x->queue);
		grpc_completion_queue_destroy(x->queue); /* a queue for pluck needs no drain */
	}
	grpc_byte_buffer_destroy(x->request);
	grpc_byte_buffer_destroy(x->answer);
	grpc_metadata_array_destroy(&x->initial);
	grpc_metadata_array_destroy(&x->trailing);
	grpc_slice_unref(x->details);
}

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

/* No proxy and no look-ups that are not needed to reach a neighbour; nothing shared with earlier calls. */
static grpc_channel *open_channel(const char *address)
{
	grpc_arg args[] = {
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_ENABLE_HTTP_PROXY}, {.integer = 0}},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION}, {.integer = 1}},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL}, {.integer = 1}},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_ENABLE_RETRIES}, {.integer = 0}},
	};
	const grpc_channel_args channel_args = {ARRAY_SIZE(args), args};
	grpc_channel_credentials *plain = grpc_insecure_credentials_create();
	grpc_channel *channel = grpc_channel_create(address, plain, &channel_args);

	grpc_channel_credentials_release(plain);
	return channel;
}

/* The library wraps the kernel's words in its own; people need the last of them. */
static const char *last_words(const char *details)
{
	const char *colon = NULL;

	if (strncmp(details, "failed to connect", 17) != 0 && strncmp(details, "DNS resolution", 14) != 0)
		return details;
	for (const char *p = details; (p = strstr(p, ": ")); p += 2)
		colon = p;
	return colon ? colon + 2 : details;
}

static int error_of(const struct exchange *x, const char *address, const char *method, struct ota_err *err)
{
	static const struct {
		grpc_status_code status;
		int errnum;
	} rows[] = {
		{GRPC_STATUS_UNAVAILABLE, -EAGAIN},
		{GRPC_STATUS_DEADLINE_EXCEEDED, -ETIMEDOUT},
		{GRPC_STATUS_INVALID_ARGUMENT, -EINVAL},
		{GRPC_STATUS_UNIMPLEMENTED, -EOPNOTSUPP},
	};
	AUTO_FREE char *details = strndup((const char *)GRPC_SLICE_START_PTR(x->details),
		GRPC_SLICE_LENGTH(x->details));
	int errnum = -EIO;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].status == x->status)
			errnum = rows[i].errnum;
	if (errnum == -ETIMEDOUT)
		return ota_err_set(err, errnum, OTA_E_NETWORK, "%s did not answer %s in time",
			address, method);
	if (details)
		text_repair(details);
	return ota_err_set(err, errnum, OTA_E_NETWORK, "%s did not answer %s: %s%s", address,
		method, errnum == -EOPNOTSUPP ? "UNIMPLEMENTED, " : "",
		details && details[0] ? last_words(details) : "no reason given");
}

/* Send the request, take the answer: one batch of operations, one event. */
static void run_batch(struct exchange *x)
{
	const gpr_timespec never = gpr_inf_future(GPR_CLOCK_REALTIME);
	grpc_op ops[6] = {0};

	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[1].op = GRPC_OP_SEND_MESSAGE;
	ops[1].data.send_message.send_message = x->request;
	ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &x->initial;
	ops[4].op = GRPC_OP_RECV_MESSAGE;
	ops[4].data.recv_message.recv_message = &x->answer;
	ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[5].data.recv_status_on_client.trailing_metadata = &x->trailing;
	ops[5].data.recv_status_on_client.status = &x->status;
	ops[5].data.recv_status_on_client.status_details = &x->details;
	if (grpc_call_start_batch(x->call, ops, ARRAY_SIZE(ops), x, NULL) == GRPC_CALL_OK)
		grpc_completion_queue_pluck(x->queue, x, never, NULL);
}

static int exchange(const struct peer_address *peer, enum api_method m, const struct buf *request,
	uint32_t timeout_ms, struct buf *ret_answer, struct ota_err *err)
{
	AUTO_EXCHANGE struct exchange x = {.status = GRPC_STATUS_UNKNOWN,
		.details = grpc_empty_slice()};
	char address[PEER_HOST_MAX + 16];
	const char *method = strrchr(api_method_path(m), '/') + 1;
	int r;

	grpc_metadata_array_init(&x.initial);
	grpc_metadata_array_init(&x.trailing);
	grpc_door_address(peer->host, peer->port, address, sizeof(address));
	x.channel = open_channel(address);
	x.queue = grpc_completion_queue_create_for_pluck(NULL);
	x.request = grpc_door_message(request);
	x.call = grpc_channel_create_call(x.channel, NULL, GRPC_PROPAGATE_DEFAULTS, x.queue,
		grpc_slice_from_static_string(api_method_path(m)), NULL,
		gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
			gpr_time_from_millis(timeout_ms, GPR_TIMESPAN)),
		NULL);
	run_batch(&x);
	if (x.status != GRPC_STATUS_OK || !x.answer)
		return error_of(&x, address, method, err);
	r = grpc_door_bytes(x.answer, ret_answer);
	return r < 0 ? ota_err_wrap(err, r, "Cannot read the answer of %s to %s", address, method) : 0;
}

int peer_status(const struct peer_address *address, uint32_t timeout_ms, struct wire_status *ret_status,
	struct ota_err *err)
{
	static const struct buf nothing; /* a StatusRequest has no fields */
	AUTO_BUF struct buf answer = {0};
	int r = exchange(address, API_STATUS, &nothing, timeout_ms, &answer, err);

	if (r < 0)
		return r;
	r = wire_status_decode(answer.data, answer.len_bytes, ret_status, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot read the answer of %s to Status", address->host)
		     : 0;
}

int peer_ask(const struct peer_address *address, enum api_method m, const struct wire_request *request,
	uint32_t timeout_ms, struct wire_answer *ret_answer, struct ota_err *err)
{
	AUTO_BUF struct buf bytes = {0};
	AUTO_BUF struct buf answer = {0};
	int r = wire_request_encode(m, request, &bytes);

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot ask %s", address->host);
	r = exchange(address, m, &bytes, timeout_ms, &answer, err);
	if (r < 0)
		return r;
	r = wire_answer_decode(m, answer.data, answer.len_bytes, ret_answer, err);
	return r < 0 ? ota_err_wrap(err, r, "Cannot read the answer of %s", address->host) : 0;
}
