/*
 * scripted_machine: what stands behind the API in api_server and tree_server: a status that changes as it is told.
 *
 * A forecast has ended when it is asked for a second time, with 3 MiB to download; it is refused as an update is. Update is
 * accepted unless the URL is http://busy/ or http://invalid/; the machine then is UPDATING. Each request that
 * reaches it is printed. Orders:
 *
 *     boot STATUS VERSION         what booted
 *     phase NUMBER                the phase of the update
 *     progress DONE TOTAL BYTES   sizes processed, in all, and downloaded
 *     planned DOWNLOAD WRITE      what the plan comes to, at 1 and at 8 MiB/s
 *     fail CODE SENTENCE          FAILURE
 *     live NUMBER                 the live status
 */
#pragma once

#include <stdbool.h>

#include "otaclient/status/status.h"
#include "otaclient/update/request.h"

/* @ctx of each is the struct status. */
int scripted_update(void *ctx, const struct update_request *r, struct ota_err *err);
int scripted_abort(void *ctx, struct ota_err *err);
int scripted_rollback(void *ctx, struct ota_err *err);
int scripted_forecast(void *ctx, const struct update_request *r, struct forecast_report *ret_report,
	struct ota_err *err);

/* False: it is none of the above. */
bool scripted_obey(struct status *status, const char *order);

/*
 * Call @obey with each line of stdin, and print "done LINE" after it, in a thread, until stdin ends or
 * scripted_orders_stop() is called. It is not cancelled at the end: the address sanitizer cannot bear that. 0 or -errno.
 */
int scripted_orders_start(void (*obey)(const char *order));
void scripted_orders_stop(void);
