/*
 * request: one accepted or refused wish from the API, free of gRPC and protobuf.
 */
#pragma once

#include "common/base/err.h"
#include "otaclient/update/forecast.h"

/* All strings are valid UTF-8 without NUL, owned by the struct's holder. */
struct update_request {
	char *version;
	char *url;
	char *cookies; /* JSON object as text; "" = none */
	char *release_name, *release_id, *image_id;
	char *request_id;
};

/*
 * What the API calls to have something done. Return at once; the work goes on in the background.
 * The answer is 0, or -EBUSY (E201), -EINVAL (E308), … with the sentence that becomes "message". A
 * refused request has changed nothing.
 */
struct request_handler {
	int (*update)(void *ctx, const struct update_request *request, struct ota_err *err);
	int (*abort)(void *ctx, struct ota_err *err);
	int (*rollback)(void *ctx, struct ota_err *err);
	/* Begin a forecast, or say how far the last one is, if it has the same request_id, url and version. */
	int (*forecast)(void *ctx, const struct update_request *request,
		struct forecast_report *ret_report, struct ota_err *err);
	void *ctx;
};
