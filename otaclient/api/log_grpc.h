/*
 * log_grpc: the way to a log server over gRPC (proto/otaclient_iot_logging.proto).
 *
 * One thread at a time, between log_grpc_new() and log_grpc_free().
 */
#pragma once

#include "otaclient/log/log_sender.h"

enum {
	LOG_GRPC_TIMEOUT_MS = 3000, /* for any call */
};

struct log_grpc;

/*
 * The host of @url_host and the port of @url_port, which are both http or https URLs (without one: 80 or 443); TLS is
 * not spoken. -EINVAL with a sentence for what is no such URL; -ENOMEM.
 */
int log_grpc_new(const char *url_host, const char *url_port, const char *ecu_id,
	struct log_grpc **ret_grpc, struct ota_err *err);
void log_grpc_free(struct log_grpc *g);
void log_grpc_freep(struct log_grpc **g);
#define AUTO_LOG_GRPC CLEANUP(log_grpc_freep)

struct log_way log_grpc_way(struct log_grpc *g);

/* "host:port" as the library takes it. */
const char *log_grpc_address(const struct log_grpc *g);
