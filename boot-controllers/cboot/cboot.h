/*
 * cboot: the boot controller for NVIDIA Jetson with CBoot, board support package before R34.
 *
 * CBoot cannot try a slot once. It counts: each start of a slot that nobody has called good takes one off the slot's
 * counter (NVIDIA's, 3 for root file systems as delivered), and at none it takes the other slot. So a new system that
 * does not come up is started that many times before the old one is back. Where one switch moves boot loader and root
 * file system (unified), the counter is the boot loader's, and the standby cannot be taken out of reach: CBoot takes
 * it if the running slot fails as often as its counter says.
 *
 * The status files are inside each root file system, in /boot/ota-status; docs/formats.md, "CBoot files".
 * Firmware that an image brings is written by NVIDIA's nv_update_engine (firmware_update.c); which it is and what for,
 * firmware_package.c reads.
 */
#pragma once

#include "boot-controllers/boot_controller.h"
#include "boot-controllers/cboot/cboot_disk.h"

extern const struct boot_controller_ops cboot_ops;

/* For tests: as cboot_ops.open(), with the partitions described and the tools' time limit given (0 = the default). */
int cboot_open_on_disk(struct boot_ctl **ret_ctl, const struct boot_env *env,
	const struct cboot_disk *disk, uint32_t tool_timeout_ms, struct ota_err *err);
