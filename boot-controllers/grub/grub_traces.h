/*
 * grub_traces: what GRUB has left of a trial: was it begun, and could the standby's files be loaded? Changes nothing.
 */
#pragma once

#include "boot-controllers/grub/grub_choice.h"

/* The trial in @choice is one of the standby, as it was flipped to: GRUB has not begun to count it. */
bool grub_trial_not_begun(const struct grub_ctl *ctl, const struct grub_choice *choice);

/* As boot_controller.h has it. */
void grub_traces(const struct boot_ctl *base, struct boot_traces *ret_traces);
