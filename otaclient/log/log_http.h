/*
 * log_http: the way to a log server over HTTP: each record is the body of a POST to
 * "<server>/<ecu_id>". What the server answers does not matter, as long as it answers.
 *
 * One thread at a time.
 */
#pragma once

#include "otaclient/log/log_sender.h"

enum {
	/* A server that is slow gets few records, but each only once. */
	LOG_HTTP_TIMEOUT_MS = 60 * 1000,
};

struct log_http;

/* @tls_ca: NULL = the system's store. -EINVAL with a sentence for a URL that is none; -ENOMEM. */
int log_http_new(const char *url, const char *ecu_id, const char *tls_ca,
	struct log_http **ret_http, struct ota_err *err);
void log_http_free(struct log_http *h);
void log_http_freep(struct log_http **h);
#define AUTO_LOG_HTTP CLEANUP(log_http_freep)

struct log_way log_http_way(struct log_http *h);

/* The URL of the POST: "http://127.0.0.1:8083/main". malloc'ed; NULL: no memory. */
char *log_http_target(const char *url, const char *ecu_id);
