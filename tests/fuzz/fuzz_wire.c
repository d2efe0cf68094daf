/*
 * Every message of the API that comes from outside: the first byte picks the kind. What was read is
 * written and must be readable again.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "otaclient/api/wire.h"
#include "otaclient/api/wire_forecast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_request(enum api_method m, const uint8_t *data, size_t size)
{
	AUTO_WIRE_REQUEST struct wire_request request = {0}, again = {0};
	AUTO_BUF struct buf bytes = {0};

	if (wire_request_decode(m, data, size, &request, NULL) < 0)
		return;
	assert(wire_request_encode(m, &request, &bytes) == 0);
	assert(wire_request_decode(m, bytes.data, bytes.len_bytes, &again, NULL) == 0);
	assert(again.n_ecus == request.n_ecus);
}

static void try_answer(enum api_method m, const uint8_t *data, size_t size)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0}, again = {0};
	AUTO_BUF struct buf bytes = {0};

	if (wire_answer_decode(m, data, size, &answer, NULL) < 0)
		return;
	assert(wire_answer_encode(m, &answer, &bytes) == 0);
	assert(wire_answer_decode(m, bytes.data, bytes.len_bytes, &again, NULL) == 0);
	assert(again.n_ecus == answer.n_ecus);
}

static void try_status(const uint8_t *data, size_t size)
{
	AUTO_WIRE_STATUS struct wire_status status = {0}, again = {0};
	AUTO_BUF struct buf bytes = {0};

	if (wire_status_decode(data, size, &status, NULL) < 0)
		return;
	assert(wire_status_encode(&status, &bytes) == 0);
	assert(wire_status_decode(bytes.data, bytes.len_bytes, &again, NULL) == 0);
	assert(again.n_ecus == status.n_ecus && again.n_available == status.n_available);
}

static void try_forecast(const uint8_t *data, size_t size)
{
	struct wire_forecast forecast, again;
	AUTO_BUF struct buf bytes = {0};

	if (wire_forecast_decode(data, size, &forecast, NULL) < 0)
		return;
	assert(wire_forecast_encode(&forecast, &bytes) == 0);
	assert(wire_forecast_decode(bytes.data, bytes.len_bytes, &again, NULL) == 0);
	assert(again.report.ended == forecast.report.ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum api_method methods[] = {
		API_UPDATE, API_ABORT, API_ROLLBACK, API_CLIENT_UPDATE};
	size_t kind;

	if (size < 1)
		return 0;
	kind = data[0] - (size_t)'0';
	if (kind == 9)
		try_forecast(data + 1, size - 1);
	else if (kind == 8)
		try_status(data + 1, size - 1);
	else if (kind < 4)
		try_request(methods[kind], data + 1, size - 1);
	else if (kind < 8)
		try_answer(methods[kind - 4], data + 1, size - 1);
	return 0;
}
