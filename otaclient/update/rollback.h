/*
 * rollback: go back to the system on the standby slot, which is as the running one has left it.
 *
 * Allowed only while it is known to be whole: its mark, its file system's UUID and the time of its last
 * mount still agree, and the boot loader has all it needs for it (docs/formats.md, "complete").
 */
#pragma once

#include "otaclient/update/update_steps.h"

/* May the machine go back now? Looks only. 0, or an error with E202 that says why not. */
int rollback_check(const struct boot_ctl *boot, struct ota_err *err);

/* The steps, in the order of the table in update_plot.c. */

/* Have the standby device for us alone, so that nobody mounts it behind the next look. */
step_fn rollback_claim;
/* Once more, now that nothing can change it any more. */
step_fn rollback_check_again;
/* The loader falls back on the running slot, and reaches the other. */
step_fn rollback_keep;
/* What the first boot of either slot will read. */
step_fn rollback_write_status;
/* The one switch, and the restart. */
step_fn rollback_flip;
