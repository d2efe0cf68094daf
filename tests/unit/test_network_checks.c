/* network_checks: an address that this machine has or not, and ports that are free, ours or somebody else's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/checked_machine.h"

#define LISTENS_ON(port)                                                                         \
	"0: 00000000:" port " 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1 " \
	"x\n"

static void set_address(struct checked_machine *c, const char *address)
{
	char text[128];

	snprintf(text, sizeof(text), "ecu_id: main\nip_addr: '%s'\n", address);
	put(c, "boot/ota/ecu_info.yaml", text);
}

static void the_address_must_be_one_of_this_machine(void **state)
{
	struct checked_machine *c = *state;

	set_address(c, "127.0.0.1");
	assert_ok(c, check_address, "At 127.0.0.1 only this machine itself can ask this ECU");
	set_address(c, "::1");
	assert_ok(c, check_address, "At ::1 only this machine itself can ask this ECU");
	set_address(c, "::");
	assert_ok(c, check_address, ":: stands for all addresses of this machine");
	set_address(c, "0.0.0.0");
	assert_ok(c, check_address, "0.0.0.0 stands for all addresses of this machine");
	/* Of a net for documents, which no machine has. */
	set_address(c, "192.0.2.77");
	assert_failure(c, check_address, "No network interface has the address 192.0.2.77");
	set_address(c, "2001:db8::77");
	assert_failure(c, check_address, "No network interface has the address 2001:db8::77");
}

static void run_process(struct checked_machine *c, const char *program)
{
	char exe[PATH_MAX], fd[PATH_MAX];

	put(c, "proc/4711/fd/", "");
	snprintf(exe, sizeof(exe), "%s/proc/4711/exe", c->dir->path);
	snprintf(fd, sizeof(fd), "%s/proc/4711/fd/3", c->dir->path);
	unlink(exe);
	unlink(fd);
	assert_int_equal(symlink(program, exe), 0);
	assert_int_equal(symlink("socket:[77]", fd), 0);
}

static void the_api_port_must_be_free_or_ours(void **state)
{
	struct checked_machine *c = *state;

	set_address(c, "127.0.0.1");
	assert_not_looked(c, check_api_port, "The kernel's list of sockets cannot be read");
	put(c, "proc/net/tcp", LISTENS_ON("1F92"));
	assert_ok(c, check_api_port, "Port 50051 is free for otaclient");
	put(c, "proc/net/tcp", LISTENS_ON("C383"));
	assert_failure(c, check_api_port,
		"Somebody who cannot be seen listens on port 50051 of 127.0.0.1");
	run_process(c, "/usr/bin/otaclient (deleted)");
	assert_ok(c, check_api_port, "otaclient (process 4711) listens on port 50051");
	run_process(c, "/usr/bin/python3.11");
	assert_failure(
		c, check_api_port, "python3.11 (process 4711) listens on port 50051 of 127.0.0.1");
	put(c, "etc/otaclient/otaclient.yaml", "listen_port: 50052\n");
	assert_ok(c, check_api_port, "Port 50052 is free for otaclient");
}

static void the_proxy_port_counts_only_if_there_is_a_proxy(void **state)
{
	struct checked_machine *c = *state;

	put(c, "proc/net/tcp", LISTENS_ON("1F92"));
	run_process(c, "/usr/sbin/nginx");
	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: false\n");
	assert_ok(c, check_proxy_port, "This ECU runs no proxy");
	put(c, "boot/ota/proxy_info.yaml", "enable_local_ota_proxy: true\n");
	assert_failure(c, check_proxy_port, "nginx (process 4711) listens on port 8082 of 0.0.0.0");
	run_process(c, "/usr/bin/otaproxy");
	assert_ok(c, check_proxy_port, "otaproxy (process 4711) listens on port 8082");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		checked_machine_test(the_address_must_be_one_of_this_machine),
		checked_machine_test(the_api_port_must_be_free_or_ours),
		checked_machine_test(the_proxy_port_counts_only_if_there_is_a_proxy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
