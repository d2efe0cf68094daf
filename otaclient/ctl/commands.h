/*
 * commands: what otactl does for each of its commands.
 */
#pragma once

#include "otaclient/ctl/ctl.h"

enum {
	COMMANDS_SAID_WHY = 1, /* it failed, and what was printed says why */
};

/* The one that c->opt names: 0, COMMANDS_SAID_WHY, or negative with c->err. */
int commands_run(struct ctl *c);
