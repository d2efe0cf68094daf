/*
 * hop: judging where a redirect leads. Contract: hop.h.
 *
 * Pure but for is_self(). A request by http may be fetched by https, since clients ask a proxy that way; a redirect by
 * http means http.
 */
#include "otaproxy/hop.h"

#include <errno.h>
#include <string.h>

#include "common/net/http_url.h"
#include "otaproxy/authority.h"

static unsigned refuse(struct ota_err *err, unsigned status, const char *host, const char *why)
{
	ota_err_set(err, -EACCES, OTA_E_NETWORK, "The redirect to %.*s is not followed: %s",
		AUTHORITY_HOST_MAX / 2, host, why);
	return status;
}

static bool is_listed(const struct proxy_rules *rules, const struct authority *asked, bool https)
{
	const struct origins *list = rules->origins;

	for (unsigned i = 0; i < list->n; i++) {
		const struct origin *o = &list->list[i];

		/* How a server is really asked is for the upper proxy to know. */
		if (o->https && !https && !rules->has_upper)
			continue;
		if (origins_match(o, asked))
			return true;
	}
	return false;
}

unsigned hop_refuse(const struct proxy_rules *rules, const char *url, struct ota_err *err)
{
	bool https = http_url_is_https(url);
	const char *rest = strstr(url, "://") + 3;
	struct authority a;

	if (authority_parse(rest, strcspn(rest, "/?#"), &a) < 0)
		return refuse(err, 502, "another server", "it is not clear which one");
	authority_normalise(&a, https);
	if (rules->is_self && rules->is_self(rules->is_self_ctx, a.host, authority_port(&a, https)))
		return refuse(err, 508, a.host, "it leads in a loop, to this proxy");
	if (!rules->origins)
		return 0;
	if (!rules->origins->known)
		return refuse(err, 503, a.host, "which servers may be asked is not known yet");
	if (!is_listed(rules, &a, https))
		return refuse(err, 403, a.host, "it is none of the servers that may be asked here");
	return 0;
}
