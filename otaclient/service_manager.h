/*
 * service_manager: tells systemd that the daemon serves, what it is doing, and that it is alive. Without systemd (no
 * NOTIFY_SOCKET) nothing happens.
 *
 * Used by the main thread alone. systemd/otaclient.service is the other end.
 */
#pragma once

#include <stdint.h>

#include "otaclient/status/status.h"

enum {
	SERVICE_TEXT_MAX = 768, /* a reason, and 64 bytes of a version */
};

struct service_manager {
	char told[SERVICE_TEXT_MAX]; /* the last STATUS; "" = none yet */
	uint64_t ping_every_ms;      /* half of WatchdogSec; 0 = nobody watches */
	uint64_t pinged_ms;          /* monotonic */
};

/* What systemd wants of this process. */
void service_manager_init(struct service_manager *m);

/* The API listens. From here on the watchdog counts. */
void service_manager_ready(struct service_manager *m);

/* Now and then, at least once a second: the watchdog's ping when it is due, and a line when @now says something new. */
void service_manager_tick(struct service_manager *m, const struct status_snapshot *now);

/* The end has begun. */
void service_manager_stopping(void);

/* One line of what an ECU is doing, as `systemctl status` shows it. */
void service_manager_text(const struct status_snapshot *now, char ret_text[SERVICE_TEXT_MAX]);
