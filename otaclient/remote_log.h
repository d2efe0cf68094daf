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

/*
 * What is logged from now on waits, within the sender's limits, until it is known where to send it: what is wrong in
 * the file that says so is to get there as well. Before other threads log. 0 or -ENOMEM.
 */
struct remote_log;
int remote_log_new(struct remote_log **ret_log, struct ota_err *err);

/* Begins to send it. Once. 0, or -EINVAL or -ENOMEM with a sentence. */
int remote_log_start(
	struct remote_log *l, const struct remote_log_config *config, struct ota_err *err);

/* Takes less than a second, whatever the server does. What was never started forgets what waits. */
void remote_log_free(struct remote_log *l);
void remote_log_freep(struct remote_log **l);
#define AUTO_REMOTE_LOG CLEANUP(remote_log_freep)

/* The record of one update, a JSON object; from any thread. It is sent before this returns if a server takes records
 * and is quick, since a restart may follow. After remote_log_start(). */
void remote_log_metrics(struct remote_log *l, const char *record);
