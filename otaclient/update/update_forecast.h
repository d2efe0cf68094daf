/*
 * update_forecast: the forecast of the plan that a session has: for the status, the log, and the limit of
 * otaclient.yaml.
 */
#pragma once

#include "otaclient/update/session.h"

/* Make it anew from the plan, and put it into the live status. Whenever the plan has changed. */
void update_forecast_publish(struct update_session *s);

/* Behind the plan: say it in the log; 0, or -EFBIG with E210: it is more than env allows. */
int update_forecast_tell(struct update_session *s, struct ota_err *err);
