/*
 * grub_inspect: what GRUB's controller can say of a machine before an update is tried (boot_inspect.h). Reads only.
 */
#pragma once

#include "boot-controllers/boot_inspect.h"

extern const struct boot_check grub_checks[];
