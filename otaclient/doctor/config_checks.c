/*
 * config_checks: do the configuration files parse, and do they fit together? The messages are those of the parsers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "otaclient/doctor/checks.h"

static bool is_missing(const struct machine *m, const char *path)
{
	struct stat st;

	return machine_lstat(m, path, &st) == -ENOENT;
}

static void put_notices(const struct machine_notes *n, struct finding *ret)
{
	if (n->n_notices > 0)
		finding_warning(ret, NULL, "%s", n->notice);
	if (n->n_notices > 1)
		ret->n_more += n->n_notices - 1;
}

void check_ecu_info(struct machine *m, struct finding *ret)
{
	machine_configure(m);
	if (!m->ecu.loaded) {
		finding_failure(ret, "Every update is refused until the file is right", "%s",
			m->ecu_notes.wrong);
		ret->n_more = m->ecu_notes.n_wrong > 1 ? m->ecu_notes.n_wrong - 1 : 0;
		return;
	}
	finding_ok(ret, "This is ECU \"%s\" at %s", m->ecu.ecu_id, m->ecu.ip_addr);
	put_notices(&m->ecu_notes, ret);
}

/* What follows is about the file's content. */
static bool knows_ecu(struct machine *m, struct finding *ret)
{
	machine_configure(m);
	if (!m->ecu.loaded)
		finding_not_looked(ret, "ecu_info.yaml is missing or wrong");
	return m->ecu.loaded;
}

void check_bootloader(struct machine *m, struct finding *ret)
{
	if (!knows_ecu(m, ret))
		return;
	if (strcmp(m->ecu.bootloader, "auto_detect") == 0)
		finding_warning(ret, "Name the boot loader in ecu_info.yaml",
			"The boot loader is guessed, and a later version may guess another one");
	else
		finding_ok(ret, "The boot loader is %s", m->ecu.bootloader);
}

void check_own_id(struct machine *m, struct finding *ret)
{
	if (!knows_ecu(m, ret))
		return;
	for (uint32_t i = 0; i < m->ecu.n_available; i++) {
		if (strcmp(m->ecu.available_ecu_ids[i], m->ecu.ecu_id) != 0)
			continue;
		finding_ok(ret, "available_ecu_ids lists this ECU");
		return;
	}
	finding_warning(ret, "Put it there, or nobody who asks sees this ECU",
		"available_ecu_ids in ecu_info.yaml does not list this ECU, %s", m->ecu.ecu_id);
}

/* The same address, in whatever spelling? */
static bool same_address(const char *a, const char *b)
{
	unsigned char x[sizeof(struct in6_addr)], y[sizeof(x)];
	int family = strchr(a, ':') ? AF_INET6 : AF_INET;

	if (inet_pton(family, a, x) == 1 && inet_pton(family, b, y) == 1)
		return memcmp(x, y, family == AF_INET6 ? 16 : 4) == 0;
	return strcmp(a, b) == 0;
}

static void compare_secondary(const struct machine *m, uint32_t i, struct finding *ret)
{
	const struct ecu_secondary *s = &m->ecu.secondaries[i];

	/* One with the same id is left out by the parser. */
	if (same_address(s->ip_addr, m->ecu.ip_addr) && s->port == m->settings.listen_port)
		finding_failure(ret, "Correct its ip_addr: this ECU would ask itself",
			"The ECU %s in secondaries has the address of this ECU, %s:%u", s->ecu_id,
			s->ip_addr, s->port);
	for (uint32_t k = 0; k < i; k++)
		if (same_address(s->ip_addr, m->ecu.secondaries[k].ip_addr) &&
			s->port == m->ecu.secondaries[k].port)
			finding_failure(ret, "Correct the ip_addr of one of them",
				"The ECUs %s and %s in secondaries have the same address, %s:%u",
				m->ecu.secondaries[k].ecu_id, s->ecu_id, s->ip_addr, s->port);
}

void check_secondaries(struct machine *m, struct finding *ret)
{
	if (!knows_ecu(m, ret))
		return;
	for (uint32_t i = 0; i < m->ecu.n_secondaries; i++)
		compare_secondary(m, i, ret);
	finding_ok(ret, "ECUs directly below this one: %u", m->ecu.n_secondaries);
}

void check_proxy_info(struct machine *m, struct finding *ret)
{
	machine_configure(m);
	if (is_missing(m, "/boot/ota/proxy_info.yaml")) {
		finding_ok(ret, "There is no proxy_info.yaml: this ECU runs a proxy, and asks the "
				"server itself");
		return;
	}
	if (m->proxy_notes.n_wrong > 0) {
		finding_failure(ret,
			"Correct the file: without it the server is asked without upper_ota_proxy",
			"%s", m->proxy_notes.wrong);
		ret->n_more = m->proxy_notes.n_wrong - 1;
		return;
	}
	finding_ok(ret, "Downloads go %s%s",
		m->proxy.enable_local_ota_proxy ? "through a proxy of this ECU " : "",
		m->proxy.upper_ota_proxy[0] ? "through the upper proxy" : "to the server");
	put_notices(&m->proxy_notes, ret);
}

void check_settings(struct machine *m, struct finding *ret)
{
	machine_configure(m);
	if (m->settings_notes.n_wrong > 0) {
		finding_warning(ret, "Correct the value: the default counts", "%s",
			m->settings_notes.wrong);
		ret->n_more = m->settings_notes.n_wrong - 1;
		return;
	}
	finding_ok(ret, is_missing(m, SETTINGS_PATH) ? "There is no " SETTINGS_PATH
						       ": the defaults count"
						     : SETTINGS_PATH " is right");
	put_notices(&m->settings_notes, ret);
}
