/*
 * restart: ask for the machine's restart. Contract: restart.h.
 */
#include "boot-controllers/restart.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "boot-controllers/tool_path.h"
#include "common/base/run.h"

int restart_machine(const char *root, const char *tools_path, struct ota_err *err)
{
	char mark[PATH_MAX], tool[PATH_MAX];
	const char *const by_systemd[] = {tool, "reboot", NULL}, *const plain[] = {tool, NULL};
	bool systemd;
	int r;

	snprintf(mark, sizeof(mark), "%.*s/run/systemd/system", PATH_MAX - 64, root);
	systemd = access(mark, F_OK) == 0;
	tool_path_find(tools_path, systemd ? "systemctl" : "reboot",
		systemd ? "systemctl" : "reboot", tool);
	r = run_tool(&(struct run_args){.argv = systemd ? by_systemd : plain}, err);
	/* The restart that it has asked for ends all programs, itself among them. */
	if (r == -EINTR) {
		if (err)
			*err = (struct ota_err){0};
		return 0;
	}
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_POSTUPDATE);
	return r < 0 ? ota_err_wrap(err, r, "Cannot restart the machine") : 0;
}
