/*
 * cboot_inspect: what CBoot's controller can say of a machine before an update is tried (boot_inspect.h). Reads only;
 * that NVIDIA's tools answer, and agree with the disk, its opening has shown.
 */
#pragma once

#include "boot-controllers/boot_inspect.h"

extern const struct boot_check cboot_checks[];
