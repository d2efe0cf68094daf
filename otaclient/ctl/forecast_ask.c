/*
 * forecast_ask: have the asked ECU make a forecast, and wait for it. Contract: forecast_ask.h.
 *
 * It is a method of its own, so that an ECU which does not know it does nothing; a field of Update's request would be
 * skipped there, and the machine updated.
 */
#include "otaclient/ctl/forecast_ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "otaclient/ctl/figures.h"

enum {
	ID_BYTES = 8,
	ID_MAX = 32,
	FIRST_LOOK_MS = 100, /* most of it may be there already */
};

static void make_id(char ret_id[ID_MAX])
{
	uint8_t rnd[ID_BYTES];
	char hex[2 * ID_BYTES + 1];

	clock_random(rnd, sizeof(rnd));
	hex_encode(rnd, sizeof(rnd), hex);
	snprintf(ret_id, ID_MAX, "otactl-%s", hex);
}

static int check_asked(struct ctl *c, const struct wire_status *before)
{
	for (size_t i = 0; before->n_ecus > 0 && i < c->opt.n_ecu_ids; i++)
		if (strcmp(c->opt.ecu_ids[i], before->ecus[0].ecu_id) != 0)
			return ota_err_set(&c->err, -EINVAL, OTA_E_UNSPECIFIC,
				"A forecast is not handed on: %s is '%s'; ask '%s' itself, with "
				"--ecu",
				c->opt.address.host, before->ecus[0].ecu_id, c->opt.ecu_ids[i]);
	return 0;
}

static int ask_once(struct ctl *c, const struct wire_request *request, struct wire_forecast *ret)
{
	int r = peer_forecast(&c->opt.address, request, CTL_CALL_TIMEOUT_MS, ret, &c->err);

	if (r == -EOPNOTSUPP)
		return ota_err_set(&c->err, r, OTA_E_UNSPECIFIC,
			"The client of %s makes no forecasts, it is an older or another one; "
			"nothing was done",
			c->opt.address.host);
	if (r < 0)
		return ctl_advise(r, &c->err);
	if (ret->result != API_NO_FAILURE)
		return ota_err_set(&c->err, -EREMOTEIO, OTA_E_UNSPECIFIC, "No forecast from %s: %s",
			ret->ecu_id, ret->message[0] ? ret->message : "it gives no reason");
	return 0;
}

int forecast_ask(
	struct ctl *c, const struct wire_status *before, struct wire_forecast *ret_forecast)
{
	char id[ID_MAX];
	struct wire_request_ecu ecu = {
		.ecu_id = c->opt.ecu_ids[0],
		.update = {.version = c->opt.version, .url = c->opt.url, .cookies = c->opt.cookies},
	};
	struct wire_request request = {.ecus = &ecu, .n_ecus = 1, .request_id = id};
	int r = check_asked(c, before);

	make_id(id);
	for (uint64_t pause_ms = FIRST_LOOK_MS; r == 0; pause_ms = CTL_LOOK_MS) {
		r = ask_once(c, &request, ret_forecast);
		if (r < 0 || ret_forecast->report.ended)
			break;
		clock_sleep_ms(pause_ms);
	}
	return r;
}

int forecast_ask_limit(struct ctl *c, const struct wire_forecast *forecast)
{
	uint64_t bytes = forecast->report.forecast.work.download_bytes;
	char a[FIGURES_TEXT_MAX], b[FIGURES_TEXT_MAX];

	if (!c->opt.limited || bytes <= c->opt.max_download_bytes)
		return 0;
	return ota_err_set(&c->err, -EFBIG, OTA_E_UNSPECIFIC,
		"The update of %s would download up to %" PRIu64
		" bytes (%s), and --max-download allows %" PRIu64 " (%s); nothing was done",
		forecast->ecu_id, bytes, figures_size((double)bytes, a), c->opt.max_download_bytes,
		figures_size((double)c->opt.max_download_bytes, b));
}
