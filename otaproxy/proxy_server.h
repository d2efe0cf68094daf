/*
 * proxy_server: the HTTP side towards the clients. The door to libmicrohttpd.
 */
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "otaproxy/proxy_steps.h"

enum {
	PROXY_CONNECTIONS_MAX = 2048,
	/* A vehicle's ECU has some 30; whoever opens more than this must not keep the others out. */
	PROXY_CONNECTIONS_PER_ADDRESS = 256,
	PROXY_IDLE_TIMEOUT_S = 60, /* a client that neither takes nor asks */
};

struct proxy_server;

struct proxy_server_config {
	const char *listen_addr; /* numeric */
	uint16_t port;           /* 0 = any that is free */
};

int proxy_server_start(const struct proxy_server_config *config, struct proxy *proxy,
	struct proxy_server **ret_server, struct ota_err *err);
uint16_t proxy_server_port(const struct proxy_server *server);

/* No new connection from here on. */
void proxy_server_close_door(struct proxy_server *server);

/* Nothing may sleep any more: fetcher and checker have been stopped. */
void proxy_server_stop(struct proxy_server *server);
