/*
 * watchdog_checks: does a system that hangs come back by itself? A trial that hangs before it has committed is left by
 * the next start, but somebody has to bring that about.
 */
#include <string.h>

#include "otaclient/doctor/checks.h"
#include "otaclient/doctor/layered_conf.h"
#include "otaclient/doctor/system_conf.h"

enum {
	VALUE_MAX = 64,
};

/* Where systemd looks, the most important first. */
static const char *const conf_folders[] = {"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd",
	"/usr/lib/systemd", "/lib/systemd", NULL};

static bool has_device(const struct machine *m, char *ret_identity, size_t size)
{
	struct stat st;

	machine_read_line(m, "/sys/class/watchdog/watchdog0/identity", ret_identity, size);
	return machine_stat(m, "/dev/watchdog", &st) == 0 ||
	       machine_stat(m, "/dev/watchdog0", &st) == 0;
}

void check_watchdog(struct machine *m, struct finding *ret)
{
	char identity[VALUE_MAX];

	if (!has_device(m, identity, sizeof(identity)))
		finding_warning(ret, "Load the driver of the board's watchdog, or at least softdog",
			"There is no /dev/watchdog: a system that hangs stays so");
	else
		finding_ok(ret, "There is a watchdog%s%s", identity[0] ? ": " : "", identity);
}

/* --- what systemd is told to do with it --- */

static void judge_armed(const struct machine *m, const char *value, struct finding *ret)
{
	char state[VALUE_MAX], timeout[VALUE_MAX];

	machine_read_line(m, "/sys/class/watchdog/watchdog0/state", state, sizeof(state));
	machine_read_line(m, "/sys/class/watchdog/watchdog0/timeout", timeout, sizeof(timeout));
	if (!state[0])
		finding_not_looked(ret,
			"RuntimeWatchdogSec is %s, but whether the watchdog runs cannot be seen",
			value);
	else if (strcmp(state, "active") != 0)
		finding_warning(ret, "systemctl daemon-reexec, or restart the machine",
			"RuntimeWatchdogSec is %s, but the watchdog does not run", value);
	else
		finding_ok(ret, "The watchdog runs, and restarts a system that hangs for %s s",
			timeout);
}

void check_watchdog_use(struct machine *m, struct finding *ret)
{
	static const char advice[] = "Put RuntimeWatchdogSec=60 below [Manager] of "
				     "/etc/systemd/system.conf.d/otaclient-watchdog.conf";
	char value[VALUE_MAX], identity[VALUE_MAX];
	struct stat st;
	uint64_t ms;

	if (!has_device(m, identity, sizeof(identity)))
		finding_not_looked(ret, "There is no watchdog");
	else if (machine_stat(m, "/run/systemd/system", &st) < 0)
		finding_not_looked(ret, "systemd does not run here");
	else if (layered_conf_find(m, conf_folders, "system.conf", "Manager", "RuntimeWatchdogSec",
			 value, sizeof(value)) < 0)
		finding_not_looked(ret, "Out of memory");
	else if (!value[0] || strcmp(value, "default") == 0)
		finding_warning(ret, advice, "systemd is not told to use the watchdog");
	else if (system_conf_time(value, &ms) < 0)
		finding_warning(
			ret, advice, "RuntimeWatchdogSec is \"%s\", which is no time", value);
	else if (ms == 0 || ms == UINT64_MAX)
		finding_warning(ret, advice,
			"systemd is told not to use the watchdog: "
			"RuntimeWatchdogSec is %s",
			value);
	else
		judge_armed(m, value, ret);
}
