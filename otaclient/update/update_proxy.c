/*
 * update_proxy: the local proxy, if there is one, and then the upper one. Contract: update_proxy.h.
 *
 * In:  what the daemon's configuration says of proxies (struct update_env).
 * Out: s->proxy, behind which somebody serves.
 *
 * Elsewhere: the local proxy's process (proxy_child), when it may end again (updater).
 */
#include "otaclient/update/update_proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/net/http_url.h"
#include "otaclient/proxy/proxy_ready.h"

static int ask_for_proxy(const struct update_session *s, struct ota_err *err)
{
	AUTO_FREE char *origin = http_url_origin(s->request->url);
	const char *const origins[] = {origin};

	return origin ? proxy_wishes_add(s->env->proxy_wishes, PROXY_FOR_UPDATE, origins, 1, err)
		      : -ENOMEM;
}

static int wait_for_local(struct update_session *s)
{
	struct ota_err err = {0};
	int r = ask_for_proxy(s, &err);

	if (r == 0)
		r = proxy_child_wait_ready(
			s->env->proxy_child, PROXY_READY_MS, session_poll, s, &err);
	if (r == 0 || r == -ECANCELED)
		return r;
	proxy_wishes_drop(s->env->proxy_wishes, PROXY_FOR_UPDATE);
	s->proxy = s->env->past_proxy;
	log_warning("Update %s: downloads go %s, since the local proxy does not serve: %s", s->id,
		s->proxy ? "through the upper proxy" : "straight to the server",
		err.errnum ? err.msg : strerror(-r));
	return 0;
}

/* Its ECU may be restarting, or not know yet that it is needed. */
static int wait_for_upper(struct update_session *s, const char *upper, struct ota_err *err)
{
	AUTO_FREE char *url = http_url_origin(upper); /* nothing of it is secret */
	char name[HTTP_URL_TEXT_MAX + 16], text[HTTP_URL_TEXT_MAX];
	const struct proxy_ready ready = {
		.name = name,
		.url = url,
		.timeout_ms = PROXY_READY_MS,
		.stop = session_poll,
		.stop_ctx = s,
	};

	if (!url)
		return -ENOMEM;
	snprintf(name, sizeof(name), "The proxy %s", http_url_text(url, text));
	log_info("Update %s: downloads begin once the proxy %s answers", s->id, text);
	return proxy_ready_wait(&ready, err);
}

int update_proxy_wait(struct update_session *s, struct ota_err *err)
{
	/* A local one that has an upper one keeps nothing, so it cannot serve before that does. */
	const char *upper = s->env->proxy_child ? s->env->past_proxy : s->env->proxy;
	int r = s->env->proxy_child ? wait_for_local(s) : 0;

	return r == 0 && upper ? wait_for_upper(s, upper, err) : r;
}
