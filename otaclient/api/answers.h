/*
 * answers: what each method of the API answers. No gRPC here: structs in, bytes out.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "otaclient/api/recent_requests.h"
#include "otaclient/api/service.h"

/* Who answers. All is borrowed. */
struct answerer {
	const struct api_config *config;
	struct status *status;
	const struct request_handler *handler;
	struct recent_requests *recent; /* NULL: there is nobody to hand a request on to */
	const atomic_bool *ending;      /* true: this ECU takes nothing any more; NULL = never */
};

/*
 * -EAGAIN before the boot controller has started, unless this ECU speaks only for others; -ENOMEM.
 */
int answer_status(const struct answerer *a, struct buf *ret_bytes, struct ota_err *err);

/*
 * Is this a copy of a request that is being handed on, or was a short while ago? It is neither done nor handed on
 * again; answer_request() answers it without waiting for anybody, which it must not do behind the first.
 */
bool answer_is_copy(
	const struct answerer *a, enum api_method m, const struct wire_request *request);

/* Forecast. @request gets an id if it has none; what is refused is said in the answer. -ENOMEM. */
int answer_forecast(const struct answerer *a, struct wire_request *request, struct buf *ret_bytes,
	struct ota_err *err);

/*
 * All methods but Status and Forecast. @request gets an id if it has none. What an ECU refuses is an entry of the
 * answer. -ENOMEM.
 */
int answer_request(const struct answerer *a, enum api_method m, struct wire_request *request,
	struct buf *ret_bytes, struct ota_err *err);
