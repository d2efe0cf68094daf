/*
 * tree: the ECUs below this one, as the API, the updater and the proxy need them.
 *
 * It reports what they report (tracker), hands requests on to them (fan_out), and says what they need of this ECU:
 * that it stays up, and that its proxy runs. docs/api.md, "ECUs below", is what a client sees of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/config/ecu_info.h"
#include "otaclient/api/service.h"
#include "otaclient/status/status.h"
#include "otaclient/tree/summary.h"

enum {
	TREE_WAIT_POLL_MS = 200,
	TREE_WAIT_LOG_MS = 30 * 1000,
};

/* Borrowed; must outlive the tree. */
struct tree_config {
	const struct ecu_info *ecu;
	struct status *status;
	uint32_t wait_limit_s; /* of tree_wait_for_children(); 0 = none */
	/*
	 * Before some ECU below is told to update, and after on_change() has said that it needs the network: what it
	 * will fetch comes through here. May be NULL.
	 */
	void (*before_update)(void *ctx, const struct wire_request *request);
	/* As tracker_config's: once at the start, and then at each change. May be NULL. */
	void (*on_change)(void *ctx, const struct summary *now);
	void *ctx;
};

/* Polling begins at once. An ECU without secondaries needs none of this, and may have it. 0 or -errno. */
struct tree;
int tree_new(const struct tree_config *config, struct tree **ret_tree, struct ota_err *err);

/* Nobody may be in one of its functions any more. */
void tree_free(struct tree *t);
void tree_freep(struct tree **t);
#define AUTO_TREE CLEANUP(tree_freep)

/* What the API takes; lives as long as the tree. */
const struct api_tree *tree_api(const struct tree *t);

/*
 * Until no ECU below is in an update, or wait_limit_s are over, which is then logged and remarked in the status; one
 * that has been silent for TREE_LOST_MS is not waited for. 0; 1 if the time is over; or -ECANCELED when @stop has said
 * so.
 */
int tree_wait_for_children(struct tree *t, bool (*stop)(void *ctx), void *ctx);
