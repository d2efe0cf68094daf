/* config_checks: configuration files that are right, and each way in which they are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/checked_machine.h"

#define ECU   "boot/ota/ecu_info.yaml"
#define PROXY "boot/ota/proxy_info.yaml"

static void ecu_info_must_be_there_and_right(void **state)
{
	struct checked_machine *c = *state;

	assert_failure(c, check_ecu_info, "/boot/ota/ecu_info.yaml: No such file or directory");
	assert_string_equal(c->f.advice, "Every update is refused until the file is right");
	put(c, ECU, "ecu_id: main\nip_addr: nowhere\nformat_version: x\n");
	assert_failure(c, check_ecu_info, "ecu_info.yaml, line 2: ip_addr must be");
	assert_int_equal(c->f.n_more, 1);
	assert_not_looked(c, check_secondaries, "ecu_info.yaml is missing or wrong");
	assert_not_looked(c, check_own_id, "ecu_info.yaml is missing or wrong");
	assert_not_looked(c, check_bootloader, "ecu_info.yaml is missing or wrong");
	put(c, ECU, "ecu_id: main\nip_addr: 10.0.0.1\nbootloader: grub\n");
	assert_ok(c, check_ecu_info, "This is ECU \"main\" at 10.0.0.1");
	put(c, ECU, "ecu_id: main\nip_addr: 10.0.0.1\ncolour: red\n");
	assert_warning(c, check_ecu_info, "colour");
}

static void the_boot_loader_should_be_named(void **state)
{
	struct checked_machine *c = *state;

	put(c, ECU, "ecu_id: main\nbootloader: grub\n");
	assert_ok(c, check_bootloader, "The boot loader is grub");
	put(c, ECU, "ecu_id: main\n");
	assert_warning(c, check_bootloader, "The boot loader is guessed");
}

static void an_ecu_should_list_itself(void **state)
{
	struct checked_machine *c = *state;

	put(c, ECU, "ecu_id: main\navailable_ecu_ids: [main, sub]\n");
	assert_ok(c, check_own_id, "available_ecu_ids lists this ECU");
	put(c, ECU, "ecu_id: main\navailable_ecu_ids: [sub]\n");
	assert_warning(c, check_own_id, "does not list this ECU, main");
}

static void nobody_is_below_itself(void **state)
{
	struct checked_machine *c = *state;

	put(c, ECU,
		"ecu_id: main\nip_addr: 10.0.0.1\nsecondaries:\n"
		"- {ecu_id: sub, ip_addr: 10.0.0.2}\n- {ecu_id: sub2, ip_addr: 10.0.0.3}\n");
	assert_ok(c, check_secondaries, "ECUs directly below this one: 2");
	/* The parser leaves such an entry out. */
	put(c, ECU,
		"ecu_id: main\nip_addr: 10.0.0.1\nsecondaries:\n"
		"- {ecu_id: main, ip_addr: 10.0.0.2}\n");
	assert_warning(c, check_ecu_info, "secondaries[0].ecu_id \"main\" is this ECU's own");
	assert_ok(c, check_secondaries, "ECUs directly below this one: 0");
	put(c, ECU,
		"ecu_id: main\nip_addr: fd00::1\nsecondaries:\n"
		"- {ecu_id: sub, ip_addr: 'FD00:0::1'}\n");
	assert_failure(c, check_secondaries, "The ECU sub in secondaries has the address of this");
	put(c, ECU,
		"ecu_id: main\nip_addr: 10.0.0.1\nsecondaries:\n"
		"- {ecu_id: sub, ip_addr: 10.0.0.2}\n- {ecu_id: sub2, ip_addr: 10.0.0.2}\n");
	assert_failure(c, check_secondaries, "sub and sub2 in secondaries have the same address");
	/* The same machine at another port is a simulation, not a mistake. */
	put(c, ECU,
		"ecu_id: main\nip_addr: 10.0.0.1\nsecondaries:\n"
		"- {ecu_id: sub, ip_addr: 10.0.0.1, port: 50052}\n");
	assert_ok(c, check_secondaries, "this one: 1");
}

static void proxy_info_may_be_missing_but_not_wrong(void **state)
{
	struct checked_machine *c = *state;

	assert_ok(c, check_proxy_info, "There is no proxy_info.yaml");
	put(c, PROXY, "enable_local_ota_proxy: true\nupper_ota_proxy: http://10.0.0.1:8082\n");
	assert_ok(c, check_proxy_info,
		"Downloads go through a proxy of this ECU through the upper proxy");
	put(c, PROXY, "upper_ota_proxy: ftp://x\n");
	assert_failure(c, check_proxy_info, "proxy_info.yaml, line 1: upper_ota_proxy");
	put(c, PROXY, "gateway: true\n");
	assert_warning(c, check_proxy_info, "gateway");
}

static void a_wrong_setting_has_its_default(void **state)
{
	struct checked_machine *c = *state;

	assert_ok(c, check_settings, "There is no /etc/otaclient/otaclient.yaml");
	put(c, "etc/otaclient/otaclient.yaml", "log_level: info\n");
	assert_ok(c, check_settings, "/etc/otaclient/otaclient.yaml is right");
	put(c, "etc/otaclient/otaclient.yaml", "listen_port: 0\nlog_level: loud\n");
	assert_warning(c, check_settings, "otaclient.yaml, line 1: listen_port must be");
	assert_int_equal(c->f.n_more, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(ecu_info_must_be_there_and_right),
		checked_machine_test(the_boot_loader_should_be_named),
		checked_machine_test(an_ecu_should_list_itself),
		checked_machine_test(nobody_is_below_itself),
		checked_machine_test(proxy_info_may_be_missing_but_not_wrong),
		checked_machine_test(a_wrong_setting_has_its_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
