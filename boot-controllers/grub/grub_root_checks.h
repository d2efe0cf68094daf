/*
 * grub_root_checks: what of the running system's own files would make a start or an update fail: GRUB's hook, defaults
 * and tools, and how /boot is mounted. Rows of grub_inspect's table; reads only.
 */
#pragma once

#include "boot-controllers/boot_inspect.h"

void grub_root_check_hook(const struct boot_ctl *base, struct finding *ret);
void grub_root_check_defaults(const struct boot_ctl *base, struct finding *ret);
void grub_root_check_mkconfig(const struct boot_ctl *base, struct finding *ret);
void grub_root_check_fstab(const struct boot_ctl *base, struct finding *ret);
