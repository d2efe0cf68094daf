/*
 * trial_checks: the health check of a system on trial, as this machine's settings have it, and what is told of it:
 * every result to the flight recorder, the programs' notes to the log.
 *
 * Filled once, then used by the trial's thread alone.
 */
#pragma once

#include "common/config/settings.h"
#include "otaclient/flight/flight_recorder.h"
#include "otaclient/status/status_store.h"
#include "otaclient/trial/health.h"

enum {
	TRIAL_CHECKS_ENV = 3,
	TRIAL_CHECKS_ENV_MAX = STATUS_VERSION_MAX + 32, /* a version and the variable's name */
};

struct trial_checks {
	struct health_config health;
	struct peer_address own_address;
	char env_text[TRIAL_CHECKS_ENV][TRIAL_CHECKS_ENV_MAX];
	const char *env[TRIAL_CHECKS_ENV + 1];
	struct flight_recorder *recorder; /* NULL is fine */
	unsigned n_rounds;
};

/* What is checked; all borrowed. */
struct trial_checked {
	const char *version, *slot, *ecu_id; /* for the programs: OTA_VERSION, … */
	const char *listen_ip;               /* where the API is */
	struct flight_recorder *recorder;
};
void trial_checks_init(struct trial_checks *checks, const struct settings *settings,
	const struct trial_checked *what);

/* One round; as trial_config.check, with the checks for @ctx. */
int trial_checks_run(
	void *checks, bool (*stop)(void *stop_ctx), void *stop_ctx, struct ota_err *err);
