/*
 * network_checks: can this ECU be asked at its address, and can its proxy listen?
 */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/doctor/listeners.h"
#include "otaclient/doctor/processes.h"

static void free_addressesp(struct ifaddrs **list)
{
	if (*list)
		freeifaddrs(*list);
}

static bool is_that(const struct sockaddr *sa, const struct listen_address *want)
{
	if (!sa || sa->sa_family != (want->v6 ? AF_INET6 : AF_INET))
		return false;
	if (want->v6)
		return memcmp(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr,
			       want->bytes, 16) == 0;
	return memcmp(&((const struct sockaddr_in *)(const void *)sa)->sin_addr, want->bytes, 4) ==
	       0;
}

static bool is_any(const struct listen_address *a)
{
	static const unsigned char zero[16];

	return memcmp(a->bytes, zero, a->v6 ? 16 : 4) == 0;
}

static bool is_loopback(const struct listen_address *a)
{
	static const unsigned char one[16] = {[15] = 1};

	return a->v6 ? memcmp(a->bytes, one, 16) == 0 : a->bytes[0] == 127;
}

void check_address(struct machine *m, struct finding *ret)
{
	CLEANUP(free_addressesp) struct ifaddrs *list = NULL;
	struct listen_address want;

	machine_configure(m);
	if (!listen_address_parse(m->ecu.ip_addr, &want)) {
		finding_not_looked(ret, "\"%s\" is no address", m->ecu.ip_addr);
		return;
	}
	if (is_any(&want)) {
		finding_ok(ret, "%s stands for all addresses of this machine", m->ecu.ip_addr);
		return;
	}
	if (is_loopback(&want)) {
		finding_ok(ret, "At %s only this machine itself can ask this ECU", m->ecu.ip_addr);
		return;
	}
	if (getifaddrs(&list) < 0) {
		finding_not_looked(
			ret, "The network interfaces cannot be listed: %s", strerror(errno));
		return;
	}
	for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (!is_that(i->ifa_addr, &want))
			continue;
		if (i->ifa_flags & IFF_UP)
			finding_ok(ret, "%s is an address of %s", m->ecu.ip_addr, i->ifa_name);
		else
			finding_failure(ret, "Switch it on",
				"The interface %s with the address %s is switched off", i->ifa_name,
				m->ecu.ip_addr);
		return;
	}
	finding_failure(ret, "Correct ip_addr in ecu_info.yaml, or the network's settings",
		"No network interface has the address %s, so nobody could ask this ECU",
		m->ecu.ip_addr);
}

/* Who keeps @want and @port from being listened on? 0 or -errno; *ret_inode is 0 if nobody does. */
static int find_listener(const struct machine *m, const struct listen_address *want, uint16_t port,
	uint64_t *ret_inode)
{
	static const char *const lists[] = {"/proc/net/tcp", "/proc/net/tcp6"};

	*ret_inode = 0;
	for (unsigned v6 = 0; v6 < ARRAY_SIZE(lists) && *ret_inode == 0; v6++) {
		AUTO_BUF struct buf text = {0};
		int r = machine_read(m, lists[v6], LISTENERS_TEXT_MAX_BYTES, &text);

		if (r == -ENOENT && v6)
			return 0; /* a kernel without IPv6 */
		if (r < 0)
			return r;
		*ret_inode = listeners_find(buf_str(&text), text.len_bytes, v6, want, port);
	}
	return 0;
}

static void check_port(const struct machine *m, const char *address, uint32_t port,
	const char *program, const char *advice, struct finding *ret)
{
	struct listen_address want;
	struct process p;
	uint64_t inode;
	int r;

	if (!listen_address_parse(address, &want)) {
		finding_not_looked(ret, "\"%s\" is no address", address);
		return;
	}
	r = find_listener(m, &want, (uint16_t)port, &inode);
	if (r < 0) {
		finding_not_looked(
			ret, "The kernel's list of sockets cannot be read: %s", file_read_why(r));
		return;
	}
	if (inode == 0) {
		finding_ok(ret, "Port %u is free for %s", port, program);
		return;
	}
	process_find_by_socket(m, inode, &p);
	if (p.pid == 0)
		finding_failure(ret, advice, "Somebody who cannot be seen listens on port %u of %s",
			port, address);
	else if (strcmp(p.name, program) == 0)
		finding_ok(ret, "%s (process %u) listens on port %u", program, p.pid, port);
	else
		finding_failure(ret, advice, "%s (process %u) listens on port %u of %s", p.name,
			p.pid, port, address);
}

void check_api_port(struct machine *m, struct finding *ret)
{
	machine_configure(m);
	check_port(m, m->ecu.ip_addr, m->settings.listen_port, "otaclient",
		"End it, or choose another listen_port in otaclient.yaml: otaclient cannot start",
		ret);
}

void check_proxy_port(struct machine *m, struct finding *ret)
{
	machine_configure(m);
	if (!m->proxy.enable_local_ota_proxy) {
		finding_ok(ret, "This ECU runs no proxy");
		return;
	}
	check_port(m, m->proxy.local_ota_proxy_listen_addr, m->proxy.local_ota_proxy_listen_port,
		"otaproxy",
		"End it, or choose another local_ota_proxy_listen_port in proxy_info.yaml", ret);
}
