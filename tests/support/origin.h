/*
 * origin: start tests/support/http_origin.py beside a test and read what it was asked. Failures end
 * the test.
 *
 * Needs the environment variable HTTP_ORIGIN, the path of the script (the build files set it).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct origin {
	pid_t pid;
	int stdin_fd; /* the origin ends when it is closed */
	unsigned port;
	bool tls;
	char dir[64]; /* of its log; removed by origin_stop() */
};

struct origin_options {
	const char *script;     /* JSON as http_origin.py describes it; NULL = none */
	const char *root;       /* files that are served as they are; NULL = none */
	const char *cert, *key; /* PEM files for TLS; NULL = plain */
};

void origin_start(struct origin *o, const struct origin_options *options);
void origin_stop(struct origin *o); /* harmless on one that never started */

/* "http://127.0.0.1:<port><path>"; good until four more were asked for. */
const char *origin_url(const struct origin *o, const char *path);

/* Requests so far whose line in the log contains @text ("" = all). */
unsigned origin_hits(const struct origin *o, const char *text);

/* Does the line of request @n (from 0) contain @text? */
bool origin_saw(const struct origin *o, unsigned n, const char *text);

/* Different client ports so far, that is, connections. */
unsigned origin_connections(const struct origin *o);
