/*
 * proxy_wishes: who needs the proxy, and for which servers. There are two who do: the update of this ECU, and the ECUs
 * below, which fetch through here. Neither may take back what the other wants.
 *
 * All functions but new and free may be called from any thread.
 */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "otaclient/proxy/proxy_child.h"

enum proxy_wisher {
	PROXY_FOR_UPDATE,
	PROXY_FOR_CHILDREN,
	PROXY_WISHER_COUNT,
};

/* @child is borrowed and must outlive it. NULL: no memory. */
struct proxy_wishes;
struct proxy_wishes *proxy_wishes_new(struct proxy_child *child);
void proxy_wishes_free(struct proxy_wishes *w);
void proxy_wishes_freep(struct proxy_wishes **w);
#define AUTO_PROXY_WISHES CLEANUP(proxy_wishes_freep)

/*
 * @who needs the proxy from now on, for these servers (proxy_child_origins(); may be none) beside those that it has
 * named since it last dropped its wish. On an error of the list, which is proxy_child_origins()'s or -ENOMEM, the wish
 * stands all the same, for the servers that were known before.
 */
int proxy_wishes_add(struct proxy_wishes *w, enum proxy_wisher who, const char *const *origins,
	size_t n_origins, struct ota_err *err);

/* @who does not need it any more. May be repeated. */
void proxy_wishes_drop(struct proxy_wishes *w, enum proxy_wisher who);

/* The vehicle is done: proxy_child_finish(), unless somebody needs the proxy. */
void proxy_wishes_finish(struct proxy_wishes *w);
