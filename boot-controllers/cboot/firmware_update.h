/*
 * firmware_update: new firmware for the boot loader's slot that goes with the standby, if the image asks for it.
 *
 * Looked for in /opt/ota/firmware of the new root file system. Everything is checked before the first change: the
 * board, the release, the payload's digest. Written by NVIDIA's nv_update_engine.
 */
#pragma once

#include "boot-controllers/cboot/cboot_ctl.h"

struct firmware_plan {
	bool wanted;
	char path[PATH_MAX]; /* of the payload in the new root file system */
};

/* What does the image at @root_fd ask for? An error if it asks for what cannot be done. */
int firmware_update_plan(const struct cboot_ctl *ctl, int root_fd, struct firmware_plan *ret_plan,
	struct ota_err *err);

/* Do it. The running slot boots next, whatever comes of it. */
int firmware_update_install(const struct cboot_ctl *ctl, const char *standby_root,
	const struct firmware_plan *plan, struct ota_err *err);
