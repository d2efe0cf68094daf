/*
 * proxy_server: the threads that serve clients and fetch for them. The door to libmicrohttpd.
 */
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "otaproxy/proxy_steps.h"

enum {
	PROXY_CONNECTIONS_MAX = 2048,
	/*
	 * A vehicle's ECU has some 30; whoever opens more than this must not keep the others out. Counted by each
	 * thread, so that the end may come at half of it.
	 */
	PROXY_CONNECTIONS_PER_ADDRESS = 256,
	PROXY_IDLE_TIMEOUT_S = 60, /* a client that neither takes nor asks */
};

struct proxy_server;

struct proxy_server_config {
	const char *listen_addr; /* numeric */
	uint16_t port;           /* 0 = any that is free */
	struct fetcher_config fetcher;
};

int proxy_server_start(const struct proxy_server_config *config, struct proxy *proxy,
	struct proxy_server **ret_server, struct ota_err *err);
uint16_t proxy_server_port(const struct proxy_server *server);

/* Its threads end, and with them what is being fetched; connections stay. NULL is fine. */
void proxy_server_stop(struct proxy_server *server);

/* Stopped, and nothing sleeps any more: the checker has been stopped too. NULL is fine. */
void proxy_server_free(struct proxy_server *server);
