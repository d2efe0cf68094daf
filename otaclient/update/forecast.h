/*
 * forecast: what an update would do, in figures: bytes to receive and to write, and about how long it would take.
 *
 * Pure. It is made of the plan; estimate has the times.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/image/file_table.h"
#include "common/image/patch_list.h"
#include "otaclient/inventory/plan.h"
#include "otaclient/status/estimate.h"
#include "otaclient/status/status.h"

struct forecast_action {
	uint64_t contents, files, bytes; /* files and bytes count every name */
	uint64_t download_bytes;         /* of contents, each once */
};

struct forecast {
	struct forecast_action actions[PLAN_ACTIONS];
	struct workload work;
	uint64_t n_unsized; /* to fetch, of a size that the list does not give: counts as 0 */
	uint64_t download_s, whole_s; /* about; ESTIMATE_UNKNOWN = not known */
	bool rebuild;                 /* the standby slot is made anew */
};

/* What whoever has asked for one is told. */
struct forecast_report {
	bool ended;              /* else it is still being made */
	enum update_phase phase; /* so far */
	struct forecast forecast;
	char remark[OTA_ERR_MSG_MAX]; /* a sentence on it; "" = none */
};

/* "keep", "move", … */
const char *forecast_action_name(enum plan_action a);

/*
 * What the plan leaves to be done. A patch counts with its size, a whole content with its plain one, for the lists do
 * not say how large a blob is: what is received in the end may be less. @patches: NULL = none.
 */
void forecast_make(const struct plan *plan, const struct file_table *table,
	const struct patch_list *patches, const struct sample *net, const struct sample *disk,
	struct forecast *ret_forecast);

/* Is it within @max_bytes (0 = any)? 0, or -EFBIG with E210. */
int forecast_check(const struct forecast *f, uint64_t max_bytes, struct ota_err *err);
