/*
 * update_proxy: which proxy the downloads of an update go through, and waiting until it serves.
 */
#pragma once

#include "common/base/err.h"
#include "otaclient/update/session.h"

/*
 * Before the first download. Our own proxy only spares the uplink: one that does not come up is done without, and
 * s->proxy becomes env's past_proxy. The one above this ECU may be the only way to the server, so without an answer of
 * it there is no update. Each is waited for up to PROXY_READY_MS. 0; -ECANCELED: session_poll() has said so; or with
 * E311 (or what proxy_ready_wait() could not do) why the upper one does not serve.
 */
int update_proxy_wait(struct update_session *s, struct ota_err *err);
