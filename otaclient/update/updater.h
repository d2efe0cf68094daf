/*
 * updater: run one update or rollback at a time, in a thread of its own.
 *
 * What they are: update_plot.h.
 */
#pragma once

#include "otaclient/update/request.h"
#include "otaclient/update/session.h"

struct updater;

/*
 * @cooldown_s: a further request this soon after an accepted one is refused; agents repeat
 * themselves. Returns NULL when memory is short. @env must outlive it.
 */
struct updater *updater_new(const struct update_env *env, uint32_t cooldown_s);

/* Waits for a running update or rollback to reach its next stopping place. */
void updater_free(struct updater *u);

/*
 * Accept or refuse a request. 0: the session runs from now on in the background; every later
 * problem shows in the status. A forecast that is being made ends, and whoever asks for it is told why; the update
 * begins once nothing of it is left. A refused request has changed nothing: -EBUSY (E201), -EINVAL (E308).
 */
int updater_request(struct updater *u, const struct update_request *request, struct ota_err *err);

/*
 * Go back to the system on the other slot. 0: it runs from now on in the background and ends with a restart. Refused,
 * with nothing changed: -EBUSY (E201), or E202 if the other slot is not known to be whole.
 */
int updater_rollback(struct updater *u, struct ota_err *err);

/*
 * Begin a forecast of what an update would do, which runs in the background and changes nothing; or, if @request has
 * the request_id, url and version of the one that was begun last, say how far it is. 0, or why it was refused (-EBUSY,
 * E201; -EINVAL, E308) or has failed.
 */
int updater_forecast(struct updater *u, const struct update_request *request,
	struct forecast_report *ret_report, struct ota_err *err);

/*
 * Stop the running update. 0: it will be, or is already, being stopped; else it cannot be, and goes on, or there is
 * none. @ret_answer->msg is the sentence of the answer either way (docs/api.md).
 */
int updater_abort(struct updater *u, struct ota_err *ret_answer);

/* Run one update, or rollback, to its end in the caller's thread: for tests, and what the thread does. */
int updater_run(const struct update_env *env, struct update_session *s, struct ota_err *err);
