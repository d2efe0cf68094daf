/*
 * wire_forecast: the answer to Forecast, and back to bytes. Contract: wire_forecast.h.
 *
 * It reads a copy of proto/otaclient_v2.proto in which strings are bytes, as wire.c does. The message is small, so
 * what it may unpack to is bounded by its own size.
 */
#include "otaclient/api/wire_forecast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaclient/status/text.h"
#include "otaclient_v2.pb-c.h"

typedef OtaClientV2__ForecastResponse pb_forecast;
typedef OtaClientV2__ForecastAction pb_action;

/* Protobuf says the same of a message that is none and of memory that is short. */
struct memory {
	bool short_of;
};

static void *memory_alloc(void *ctx, size_t size_bytes)
{
	struct memory *m = ctx;
	void *p = malloc(size_bytes);

	m->short_of = m->short_of || !p;
	return p;
}

static void memory_free(void *ctx, void *p)
{
	free(p);
}

static void pb_forecast_freep(pb_forecast **m)
{
	if (*m)
		ota_client_v2__forecast_response__free_unpacked(*m, NULL);
}

/* 0 = not known, so what takes no time at all takes a second. */
static uint64_t put_seconds(uint64_t s)
{
	return s == ESTIMATE_UNKNOWN ? 0 : MAX_OF(s, (uint64_t)1);
}

static uint64_t take_seconds(uint64_t s)
{
	return s == 0 ? ESTIMATE_UNKNOWN : s;
}

static int take_text(const ProtobufCBinaryData *bytes, const char *name, char *ret_text,
	size_t size_bytes, struct ota_err *err)
{
	AUTO_FREE char *text = NULL;
	const char *s = bytes->len ? (const char *)bytes->data : "";

	if (!text_is_clean(s, bytes->len))
		return ota_err_set(
			err, -EBADMSG, OTA_E_INVALID_REQUEST, "%s of a forecast is no text", name);
	text = malloc(bytes->len + 1);
	if (!text)
		return ota_err_no_memory(err, "a message of the API");
	memcpy(text, s, bytes->len);
	text[bytes->len] = '\0';
	text_put(ret_text, size_bytes, text);
	return 0;
}

static bool find_action(const ProtobufCBinaryData *name, enum plan_action *ret_action)
{
	for (int a = 0; a < PLAN_ACTIONS; a++) {
		const char *known = forecast_action_name((enum plan_action)a);

		if (name->len != strlen(known) || memcmp(name->data, known, name->len) != 0)
			continue;
		*ret_action = (enum plan_action)a;
		return true;
	}
	return false;
}

static void take_figures(const pb_forecast *m, struct forecast_report *r)
{
	struct forecast *f = &r->forecast;
	enum plan_action a;

	r->ended = m->ended;
	r->phase = (enum update_phase)m->phase;
	f->work.download_bytes = m->download_bytes;
	f->work.write_bytes = m->write_bytes;
	f->download_s = take_seconds(m->download_seconds);
	f->whole_s = take_seconds(m->whole_seconds);
	f->rebuild = m->rebuild;
	for (size_t i = 0; i < m->n_action; i++)
		if (find_action(&m->action[i]->action, &a))
			f->actions[a] = (struct forecast_action){
				.contents = m->action[i]->contents,
				.files = m->action[i]->files,
				.bytes = m->action[i]->bytes,
				.download_bytes = m->action[i]->download_bytes,
			};
}

int wire_forecast_decode(
	const void *data, size_t len_bytes, struct wire_forecast *ret_forecast, struct ota_err *err)
{
	CLEANUP(pb_forecast_freep) pb_forecast *m = NULL;
	struct memory memory = {0};
	ProtobufCAllocator allocator = {memory_alloc, memory_free, &memory};
	struct wire_forecast f = {0};
	int r;

	if (len_bytes > WIRE_FORECAST_MAX_BYTES)
		return ota_err_set(err, -E2BIG, OTA_E_INVALID_REQUEST,
			"The message is too large for a ForecastResponse");
	m = ota_client_v2__forecast_response__unpack(&allocator, len_bytes, data);
	if (!m && memory.short_of)
		return ota_err_no_memory(err, "a message of the API");
	if (!m)
		return ota_err_set(
			err, -EBADMSG, OTA_E_INVALID_REQUEST, "The message is no ForecastResponse");
	r = take_text(&m->ecu_id, "ecu_id", f.ecu_id, sizeof(f.ecu_id), err);
	if (r == 0)
		r = take_text(&m->message, "message", f.message, sizeof(f.message), err);
	if (r == 0)
		r = take_text(
			&m->request_id, "request_id", f.request_id, sizeof(f.request_id), err);
	if (r < 0)
		return r;
	f.result = (int)m->result;
	take_figures(m, &f.report);
	*ret_forecast = f;
	return 0;
}

static void put_text(const char *text, ProtobufCBinaryData *to)
{
	to->data = (uint8_t *)(uintptr_t)text;
	to->len = strlen(text);
}

static void put_action(enum plan_action a, const struct forecast_action *from, pb_action *to)
{
	ota_client_v2__forecast_action__init(to);
	put_text(forecast_action_name(a), &to->action);
	to->contents = from->contents;
	to->files = from->files;
	to->bytes = from->bytes;
	to->download_bytes = from->download_bytes;
}

static int pack(const pb_forecast *m, struct buf *ret_bytes)
{
	size_t size = ota_client_v2__forecast_response__get_packed_size(m);
	AUTO_FREE uint8_t *bytes = malloc(size + 1);

	if (!bytes)
		return -ENOMEM;
	ota_client_v2__forecast_response__pack(m, bytes);
	return buf_append(ret_bytes, bytes, size);
}

/* Figures there are only once it has ended. */
int wire_forecast_encode(const struct wire_forecast *from, struct buf *ret_bytes)
{
	struct wire_forecast f = *from;
	const struct forecast *fc = &f.report.forecast;
	pb_forecast m = OTA_CLIENT_V2__FORECAST_RESPONSE__INIT;
	pb_action actions[PLAN_ACTIONS], *pointers[PLAN_ACTIONS];

	text_repair(f.ecu_id);
	text_repair(f.message);
	text_repair(f.request_id);
	put_text(f.ecu_id, &m.ecu_id);
	put_text(f.message, &m.message);
	put_text(f.request_id, &m.request_id);
	m.result = (OtaClientV2__FailureType)f.result;
	m.ended = f.report.ended;
	m.phase = (OtaClientV2__UpdatePhase)f.report.phase;
	if (!f.report.ended)
		return pack(&m, ret_bytes);
	m.download_bytes = fc->work.download_bytes;
	m.write_bytes = fc->work.write_bytes;
	m.download_seconds = put_seconds(fc->download_s);
	m.whole_seconds = put_seconds(fc->whole_s);
	m.rebuild = fc->rebuild;
	for (int a = 0; a < PLAN_ACTIONS; a++) {
		put_action((enum plan_action)a, &fc->actions[a], &actions[a]);
		pointers[a] = &actions[a];
	}
	m.n_action = PLAN_ACTIONS;
	m.action = pointers;
	return pack(&m, ret_bytes);
}
