/*
 * remote_log: sends what is logged, and one record for each update, to the vehicle's log server, over gRPC where that
 * answers, else over HTTP.
 *
 * Owns the log's sink (common/base/log.h) while it lives. docs/formats.md, "Records of the log server".
 */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct remote_log_config {
	const char *server;      /* logging_server of proxy_info.yaml */
	const char *server_grpc; /* logging_server_grpc; "" = HTTP only */
	const char *ecu_id;
	const char *tls_ca; /* NULL = the system's store */
};

/* Begins to send what is logged from now on. Before other threads log. -EINVAL or -ENOMEM with a sentence. */
struct remote_log;
int remote_log_start(
	const struct remote_log_config *config, struct remote_log **ret_log, struct ota_err *err);

/* Takes less than a second, whatever the server does. */
void remote_log_free(struct remote_log *l);
void remote_log_freep(struct remote_log **l);
#define AUTO_REMOTE_LOG CLEANUP(remote_log_freep)

/* The record of one update, a JSON object; from any thread. It is sent before this returns if a server takes records
 * and is quick, since a restart may follow. */
void remote_log_metrics(struct remote_log *l, const char *record);
