/*
 * log_http: the way to a log server over HTTP. Contract: log_http.h.
 *
 * The client is kept for its connection, and made anew where a request under way was left behind.
 */
#include "otaclient/log/log_http.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/net/http.h"
#include "common/net/http_url.h"

enum {
	PATIENCE_POLL_MS = 50,
	ANSWER_MAX_BYTES = 64 * 1024, /* read and thrown away, to keep the connection */
};

struct log_http {
	char *name, *target, *tls_ca;
	struct http_client *client; /* NULL until it is needed */
};

char *log_http_target(const char *url, const char *ecu_id)
{
	AUTO_BUF struct buf target = {0};
	size_t len = strlen(url);
	int r;

	while (len > 0 && url[len - 1] == '/')
		len--;
	r = buf_append(&target, url, len);
	if (r == 0)
		r = buf_puts(&target, "/");
	for (const char *p = ecu_id; *p && r == 0; p++)
		r = isalnum((unsigned char)*p) || strchr("-._~", *p)
			    ? buf_append(&target, p, 1)
			    : buf_printf(&target, "%%%02X", (unsigned)(unsigned char)*p);
	return r < 0 ? NULL : TAKE_PTR(target.data);
}

int log_http_new(const char *url, const char *ecu_id, const char *tls_ca,
	struct log_http **ret_http, struct ota_err *err)
{
	AUTO_LOG_HTTP struct log_http *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return ota_err_wrap(err, -ENOMEM, "Cannot send to the log server");
	h->name = strdup(url);
	h->target = log_http_target(url, ecu_id);
	h->tls_ca = tls_ca ? strdup(tls_ca) : NULL;
	if (!h->name || !h->target || (tls_ca && !h->tls_ca))
		return ota_err_wrap(err, -ENOMEM, "Cannot send to the log server");
	r = http_url_check(h->target, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot send to the log server");
	*ret_http = TAKE_PTR(h);
	return 0;
}

void log_http_free(struct log_http *h)
{
	if (!h)
		return;
	http_client_free(h->client);
	free(h->name);
	free(h->target);
	free(h->tls_ca);
	free(h);
}

void log_http_freep(struct log_http **h)
{
	log_http_free(*h);
}

static int need_client(struct log_http *h, struct ota_err *err)
{
	const struct http_config config = {
		.tls_ca = h->tls_ca,
		.max_connections = 1,
		.stall_timeout_ms = LOG_HTTP_TIMEOUT_MS,
	};

	return h->client ? 0 : http_client_new(&config, &h->client, err);
}

static int throw_away(void *ctx, const void *data, size_t len_bytes, struct ota_err *err)
{
	return 0;
}

struct sending {
	struct http_result result;
	bool done;
};

static void note_done(void *ctx, const struct http_result *result)
{
	struct sending *s = ctx;

	s->result = *result;
	s->done = true;
}

/* 0 once it is done, however; -ECANCELED: not waited for. */
static int run(struct log_http *h, const struct http_request *request,
	const struct log_patience *patience, struct sending *s, struct ota_err *err)
{
	int r = http_client_add(h->client, request, err);

	while (r == 0 && !s->done) {
		r = http_client_run(h->client, PATIENCE_POLL_MS, err);
		if (r == 0 && !s->done && patience->is_over(patience->ctx))
			r = ota_err_set(
				err, -ECANCELED, OTA_E_NETWORK, "%s was not waited for", h->name);
	}
	if (r < 0) { /* what may be under way must not report to a frame that is gone */
		http_client_free(h->client);
		h->client = NULL;
	}
	return r;
}

/* A record of another kind travels as the message of a line, for all that comes this way is lines. */
static int body_of(const struct log_record *record, struct buf *out)
{
	const struct log_entry entry = {
		.level = LOG_LEVEL_INFO,
		.file = "metrics.c",
		.function = "metrics",
		.text = record->text,
	};

	return record->kind == LOG_KIND_LINE ? buf_puts(out, record->text)
					     : log_record_line(&entry, clock_unix_s(), out);
}

static int http_send(void *ctx, const struct log_record *record,
	const struct log_patience *patience, struct ota_err *err)
{
	static const char *const fields[] = {"Content-Type: text/plain; charset=utf-8", NULL};
	AUTO_BUF struct buf body = {0};
	struct log_http *h = ctx;
	struct sending s = {0};
	struct http_request request = {
		.url = h->target,
		.fields = fields,
		.max_bytes = ANSWER_MAX_BYTES,
		.tries_max = 1, /* the sender's patience counts */
		.total_timeout_ms = LOG_HTTP_TIMEOUT_MS,
		.sink.data = throw_away,
		.done = note_done,
		.done_ctx = &s,
	};
	int r = body_of(record, &body);

	if (r == 0)
		r = need_client(h, err);
	if (r < 0)
		return ota_err_wrap(err, r, "Cannot send to the log server");
	request.post = buf_str(&body);
	request.post_bytes = body.len_bytes;
	r = run(h, &request, patience, &s, err);
	if (r < 0)
		return r;
	if (s.result.status > 0) /* it has had the record, whatever it says about it */
		return 0;
	*err = s.result.err;
	return s.result.r;
}

struct log_way log_http_way(struct log_http *h)
{
	return (struct log_way){.name = h->name, .send = http_send, .ctx = h};
}
