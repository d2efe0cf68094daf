/*
 * watch: look at a vehicle again and again, and show what it does: until interrupted, or until a request has ended.
 */
#pragma once

#include "otaclient/ctl/ctl.h"
#include "otaclient/ctl/follow.h"

/* Until interrupted. The first answer must come; later ones may be missing for a while. */
int watch_vehicle(struct ctl *c);

/* Until every ECU of @f has come to its end; then tell what has become of each. @before: the last status so far. */
int watch_until_end(struct ctl *c, struct follow *f, const struct wire_status *before);
