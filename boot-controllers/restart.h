/*
 * restart: the machine's own restart, for boot loaders that need no words for it.
 */
#pragma once

#include "common/base/err.h"

/* Ask systemd, or else reboot(8), to restart the machine whose root is @root ("" = ours). */
int restart_machine(const char *root, const char *tools_path, struct ota_err *err);
