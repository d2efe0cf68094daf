/*
 * update_plot: an update, a rollback or a forecast from its first step to its end.
 *
 * Start reading here for what they are: update_plot.c holds the tables of their steps.
 */
#pragma once

#include "otaclient/update/session.h"

/* What the live status is to say once nothing of the session is left. */
struct update_end {
	/* STATUS_NONE: it stays as it is, for the restart is on its way, or it was a forecast */
	enum ota_status live;
	struct ota_err err; /* what it failed of; errnum 0: it did not */
};

/* Tell the live status that it begins. */
void update_plot_begin(const struct update_session *s);

/*
 * All steps, in the caller's thread; and if they do not come to their end, what is written of it on the disk. The live
 * status says so only with update_plot_tell_end().
 */
void update_plot_run(struct update_session *s, struct update_end *ret_end);
void update_plot_tell_end(struct status *status, const struct update_end *end);

/* What the status says of one like this that has failed. */
enum ota_status update_plot_failed(const struct update_session *s);
