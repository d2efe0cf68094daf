/*
 * log_grpc: the way to a log server over gRPC. Contract: log_grpc.h.
 *
 * Each check makes a new channel, since one that has failed waits longer and longer by itself before it tries again,
 * and none is left where nobody answers, since it would go on trying.
 */
#include "otaclient/api/log_grpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/net/http_url.h"
#include "otaclient/api/grpc_door.h"
#include "otaclient/api/unary.h"
#include "otaclient_iot_logging.pb-c.h"

enum {
	HOST_MAX = 256, /* with the NUL; names of hosts end at 253 */
};

struct log_grpc {
	char address[HOST_MAX + 16];
	char *ecu_id;
	grpc_channel *channel; /* NULL until a check made one */
};

/* Host without brackets, and port, of a URL that http_url_check() has let pass. */
static int split_url(const char *url, char ret_host[HOST_MAX], uint16_t *ret_port)
{
	const char *host = strstr(url, "://") + 3;
	const char *end = host + strcspn(host, "/?#");
	const char *port = host[0] == '[' ? memchr(host, ']', (size_t)(end - host)) : host;
	unsigned long n = http_url_is_https(url) ? 443 : 80;
	size_t len;

	if (!port)
		return -EINVAL;
	port = memchr(port, ':', (size_t)(end - port));
	len = (size_t)((port ? port : end) - host);
	if (port && port + 1 < end)
		n = strtoul(port + 1, NULL, 10);
	if (host[0] == '[') {
		host++;
		len = (size_t)((const char *)memchr(host, ']', len) - host);
	}
	if (len < 1 || len >= HOST_MAX || n < 1 || n > UINT16_MAX)
		return -EINVAL;
	memcpy(ret_host, host, len);
	ret_host[len] = '\0';
	*ret_port = (uint16_t)n;
	return 0;
}

static int set_address(
	struct log_grpc *g, const char *url_host, const char *url_port, struct ota_err *err)
{
	char host[HOST_MAX], unused[HOST_MAX];
	uint16_t port;
	int r = http_url_check(url_host, err);

	if (r == 0)
		r = http_url_check(url_port, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot send to the log server");
	if (split_url(url_host, host, &port) < 0 || split_url(url_port, unused, &port) < 0)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC,
			"Cannot send to the log server: %.100s with the port of %.100s is no "
			"address",
			url_host, url_port);
	grpc_door_address(host, port, g->address, sizeof(g->address));
	return 0;
}

int log_grpc_new(const char *url_host, const char *url_port, const char *ecu_id,
	struct log_grpc **ret_grpc, struct ota_err *err)
{
	AUTO_LOG_GRPC struct log_grpc *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return ota_err_wrap(err, -ENOMEM, "Cannot send to the log server");
	grpc_door_open();
	r = set_address(g, url_host, url_port, err);
	if (r < 0)
		return r;
	g->ecu_id = strdup(ecu_id);
	if (!g->ecu_id)
		return ota_err_wrap(err, -ENOMEM, "Cannot send to the log server");
	*ret_grpc = TAKE_PTR(g);
	return 0;
}

static void close_channel(struct log_grpc *g)
{
	if (g->channel)
		grpc_channel_destroy(g->channel);
	g->channel = NULL;
}

void log_grpc_free(struct log_grpc *g)
{
	if (!g)
		return;
	close_channel(g);
	grpc_door_close();
	free(g->ecu_id);
	free(g);
}

void log_grpc_freep(struct log_grpc **g)
{
	log_grpc_free(*g);
}

const char *log_grpc_address(const struct log_grpc *g)
{
	return g->address;
}

static int pack(const ProtobufCMessage *message, struct buf *out)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	AUTO_FREE uint8_t *bytes = malloc(size + 1);

	if (!bytes)
		return -ENOMEM;
	protobuf_c_message_pack(message, bytes);
	return buf_append(out, bytes, size);
}

/* An answer is only looked at to see that it is one. */
static int ask(struct log_grpc *g, const char *path, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *answer_type, const struct log_patience *patience,
	struct ota_err *err)
{
	AUTO_BUF struct buf bytes = {0};
	AUTO_BUF struct buf answer = {0};
	const struct unary_call call = {
		.channel = g->channel,
		.address = g->address,
		.path = path,
		.request = &bytes,
		.timeout_ms = LOG_GRPC_TIMEOUT_MS,
		.give_up = patience->is_over,
		.ctx = patience->ctx,
	};
	ProtobufCMessage *message;
	int r = pack(request, &bytes);

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot send to the log server");
	r = unary_ask(&call, &answer, err);
	if (r < 0)
		return r;
	message = protobuf_c_message_unpack(
		answer_type, NULL, answer.len_bytes, (const uint8_t *)buf_str(&answer));
	if (!message)
		return ota_err_set(err, -EBADMSG, OTA_E_NETWORK,
			"%s answers %s with what is no such message", g->address,
			strrchr(path, '/') + 1);
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

static int grpc_check(void *ctx, const struct log_patience *patience, struct ota_err *err)
{
	HealthCheckRequest request;
	struct log_grpc *g = ctx;
	int r;

	health_check_request__init(&request);
	close_channel(g);
	g->channel = unary_channel(g->address);
	r = ask(g, "/OTAClientIoTLoggingService/Check", &request.base,
		&health_check_response__descriptor, patience, err);
	if (r < 0)
		close_channel(g);
	return r;
}

static int grpc_send(void *ctx, const struct log_record *record,
	const struct log_patience *patience, struct ota_err *err)
{
	PutLogRequest request;
	struct log_grpc *g = ctx;
	int r;

	put_log_request__init(&request);
	request.ecu_id = g->ecu_id;
	request.log_type = record->kind == LOG_KIND_METRICS ? LOG_TYPE__METRICS : LOG_TYPE__LOG;
	request.message = (char *)(uintptr_t)record->text; /* only read */
	r = ask(g, "/OTAClientIoTLoggingService/PutLog", &request.base,
		&put_log_response__descriptor, patience, err);
	if (r < 0)
		close_channel(g);
	return r;
}

struct log_way log_grpc_way(struct log_grpc *g)
{
	return (struct log_way){
		.name = g->address, .check = grpc_check, .send = grpc_send, .ctx = g};
}
