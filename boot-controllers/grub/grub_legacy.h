/*
 * grub_legacy: the layout of releases up to 3.13, which we come from and which an older client may go back to.
 *
 *     /boot/ota-partition            → ota-partition.sda<N of the slot that boots by itself>
 *     /boot/ota-partition.sda<N>/    kernel, initrd, grub.cfg, status files of the slot on partition N
 *     /boot/grub/grub.cfg            → ../ota-partition/grub.cfg
 *     /boot/vmlinuz-ota, initrd.img-ota, and both with ".standby": links into the folders
 */
#pragma once

#include "boot-controllers/grub/grub_ctl.h"

/* The slot that the older layout boots by itself; false if it does not say. */
bool grub_legacy_default(const struct grub_ctl *ctl, unsigned *ret_slot);

/*
 * Bring the running slot's status files into its new folder, and, while it runs as a trial, the kernel and the entry
 * of the slot to return to.
 */
int grub_legacy_take_over(const struct grub_ctl *ctl, struct ota_err *err);

/* Remove the layout's links at the top of /boot. */
int grub_legacy_remove_links(const struct grub_ctl *ctl, struct ota_err *err);

/* Give the running slot a folder of the older layout if it has none, so that an older client knows the machine. */
int grub_legacy_mirror(const struct grub_ctl *ctl, struct ota_err *err);

/* Before the standby is destroyed, and when it is staged. */
int grub_legacy_mark_failure(const struct grub_ctl *ctl, struct ota_err *err);
int grub_legacy_wipe(const struct grub_ctl *ctl, unsigned slot, struct ota_err *err);
