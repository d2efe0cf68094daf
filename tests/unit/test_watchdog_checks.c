/* watchdog_checks: a watchdog that is there, that systemd is told to use, and that runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/checked_machine.h"

#define SYS "sys/class/watchdog/watchdog0/"

static void begin(struct checked_machine *c)
{
	put(c, "dev/watchdog", "");
	put(c, SYS "identity", "i6300ESB timer\n");
	put(c, SYS "state", "active\n");
	put(c, SYS "timeout", "30\n");
	put(c, "run/systemd/system/", "");
}

static void a_machine_should_have_a_watchdog(void **state)
{
	struct checked_machine *c = *state;

	assert_warning(
		c, check_watchdog, "There is no /dev/watchdog: a system that hangs stays so");
	assert_not_looked(c, check_watchdog_use, "There is no watchdog");
	put(c, "dev/watchdog0", "");
	assert_ok(c, check_watchdog, "There is a watchdog");
	put(c, SYS "identity", "i6300ESB timer\n");
	assert_ok(c, check_watchdog, "There is a watchdog: i6300ESB timer");
	assert_not_looked(c, check_watchdog_use, "systemd does not run here");
}

static void systemd_should_use_it(void **state)
{
	struct checked_machine *c = *state;

	begin(c);
	assert_warning(c, check_watchdog_use, "systemd is not told to use the watchdog");
	put(c, "etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=off\n");
	assert_warning(
		c, check_watchdog_use, "told not to use the watchdog: RuntimeWatchdogSec is off");
	put(c, "etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=soon\n");
	assert_warning(c, check_watchdog_use, "RuntimeWatchdogSec is \"soon\", which is no time");
	put(c, "etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=default\n");
	assert_warning(c, check_watchdog_use, "systemd is not told to use the watchdog");
	put(c, "etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=30s\n");
	assert_ok(c, check_watchdog_use, "restarts a system that hangs for 30 s");
}

static void it_must_really_run(void **state)
{
	struct checked_machine *c = *state;

	begin(c);
	put(c, "usr/lib/systemd/system.conf.d/otaclient.conf",
		"[Manager]\nRuntimeWatchdogSec=1min\n");
	put(c, SYS "state", "inactive\n");
	assert_warning(
		c, check_watchdog_use, "RuntimeWatchdogSec is 1min, but the watchdog does not run");
	unlinkat(c->dir->fd, SYS "state", 0);
	assert_not_looked(c, check_watchdog_use, "but whether the watchdog runs cannot be seen");
}

static void drop_ins_count_by_name_and_folder(void **state)
{
	struct checked_machine *c = *state;

	begin(c);
	put(c, "etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=off\n");
	put(c, "usr/lib/systemd/system.conf.d/50-x.conf", "[Manager]\nRuntimeWatchdogSec=20\n");
	assert_ok(c, check_watchdog_use, "The watchdog runs");
	/* The same name in /etc takes its place. */
	put(c, "etc/systemd/system.conf.d/50-x.conf", "[Manager]\n");
	assert_warning(c, check_watchdog_use, "RuntimeWatchdogSec is off");
	/* A later name counts more, wherever it is; other endings do not count. */
	put(c, "lib/systemd/system.conf.d/60-y.conf", "[Manager]\nRuntimeWatchdogSec=10\n");
	put(c, "etc/systemd/system.conf.d/70-z.conf.bak", "[Manager]\nRuntimeWatchdogSec=off\n");
	assert_ok(c, check_watchdog_use, "The watchdog runs");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(a_machine_should_have_a_watchdog),
		checked_machine_test(systemd_should_use_it),
		checked_machine_test(it_must_really_run),
		checked_machine_test(drop_ins_count_by_name_and_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
