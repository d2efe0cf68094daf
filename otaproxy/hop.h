/*
 * hop: may this proxy follow a redirect? What holds for the URL of a request holds for each that an origin's answer
 * leads on to, or the list of servers would be no limit.
 */
#pragma once

#include "common/base/err.h"
#include "otaproxy/proxy_request.h"

/*
 * May @url, which has passed http_url_check(), be asked? 0, or the HTTP status for the client, with a sentence. 403: a
 * server that is not on the list, or is there only by https; 502: a URL that names no server clearly; 503: the list is
 * not known; 508: it is this proxy.
 */
unsigned hop_refuse(const struct proxy_rules *rules, const char *url, struct ota_err *err);
