/* folder_checks: scratch, cache, programs of the integrator, and what is carried over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "tests/unit/checked_machine.h"

static void set_mode(struct checked_machine *c, const char *path, mode_t mode)
{
	assert_int_equal(fchmodat(c->dir->fd, path, mode, 0), 0);
}

static void there_must_be_a_place_for_lists(void **state)
{
	struct checked_machine *c = *state;

	assert_failure(c, check_scratch, "There is no folder /var/tmp for an image's lists");
	put(c, "var/tmp", "");
	assert_failure(c, check_scratch, "There is no folder /var/tmp for an image's lists");
	unlinkat(c->dir->fd, "var/tmp", 0);
	put(c, "var/tmp/", "");
	assert_ok(c, check_scratch, "MB for an image's lists");
	put(c, "etc/otaclient/otaclient.yaml", "scratch_dir: /no\n");
	assert_failure(c, check_scratch, "There is no folder /no for an image's lists");
}

static void the_cache_should_be_the_proxys(void **state)
{
	struct checked_machine *c = *state;
	char settings[64];

	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: false\n");
	assert_ok(c, check_cache, "This ECU keeps nothing of what passes");
	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: true\n");
	assert_ok(c, check_cache, "There is no /ota-cache: the proxy makes it");
	put(c, "ota-cache", "");
	assert_warning(c, check_cache, "/ota-cache is no folder");
	unlinkat(c->dir->fd, "ota-cache", 0);
	put(c, "ota-cache/", "");
	put(c, "etc/otaclient/otaclient.yaml", "proxy_user: nobody-of-that-name\n");
	assert_not_looked(c, check_cache, "There is no user nobody-of-that-name, whose /ota-cache");
	put(c, "etc/otaclient/otaclient.yaml", "proxy_user: '4711:4711'\n");
	assert_warning(c, check_cache, "not to 4711, whom the proxy becomes");
	/* root may not be named; without a name it is whoever runs the daemon. */
	snprintf(settings, sizeof(settings), "proxy_user: '%u:%u'\n", getuid(), getgid());
	put(c, "etc/otaclient/otaclient.yaml", getuid() == 0 ? "proxy_user: ''\n" : settings);
	assert_ok(c, check_cache, "/ota-cache is the proxy's");
	set_mode(c, "ota-cache", 0777);
	assert_warning(c, check_cache, "Others may write to /ota-cache");
}

#define HOOKS "etc/otaclient/hooks.d/"

static void hooks_must_be_of_root_alone(void **state)
{
	struct checked_machine *c = *state;

	assert_ok(c, check_hooks, "Programs that are run as hooks: 0");
	put(c, HOOKS "pre-update/10-ask", "#!/bin/sh\n");
	assert_warning(c, check_hooks, "10-ask is left out: it is not executable");
	set_mode(c, HOOKS "pre-update/10-ask", 0755);
	put(c, HOOKS "post-commit/tell", "#!/bin/sh\n");
	set_mode(c, HOOKS "post-commit/tell", 0700);
	assert_ok(c, check_hooks, "Programs that are run as hooks: 2");
	set_mode(c, HOOKS "pre-update/10-ask", 0777);
	assert_failure(c, check_hooks, "10-ask is refused: others than root may write to it");
	set_mode(c, HOOKS "pre-update/10-ask", 0755);
	set_mode(c, HOOKS "pre-update", 0775);
	assert_failure(c, check_hooks, "pre-update is refused: others than root may write to it");
	set_mode(c, HOOKS "pre-update", 0755);
	put(c, HOOKS "pre-reboot/10-tell", "#!/bin/sh\r\nexit 0\r\n");
	set_mode(c, HOOKS "pre-reboot/10-tell", 0755);
	assert_failure(
		c, check_hooks, "10-tell is refused: its lines end with CR LF, as on Windows");
	put(c, HOOKS "pre-reboot/10-tell", "#!/bin/sh\n");
	put(c, HOOKS "pre_update/", "");
	assert_warning(c, check_hooks, "Nobody runs what is in /etc/otaclient/hooks.d/pre_update");
}

static void health_checks_must_be_of_root_alone(void **state)
{
	struct checked_machine *c = *state;

	assert_ok(c, check_health, "Programs that judge a new system's health: 0");
	put(c, "etc/otaclient/health.d/10-net", "#!/bin/sh\n");
	set_mode(c, "etc/otaclient/health.d/10-net", 0755);
	assert_ok(c, check_health, "Programs that judge a new system's health: 1");
	put(c, "etc/otaclient/health.d/20-net.sh", "#!/bin/sh\n");
	assert_warning(c, check_health,
		"20-net.sh is left out: its name has other characters than letters, digits, - and "
		"_");
	set_mode(c, "etc/otaclient/health.d/10-net", 04755);
	assert_failure(c, check_health, "10-net is refused: it would change its user or group");
}

static void what_is_not_carried_over_is_told(void **state)
{
	struct checked_machine *c = *state;

	assert_ok(c, check_persistents, "The running system has no list of what is carried over");
	put(c, ".ota-meta/persistents.txt", "'/etc/hostname'\n'/home'\n");
	assert_ok(c, check_persistents, "Entries of persistents.txt that are carried over: 2");
	put(c, ".ota-meta/persistents.txt", "'/etc/hostname'\n'/boot'\n'/proc/x'\n");
	assert_warning(c, check_persistents, "/boot is not carried over: ");
	assert_int_equal(c->f.n_more, 1);
	put(c, ".ota-meta/persistents.txt", "'/etc\n");
	assert_failure(c, check_persistents, "persistents.txt");
	unlinkat(c->dir->fd, ".ota-meta/persistents.txt", 0);
	put(c, ".ota-meta/persistents.txt/", "");
	assert_not_looked(c, check_persistents,
		"/.ota-meta/persistents.txt cannot be read: it is not a regular file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(there_must_be_a_place_for_lists),
		checked_machine_test(the_cache_should_be_the_proxys),
		checked_machine_test(hooks_must_be_of_root_alone),
		checked_machine_test(health_checks_must_be_of_root_alone),
		checked_machine_test(what_is_not_carried_over_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
