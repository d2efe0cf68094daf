/*
 * wire_forecast: the answer to Forecast as a plain struct, and back to bytes. docs/api.md says what the fields mean.
 *
 * What is asked is an UpdateRequest (wire.h).
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"
#include "otaclient/update/forecast.h"

enum {
	/* With six actions and three strings it has some hundred bytes; unpacked it may be a hundred times as large. */
	WIRE_FORECAST_MAX_BYTES = 64 << 10,
	WIRE_FORECAST_ID_MAX = 256, /* with the NUL; what is longer is cut */
	WIRE_FORECAST_TEXT_MAX = 1024,
};

struct wire_forecast {
	char ecu_id[WIRE_FORECAST_ID_MAX];
	int result;                           /* enum api_result, or a newer peer's number */
	char message[WIRE_FORECAST_TEXT_MAX]; /* why not; or a remark */
	char request_id[WIRE_FORECAST_ID_MAX];
	struct forecast_report report; /* without remark; only what is told of the work */
};

/*
 * Bytes to struct: 0, -EBADMSG (no such message, or a string that is no text), -E2BIG or -ENOMEM. An action that is not
 * known is left out.
 */
int wire_forecast_decode(const void *data, size_t len_bytes, struct wire_forecast *ret_forecast,
	struct ota_err *err);

/* Struct to bytes, appended to @ret_bytes. 0 or -ENOMEM. Bytes that are no text become "?". */
int wire_forecast_encode(const struct wire_forecast *forecast, struct buf *ret_bytes);
