/*
 * service_manager: messages to systemd's notification socket. Contract: service_manager.h.
 *
 * The watchdog is fed from the loop that answers the API: if that hangs, nobody can ask this ECU anything any more, and
 * a restart of the daemon is what helps. An update that takes long does not keep it from being fed.
 */
#include "otaclient/service_manager.h"

#include <stdio.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "common/base/clock.h"

void service_manager_init(struct service_manager *m)
{
	uint64_t limit_us = 0;

	*m = (struct service_manager){0};
	if (sd_watchdog_enabled(0, &limit_us) > 0)
		m->ping_every_ms = limit_us / 2000 > 0 ? limit_us / 2000 : 1;
}

void service_manager_ready(struct service_manager *m)
{
	m->pinged_ms = clock_monotonic_ms();
	sd_notify(0, "READY=1");
}

static void ping_if_due(struct service_manager *m)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (m->ping_every_ms == 0 || now_ms - m->pinged_ms < m->ping_every_ms)
		return;
	m->pinged_ms = now_ms;
	sd_notify(0, "WATCHDOG=1");
}

/*
 * A message is lines, so what comes from outside must not begin one of its own; and systemd drops a text with half a
 * character of several bytes, which cutting a version may leave.
 */
static void make_plain(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c >= 0x7f)
			*c = '?';
}

void service_manager_text(const struct status_snapshot *now, char ret_text[SERVICE_TEXT_MAX])
{
	const char *status = ota_status_name(now->ota_status);

	if (!now->known)
		snprintf(ret_text, SERVICE_TEXT_MAX, "The boot loader is not known: %s",
			now->failure_reason);
	else if (now->ota_status == STATUS_UPDATING)
		snprintf(ret_text, SERVICE_TEXT_MAX, "%s to version \"%.64s\": %s", status,
			now->update.version, update_phase_name(now->update.phase));
	else if (now->has_failure)
		snprintf(ret_text, SERVICE_TEXT_MAX, "%s, version \"%.64s\": %s", status,
			now->firmware_version, now->failure_reason);
	else
		snprintf(ret_text, SERVICE_TEXT_MAX, "%s, version \"%.64s\"", status,
			now->firmware_version);
	make_plain(ret_text);
}

void service_manager_tick(struct service_manager *m, const struct status_snapshot *now)
{
	char text[SERVICE_TEXT_MAX];

	ping_if_due(m);
	service_manager_text(now, text);
	if (strcmp(text, m->told) == 0)
		return;
	memcpy(m->told, text, sizeof(text));
	sd_notifyf(0, "STATUS=%s", text);
}

void service_manager_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}
