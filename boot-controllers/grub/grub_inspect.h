/*
 * grub_inspect: what GRUB's controller can say of a machine before an update is tried (boot_inspect.h). Reads only.
 */
#pragma once

#include "boot-controllers/boot_inspect.h"
#include "boot-controllers/grub/grub_ctl.h"

/* What stands in grub.cfg's place. */
enum grub_layout {
	GRUB_LAYOUT_OURS,
	GRUB_LAYOUT_OLD,     /* a link into a folder of the older layout */
	GRUB_LAYOUT_FOREIGN, /* anything else; @err says why if it is none of ours at all */
};

enum grub_layout grub_inspect_layout(const struct grub_ctl *ctl, struct ota_err *err);

extern const struct boot_check grub_checks[];
