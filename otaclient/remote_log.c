/*
 * remote_log: the log's sink, the sender and its ways, put together. Contract: remote_log.h.
 */
#include "otaclient/remote_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/api/log_grpc.h"
#include "otaclient/log/log_http.h"
#include "otaclient/log/log_record.h"
#include "otaclient/log/log_sender.h"

enum {
	METRICS_WAIT_MS = 1000,
};

struct remote_log {
	struct log_http *http;
	struct log_grpc *grpc; /* NULL = HTTP only */
	struct log_sender *sender;
};

/* Under the log's lock, so only memory is touched. */
static void on_entry(void *ctx, const struct log_entry *entry)
{
	struct remote_log *l = ctx;
	AUTO_BUF struct buf line = {0};

	if (log_record_line(entry, clock_unix_s(), &line) == 0)
		log_sender_put(l->sender, LOG_KIND_LINE, buf_str(&line));
}

static void note(void *ctx, const char *sentence)
{
	log_info("%s", sentence);
}

static int tell_lost(void *ctx, uint64_t n, struct buf *out)
{
	char text[128];
	const struct log_entry entry = {
		.level = LOG_LEVEL_WARNING,
		.file = __FILE__,
		.function = __func__,
		.line = __LINE__,
		.text = text,
	};

	snprintf(text, sizeof(text),
		"%" PRIu64
		" records from before this were lost while they waited for the log server",
		n);
	return log_record_line(&entry, clock_unix_s(), out);
}

int remote_log_new(struct remote_log **ret_log, struct ota_err *err)
{
	const struct log_sender_config sender = {.note = note, .tell_lost = tell_lost};
	AUTO_REMOTE_LOG struct remote_log *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return ota_err_wrap(err, -ENOMEM, "Cannot send to the log server");
	r = log_sender_new(&sender, &l->sender, err);
	if (r < 0)
		return r;
	log_set_sink(on_entry, l);
	*ret_log = TAKE_PTR(l);
	return 0;
}

int remote_log_start(
	struct remote_log *l, const struct remote_log_config *config, struct ota_err *err)
{
	struct log_way ways[2];
	size_t n_ways = 0;
	int r = 0;

	if (config->server_grpc[0])
		r = log_grpc_new(
			config->server, config->server_grpc, config->ecu_id, &l->grpc, err);
	if (r == 0)
		r = log_http_new(config->server, config->ecu_id, config->tls_ca, &l->http, err);
	if (r < 0)
		return r;
	if (l->grpc)
		ways[n_ways++] = log_grpc_way(l->grpc);
	ways[n_ways++] = log_http_way(l->http);
	return log_sender_start(l->sender, ways, n_ways, err);
}

void remote_log_free(struct remote_log *l)
{
	if (!l)
		return;
	if (l->sender)
		log_set_sink(NULL, NULL);
	log_sender_free(l->sender);
	log_http_free(l->http);
	log_grpc_free(l->grpc);
	free(l);
}

void remote_log_freep(struct remote_log **l)
{
	remote_log_free(*l);
}

void remote_log_metrics(struct remote_log *l, const char *record)
{
	log_sender_put(l->sender, LOG_KIND_METRICS, record);
	log_sender_flush(l->sender, METRICS_WAIT_MS);
}
