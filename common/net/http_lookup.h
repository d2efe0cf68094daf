/*
 * http_lookup: names and sockets for a program that may not ask for them itself (struct http_net). Internal to
 * common/net.
 */
#pragma once

#include "common/net/http_try.h"

/*
 * Before a try that asks for @url: the addresses of the host, or of the proxy, for t->easy. What cannot be looked up
 * fails as a connection does. 0 or -ENOMEM; nothing without http_config.net.
 */
int http_lookup_set(struct transfer *t, const char *url);
