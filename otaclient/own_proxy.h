/*
 * own_proxy: the caching proxy that this ECU runs, for its own downloads and those of the ECUs below, if it is to run
 * one; and the way that its downloads take.
 *
 * It runs only while somebody needs it (proxy_wishes), and its cache is emptied once the vehicle is done.
 */
#pragma once

#include "common/config/conf_table.h"
#include "common/config/proxy_info.h"
#include "common/config/settings.h"
#include "otaclient/api/wire.h"
#include "otaclient/proxy/proxy_child.h"
#include "otaclient/proxy/proxy_wishes.h"
#include "otaclient/tree/summary.h"

struct own_proxy {
	struct proxy_child *child;   /* NULL = this ECU runs none */
	struct proxy_wishes *wishes; /* 〃 */
	const char *cache_dir;       /* the settings' */
	char url[CONF_URL_MAX];      /* for our downloads, this one or the upper one; "" = none */
};

/*
 * Decide on it. An ECU whose proxy cannot be run does without it, which is logged, and @info->enable_local_ota_proxy is
 * false then. @settings is borrowed for as long as @p is used.
 */
void own_proxy_choose(struct own_proxy *p, struct proxy_info *info, const struct settings *settings,
	const char *log_level);
void own_proxy_done(struct own_proxy *p);

/*
 * What the proxy keeps is of no use any more: the vehicle is done. To be said at every start, too, for the last
 * emptying may have been cut short.
 */
void own_proxy_finish(struct own_proxy *p);

/* The ECUs below may reach the servers that a request for them names. */
void own_proxy_allow(struct own_proxy *p, const struct wire_request *request);

/* The ECUs below are like this now. */
void own_proxy_follow(struct own_proxy *p, const struct summary *now);
