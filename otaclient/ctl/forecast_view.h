/*
 * forecast_view: what otactl prints of a forecast, for people and as JSON.
 */
#pragma once

#include <stdio.h>

#include "otaclient/api/wire_forecast.h"

void forecast_view(FILE *out, const struct wire_forecast *forecast);
void forecast_view_json(FILE *out, const struct wire_forecast *forecast);
