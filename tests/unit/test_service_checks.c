/* service_checks: tools, the proxy's program, the unit, and who runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "tests/unit/checked_machine.h"

static void put_program(struct checked_machine *c, const char *path)
{
	put(c, path, "");
	assert_int_equal(fchmodat(c->dir->fd, path, 0755, 0), 0);
}

static void put_link(struct checked_machine *c, const char *path, const char *target)
{
	make_folders(c, path);
	unlinkat(c->dir->fd, path, 0);
	assert_int_equal(symlinkat(target, c->dir->fd, path), 0);
}

static void tools_must_be_there(void **state)
{
	struct checked_machine *c = *state;

	assert_failure(c, check_tools,
		"There is no mkfs.ext4, which is needed to make the other slot's file system");
	assert_string_equal(c->f.advice, "Install e2fsprogs");
	assert_int_equal(c->f.n_more, 2);
	put_program(c, "usr/sbin/mkfs.ext4");
	put(c, "sbin/e2fsck", "");
	assert_failure(
		c, check_tools, "There is no e2fsck, which is needed to check the other slot");
	put_program(c, "sbin/e2fsck");
	assert_failure(c, check_tools, "There is no systemctl and no reboot");
	put_program(c, "usr/bin/systemctl");
	assert_ok(c, check_tools, "are there");
}

static void the_proxy_must_be_there_if_it_is_wanted(void **state)
{
	struct checked_machine *c = *state;

	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: false\n");
	assert_ok(c, check_proxy_program, "This ECU runs no proxy");
	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: true\n");
	put(c, "etc/otaclient/otaclient.yaml", "proxy_user: '1:1'\n");
	assert_warning(c, check_proxy_program, "/usr/bin/otaproxy is no program that can be run");
	put_program(c, "usr/bin/otaproxy");
	assert_ok(c, check_proxy_program, "/usr/bin/otaproxy can be run");
	put(c, "etc/otaclient/otaclient.yaml", "proxy_user: nobody-of-that-name\n");
	assert_warning(c, check_proxy_program, "There is no user nobody-of-that-name");
}

#define UNIT  "lib/systemd/system/otaclient.service"
#define WANTS "etc/systemd/system/multi-user.target.wants/otaclient.service"

static void the_unit_must_be_ours_and_enabled(void **state)
{
	struct checked_machine *c = *state;

	assert_not_looked(c, check_unit, "This is no machine with systemd");
	put_program(c, "lib/systemd/systemd");
	assert_failure(c, check_unit, "There is no otaclient.service");
	put(c, UNIT, "[Service]\nExecStart=/usr/bin/otaclient\n");
	assert_failure(c, check_unit, "starts /usr/bin/otaclient, which is no program");
	put_program(c, "usr/bin/otaclient");
	assert_failure(c, check_unit, "otaclient.service is not enabled");
	put_link(c, WANTS, "/" UNIT);
	assert_ok(c, check_unit, "/lib/systemd/system/otaclient.service is enabled");
	put(c, UNIT, "[Service]\nExecStart=-/usr/bin/otaclient --log-level debug\n");
	assert_ok(c, check_unit, "/lib/systemd/system/otaclient.service is enabled");
}

static void downloads_need_their_program(void **state)
{
	struct checked_machine *c = *state;

	assert_failure(c, check_fetcher, "There is no program /usr/libexec/otaclient-fetcher");
	put_program(c, "usr/libexec/otaclient-fetcher");
	assert_ok(c, check_fetcher, "/usr/libexec/otaclient-fetcher is there");
}

static void somebody_should_guard_the_commit(void **state)
{
	struct checked_machine *c = *state;

	assert_not_looked(c, check_guard, "This is no machine with systemd");
	put_program(c, "lib/systemd/systemd");
	assert_warning(c, check_guard, "otaclient-commit-guard.timer is not enabled");
	put_link(c, "etc/systemd/system/sysinit.target.wants/otaclient-commit-guard.timer", "x");
	assert_ok(c, check_guard, "A new system that is not committed in time is restarted");
}

static void the_guard_should_wait_for_the_health_checks(void **state)
{
	struct checked_machine *c = *state;

	put_program(c, "lib/systemd/systemd");
	put_link(c, "etc/systemd/system/sysinit.target.wants/otaclient-commit-guard.timer", "x");
	put(c, "lib/systemd/system/otaclient-commit-guard.timer", "[Timer]\nOnBootSec=20min\n");
	assert_ok(c, check_guard, "A new system that is not committed in time is restarted");
	put(c, "etc/systemd/system/otaclient-commit-guard.timer.d/time.conf",
		"[Timer]\nOnBootSec=\nOnBootSec=5min\n");
	assert_warning(c, check_guard,
		"otaclient-commit-guard.timer restarts a new system 5min after its start, but it "
		"may "
		"take 300 s until it is healthy");
	put(c, "etc/otaclient/otaclient.yaml", "health_timeout_s: 120\n");
	assert_ok(c, check_guard, "A new system that is not committed in time is restarted");
	put(c, "etc/otaclient/otaclient.yaml", "health_check: false\n");
	assert_ok(c, check_guard, "A new system that is not committed in time is restarted");
	put(c, "etc/otaclient/otaclient.yaml", "");
	put(c, "etc/systemd/system/otaclient-commit-guard.timer.d/time.conf",
		"[Timer]\nOnBootSec=soon\n");
	assert_ok(c, check_guard, "A new system that is not committed in time is restarted");
}

static void what_a_system_is_judged_by_must_be_there(void **state)
{
	struct checked_machine *c = *state;

	assert_not_looked(c, check_health_units, "This is no machine with systemd");
	put_program(c, "lib/systemd/systemd");
	assert_failure(c, check_health_units, "There is no unit multi-user.target here");
	put(c, "lib/systemd/system/multi-user.target", "");
	assert_ok(c, check_health_units, "The units that a new system is judged by are there");
	put(c, "etc/otaclient/otaclient.yaml",
		"health_units: a.service  b.service getty@tty1.service\n");
	assert_failure(c, check_health_units, "There is no unit a.service here");
	assert_int_equal(c->f.n_more, 1);
	put(c, "etc/systemd/system/a.service", "");
	put(c, "usr/lib/systemd/system/b.service", "");
	assert_ok(c, check_health_units, "The units that a new system is judged by are there");
	put_link(c, "etc/systemd/system/b.service", "/dev/null");
	assert_failure(c, check_health_units, "b.service is masked here");
	/* What systemd makes from /etc/fstab, and without any file. */
	put(c, "run/systemd/generator/data.mount", "");
	put(c, "etc/otaclient/otaclient.yaml",
		"health_units: data.mount dev-sda1.device user.slice\n");
	assert_ok(c, check_health_units, "The units that a new system is judged by are there");
	put(c, "etc/otaclient/otaclient.yaml", "health_units: sshd\n");
	assert_failure(
		c, check_health_units, "\"sshd\" is no name of a unit, such as sshd.service");
	put(c, "etc/otaclient/otaclient.yaml", "health_units: a.service,data.mount\n");
	assert_failure(c, check_health_units,
		"\"a.service,data.mount\" is no name of a unit, such as sshd.service; there are "
		"spaces "
		"between names");
	put(c, "etc/otaclient/otaclient.yaml", "health_units: ../a.service\n");
	assert_failure(c, check_health_units, "\"../a.service\" is no name of a unit");
	put(c, "etc/otaclient/otaclient.yaml", "health_check: false\n");
	assert_warning(c, check_health_units, "A new system is committed as soon as");
}

static void a_unit_of_another_client_goes_before_ours(void **state)
{
	struct checked_machine *c = *state;

	put_program(c, "usr/lib/systemd/systemd");
	put_program(c, "usr/bin/otaclient");
	put(c, UNIT, "[Service]\nExecStart=/usr/bin/otaclient\n");
	put_link(c, WANTS, "/" UNIT);
	put(c, "etc/systemd/system/otaclient.service",
		"[Service]\nExecStart=/opt/ota/client/venv/bin/python3 -m otaclient\n");
	assert_failure(c, check_unit,
		"/etc/systemd/system/otaclient.service does not start otaclient but "
		"\"/opt/ota/client/venv/bin/python3\"");
	put(c, "etc/systemd/system/otaclient.service", "nothing");
	assert_failure(c, check_unit, "does not start otaclient but \"\"");
	put_link(c, "etc/systemd/system/otaclient.service", "/dev/null");
	assert_failure(c, check_unit, "otaclient.service is masked");
	assert_string_equal(c->f.advice, "systemctl unmask otaclient");
}

static void run_process(
	struct checked_machine *c, unsigned pid, const char *exe, const char *cmdline, size_t len)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%u/cmdline", pid);
	put_bytes(c, path, cmdline, len);
	snprintf(path, sizeof(path), "proc/%u/exe", pid);
	put_link(c, path, exe);
}

static const char python_words[] = "python3\0-m\0otaclient";

static void only_one_client_may_run(void **state)
{
	struct checked_machine *c = *state;

	assert_warning(c, check_clients, "otaclient does not run");
	run_process(c, 7, "/usr/bin/python3.11", "python3\0-m\0http.server", 22);
	put(c, "run/otaclient.pid", "7");
	assert_warning(c, check_clients, "otaclient does not run");
	run_process(c, 8, "/usr/bin/otaclient", "/usr/bin/otaclient", 19);
	assert_ok(c, check_clients, "otaclient runs (process 8)");
	run_process(c, 7, "/usr/bin/python3.11", python_words, sizeof(python_words));
	assert_failure(c, check_clients,
		"Two clients run: otaclient (process 8) and that of python3.11 (process 7)");
	unlinkat(c->dir->fd, "proc/8/exe", 0);
	put(c, "proc/8/comm", "bash\n");
	assert_failure(c, check_clients, "Another client runs: python3.11 (process 7)");
}

static void a_client_of_another_name_is_found_by_its_pid_file(void **state)
{
	struct checked_machine *c = *state;

	run_process(c, 7, "/opt/app", "/opt/app\0otaclient", 19);
	assert_warning(c, check_clients, "otaclient does not run");
	put(c, "run/otaclient.pid", "7\n");
	assert_failure(c, check_clients, "Another client runs: app (process 7)");
	put(c, "run/otaclient.pid", "4294967296000\n");
	assert_warning(c, check_clients, "otaclient does not run");
	put(c, "run/otaclient.pid", "../1\n");
	assert_warning(c, check_clients, "otaclient does not run");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(tools_must_be_there),
		checked_machine_test(the_proxy_must_be_there_if_it_is_wanted),
		checked_machine_test(the_unit_must_be_ours_and_enabled),
		checked_machine_test(downloads_need_their_program),
		checked_machine_test(somebody_should_guard_the_commit),
		checked_machine_test(the_guard_should_wait_for_the_health_checks),
		checked_machine_test(what_a_system_is_judged_by_must_be_there),
		checked_machine_test(a_unit_of_another_client_goes_before_ours),
		checked_machine_test(only_one_client_may_run),
		checked_machine_test(a_client_of_another_name_is_found_by_its_pid_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
