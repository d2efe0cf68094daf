/*
 * grub_stage: what a new slot needs in /boot and in its root before GRUB may start it.
 */
#pragma once

#include "boot-controllers/grub/grub_ctl.h"

/*
 * Put it there, for the system in the standby root, which is mounted writable at @standby_root; published. The entry
 * has a name that GRUB does not read yet. -ENOENT with E304: the image has no kernel with an initrd.
 */
int grub_stage_run(struct grub_ctl *ctl, const char *standby_root, struct ota_err *err);
