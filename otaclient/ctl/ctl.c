/*
 * ctl: what every command of otactl says and does alike. Contract: ctl.h.
 */
#include "otaclient/ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int ctl_advise(int r, struct ota_err *err)
{
	const char *advice = NULL;
	size_t len = strlen(err->msg);

	if (r == -EAGAIN && strstr(err->msg, "not yet collected"))
		advice = "ask again in some seconds";
	else if (r == -EAGAIN || r == -ETIMEDOUT)
		advice = "is the ECU on, does otaclient run there, is --ecu right?";
	if (advice)
		snprintf(err->msg + len, sizeof(err->msg) - len, "; %s", advice);
	return r;
}

int ctl_finish_output(struct ota_err *err)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "Cannot write the answer");
}
