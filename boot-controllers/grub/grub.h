/*
 * grub: the boot controller for GRUB 2 with one shared /boot and one menu entry per slot.
 *
 * GRUB can try a slot once: it clears next_entry in the environment block before it boots that entry, so the boot
 * after it is saved_entry's again. The files are described in docs/formats.md, "GRUB files".
 */
#pragma once

#include "boot-controllers/boot_controller.h"
#include "boot-controllers/grub/grub_disk.h"

extern const struct boot_controller_ops grub_ops;

/* For tests: as grub_ops.open(), with the partitions described in place of looked for. */
int grub_open_on_disk(struct boot_ctl **ret_ctl, const struct boot_env *env,
	const struct grub_disk *disk, struct ota_err *err);
