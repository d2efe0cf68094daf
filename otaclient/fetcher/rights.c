/*
 * rights: the steps of common/base/sandbox.h, for a process that opens nothing. Contract: rights.h.
 */
#include "otaclient/fetcher/rights.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/sandbox.h"
#include "otaclient/fetcher/fetcher.h"

/* Ours, or on a system that does not have it, nobody's. Started by somebody else than root, as we are. */
static int become_nobody(void)
{
	int r = geteuid() == 0 ? sandbox_drop_user(FETCHER_USER) : sandbox_drop_user(NULL);

	return r == -ENOENT ? sandbox_drop_user("65534:65534") : r;
}

int rights_give_up(struct ota_err *err)
{
	int r = become_nobody();

	if (r < 0)
		return ota_err_set(err, r, OTA_E_UNSPECIFIC,
			"The fetcher cannot become a user without rights: %s", strerror(-r));
	r = sandbox_restrict_paths(NULL, 0);
	if (r == -ENOSYS || r == -EOPNOTSUPP) /* the filter is enough */
		r = 0;
	if (r == 0)
		r = sandbox_restrict_opening();
	if (r == 0)
		r = sandbox_restrict_calls();
	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC,
			       "The fetcher cannot give up its rights: %s", strerror(-r))
		     : 0;
}
