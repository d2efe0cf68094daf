/*
 * ctl: one run of otactl, for its commands: what they were told, how long they wait, and how they fail.
 */
#pragma once

#include "common/base/err.h"
#include "otaclient/ctl/options.h"

enum {
	CTL_CALL_TIMEOUT_MS =
		15 * 1000,              /* an ECU may ask its children first, which have 6 s each */
	CTL_LOOK_TIMEOUT_MS = 6 * 1000, /* Status is answered from memory */
	CTL_LOOK_MS = 1000,             /* between two looks */
};

struct ctl {
	struct options opt;
	struct ota_err err; /* the sentence to end with */
};

/* Put behind a sentence about an ECU that does not answer what can be done; returns @r. */
int ctl_advise(int r, struct ota_err *err);

/* What was printed may still be in memory, or failed to be written while more was printed. */
int ctl_finish_output(struct ota_err *err);
