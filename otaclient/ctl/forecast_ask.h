/*
 * forecast_ask: have the asked ECU make a forecast of an update, and wait for it.
 */
#pragma once

#include "otaclient/api/wire_forecast.h"
#include "otaclient/ctl/ctl.h"

/*
 * For the one ECU that c->opt names. @before: the status of the asked ECU, which must be that one, for a forecast is
 * not handed on. 0, or negative with c->err; nothing is begun then.
 */
int forecast_ask(
	struct ctl *c, const struct wire_status *before, struct wire_forecast *ret_forecast);

/* Is it within --max-download? 0, or -EFBIG with c->err. */
int forecast_ask_limit(struct ctl *c, const struct wire_forecast *forecast);
