/*
 * proxy_ready: ask a proxy until it answers. Contract: proxy_ready.h.
 *
 * In:  a URL, a time limit, what the caller knows of the proxy.
 * Out: an answer of any kind, or the sentence that says what the last one lacked.
 *
 * Elsewhere: the process behind our own proxy (proxy_child), what an update does without one (update_proxy).
 */
#include "otaclient/proxy/proxy_ready.h"

#include <errno.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/net/http.h"

enum {
	POLL_MS = 250,
	TRY_MS = 5000, /* a proxy that takes the connection and says nothing is asked again */
	BODY_MAX_BYTES = 64 * 1024,
};

struct answer {
	bool done;
	struct http_result result;
};

static void take_answer(void *ctx, const struct http_result *result)
{
	struct answer *a = ctx;

	a->result = *result;
	a->done = true;
}

static int drop_data(void *ctx, const void *data, size_t len_bytes, struct ota_err *err)
{
	return 0;
}

static int check_stop(const struct proxy_ready *p, struct ota_err *ret_why)
{
	if (!p->stop || !p->stop(p->stop_ctx))
		return 0;
	return ota_err_set(ret_why, -ECANCELED, OTA_E_OTAPROXY_FAILED,
		"%s is not waited for any more", p->name);
}

/*
 * 0: it has answered; -EAGAIN: not this time. After any other error the request may still be under way, and @client
 * must be freed.
 */
static int ask(const struct proxy_ready *p, struct http_client *client, uint64_t left_ms,
	struct ota_err *ret_why)
{
	struct answer answer = {0};
	const struct http_request request = {
		.url = p->url,
		.max_bytes = BODY_MAX_BYTES,
		.tries_max = 1,
		.total_timeout_ms =
			(uint32_t)MAX_OF(MIN_OF(left_ms, (uint64_t)TRY_MS), (uint64_t)1),
		.sink = {.data = drop_data},
		.done = take_answer,
		.done_ctx = &answer,
	};
	int r = http_client_add(client, &request, ret_why);

	while (r == 0 && !answer.done) {
		r = http_client_run(client, POLL_MS, ret_why);
		if (r == 0 && !answer.done)
			r = check_stop(p, ret_why);
	}
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		return ota_err_wrap(ret_why, r, "%s cannot be asked whether it serves", p->name);
	*ret_why = answer.result.err;
	return answer.result.status != 0 ? 0 : -EAGAIN;
}

static int ask_once(const struct proxy_ready *p, struct http_client *client, uint64_t left_ms,
	struct ota_err *ret_why)
{
	int r = check_stop(p, ret_why);

	if (r == 0 && p->check)
		r = p->check(p->check_ctx, false, ret_why);
	if (r == 0)
		r = ask(p, client, left_ms, ret_why);
	if (r == 0 && p->check)
		r = p->check(p->check_ctx, true, ret_why);
	return r;
}

static int not_ready_in_time(
	const struct proxy_ready *p, const struct ota_err *why, struct ota_err *err)
{
	bool whole = p->timeout_ms % 1000 == 0;

	return ota_err_set(err, -ETIMEDOUT, OTA_E_OTAPROXY_FAILED,
		"%s was not ready within %u %s: %.300s", p->name,
		whole ? p->timeout_ms / 1000 : p->timeout_ms, whole ? "s" : "ms", why->msg);
}

int proxy_ready_wait(const struct proxy_ready *p, struct ota_err *err)
{
	const struct http_config config = {.max_connections = 1};
	AUTO_HTTP_CLIENT struct http_client *client = NULL;
	uint64_t until = clock_monotonic_ms() + p->timeout_ms;
	int r = http_client_new(&config, &client, err);

	if (r < 0)
		return r;
	for (;;) {
		uint64_t now = clock_monotonic_ms();
		struct ota_err why = {0};

		r = ask_once(p, client, now < until ? until - now : 0, &why);
		if (r == 0)
			return 0;
		if (r != -EAGAIN)
			return ota_err_set(err, r, why.code, "%s", why.msg);
		/* A try without time would only hide what the last one has found. */
		if (clock_monotonic_ms() + POLL_MS >= until)
			return not_ready_in_time(p, &why, err);
		clock_sleep_ms(POLL_MS);
	}
}
