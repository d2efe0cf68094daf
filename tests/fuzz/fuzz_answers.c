/*
 * From the bytes of a call to the bytes of its answer: the first byte picks the method, the second what is below this
 * ECU, and a rest that is long enough is also what a child below has said. The answer must be one that can be read.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/api/answers.h"
#include "otaclient/api/wire_forecast.h"
#include "otaclient/tree/ecu_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A child that answers each request with the bytes of the request, and Status likewise. */
struct echo {
	const uint8_t *data;
	size_t size;
};

static int echo_forward(void *ctx, enum api_method m, const struct wire_request *request,
	struct wire_answer *answer)
{
	const struct echo *e = ctx;
	AUTO_WIRE_ANSWER struct wire_answer said = {0};
	int r = wire_answer_decode(m, e->data, e->size, &said, NULL);

	assert(request->request_id);
	for (size_t i = 0; r == 0 && i < said.n_ecus; i++)
		r = wire_answer_add(
			answer, said.ecus[i].ecu_id, said.ecus[i].result, said.ecus[i].message);
	return r == -ENOMEM ? r : 0;
}

/* Through the table that keeps what children report. */
static int echo_status(void *ctx, struct wire_status *status)
{
	static const char *const available[] = {"main", "p1", "p2"};
	static const char *const children[] = {"p1", "p2"};
	const struct ecu_table_config config = {
		{"main", available, 3},
                children, 2
        };
	const struct summary_ecu own = {.ecu_id = "main", .known = true, .reported_ms = 3};
	const struct echo *e = ctx;
	AUTO_ECU_TABLE struct ecu_table *t = ecu_table_new(&config);
	AUTO_WIRE_STATUS struct wire_status said = {0};
	struct summary now;
	char names[100];

	if (!t || wire_status_decode(e->data, e->size, &said, NULL) < 0)
		return 0;
	for (size_t child = 0; child < 2; child++) {
		ecu_table_store(t, child, &said, 1 + child);
		for (size_t i = 0; i < said.n_ecus; i++)
			ecu_table_accept(t, child, said.ecus[i].ecu_id, 2);
	}
	ecu_table_store(t, 0, &said, TREE_LOST_MS + 5);
	ecu_table_summary(t, &own, 3, &now);
	ecu_table_names_in_update(t, 3, names, sizeof(names));
	return ecu_table_export(t, 3, status);
}

static void echo_stop(void *ctx)
{
}

static int take_update(void *ctx, const struct update_request *request, struct ota_err *err)
{
	assert(request->version && request->url && request->cookies && request->request_id);
	return request->url[0] == 'b'
		       ? ota_err_set(err, -EBUSY, OTA_E_OTA_BUSY, "Busy: %s", request->url)
		       : 0;
}

static int take_forecast(void *ctx, const struct update_request *request,
	struct forecast_report *ret_report, struct ota_err *err)
{
	assert(request->request_id && request->request_id[0]);
	ret_report->ended = request->url[0] == 'e';
	return take_update(ctx, request, err);
}

/* A message that is no request has no answer. */
static int answer_message(const struct answerer *answerer, enum api_method m, const void *data,
	size_t len_bytes, struct buf *ret_bytes)
{
	AUTO_WIRE_REQUEST struct wire_request request = {0};
	int r;

	if (m == API_STATUS)
		return answer_status(answerer, ret_bytes, NULL);
	r = wire_request_decode(m, data, len_bytes, &request, NULL);
	assert(r < 0 || !answer_is_copy(answerer, m, &request)); /* nothing came before */
	if (r == 0 && m == API_FORECAST)
		return answer_forecast(answerer, &request, ret_bytes, NULL);
	return r == 0 ? answer_request(answerer, m, &request, ret_bytes, NULL) : r;
}

static void check_answer(enum api_method m, const struct buf *bytes)
{
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	AUTO_WIRE_STATUS struct wire_status status = {0};
	struct wire_forecast forecast;

	if (m == API_FORECAST)
		assert(wire_forecast_decode(buf_str(bytes), bytes->len_bytes, &forecast, NULL) ==
			0);
	else if (m == API_STATUS)
		assert(wire_status_decode(buf_str(bytes), bytes->len_bytes, &status, NULL) == 0 &&
			status.n_ecus > 0);
	else
		/* The echo may be longer than the fan-out would let through. */
		assert(bytes->len_bytes > WIRE_MESSAGE_MAX_BYTES / 2 ||
			wire_answer_decode(m, buf_str(bytes), bytes->len_bytes, &answer, NULL) !=
				-EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct request_handler handler = {
		.update = take_update, .forecast = take_forecast};
	static const char *const available[] = {"main", "p1", "p2", "main"};
	struct echo echo = {data + 2, size - 2};
	const struct api_tree tree = {echo_forward, echo_status, echo_stop, &echo};
	struct api_config config = {
		.ecu_id = "main", .available_ecu_ids = available, .n_available = 4};
	AUTO_BUF struct buf answer = {0};
	struct answerer answerer;
	struct status *status;
	enum api_method m;

	if (size < 2 || data[0] < '0' || data[0] >= '0' + API_METHOD_COUNT)
		return 0;
	m = (enum api_method)(data[0] - '0');
	config.tree = (data[1] & 1) ? &tree : NULL;
	config.ecu_info_loaded = (data[1] & 2) != 0;
	status = status_new();
	if (!status)
		return 0;
	log_set_level(LOG_LEVEL_ERROR);
	status_set_booted(status, STATUS_SUCCESS, "1", NULL);
	answerer = (struct answerer){
		.config = &config,
		.status = status,
		.handler = &handler,
		.recent = config.tree ? recent_requests_new() : NULL,
	};
	if (answer_message(&answerer, m, data + 2, size - 2, &answer) == 0)
		check_answer(m, &answer);
	recent_requests_free(answerer.recent);
	status_free(status);
	return 0;
}
