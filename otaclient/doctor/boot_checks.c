/*
 * boot_checks: does the boot loader's controller know this machine? What it has to say itself is in its own table
 * (boot_inspect.h).
 */
#include "otaclient/doctor/checks.h"

void check_controller(struct machine *m, struct finding *ret)
{
	if (machine_open_boot(m) < 0)
		finding_failure(ret,
			"Every update is refused until this is right; "
			"/usr/share/doc/otaclient/install.md says how the disk must be",
			"%s", m->boot_err.msg);
	else
		finding_ok(ret, "%s runs from %s, the other slot is %s on %s", m->slots.active.id,
			m->slots.active.device, m->slots.standby.id, m->slots.standby.device);
}
