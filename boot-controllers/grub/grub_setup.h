/*
 * grub_setup: make a machine's /boot ours at start: a fresh one, one of an older layout, one that someone changed.
 */
#pragma once

#include "boot-controllers/grub/grub_ctl.h"

/* @ret_reset: nothing is known of this machine, so its stored status means nothing. */
int grub_setup_run(const struct grub_ctl *ctl, bool *ret_reset, struct ota_err *err);

/* Write grub.cfg anew unless it is a whole one of ours. */
int grub_setup_frame(const struct grub_ctl *ctl, struct ota_err *err);
