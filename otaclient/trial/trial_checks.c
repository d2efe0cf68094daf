/*
 * trial_checks: from settings to a health check. Contract: trial_checks.h.
 */
#include "otaclient/trial/trial_checks.h"

#include <stdio.h>

#include "common/base/log.h"

static void on_result(void *ctx, const char *name, bool ok, const char *how)
{
	const struct trial_checks *c = ctx;

	flight_recorder_check(c->recorder, name, ok, how);
	log_debug("Health: %s: %s", name, ok ? "well" : how);
}

/* What is the same in each round is worth telling in the first. */
static void on_note(void *ctx, bool trouble, const char *sentence)
{
	const struct trial_checks *c = ctx;

	if (trouble)
		log_each_warning("%s", sentence);
	else if (c->n_rounds == 1)
		log_info("%s", sentence);
	else
		log_debug("%s", sentence);
}

void trial_checks_init(struct trial_checks *checks, const struct settings *settings,
	const struct trial_checked *what)
{
	*checks = (struct trial_checks){.recorder = what->recorder};
	snprintf(checks->env_text[0], TRIAL_CHECKS_ENV_MAX, "OTA_VERSION=%s", what->version);
	snprintf(checks->env_text[1], TRIAL_CHECKS_ENV_MAX, "OTA_SLOT=%s", what->slot);
	snprintf(checks->env_text[2], TRIAL_CHECKS_ENV_MAX, "OTA_ECU_ID=%s", what->ecu_id);
	for (size_t i = 0; i < TRIAL_CHECKS_ENV; i++)
		checks->env[i] = checks->env_text[i];
	health_own_address(what->listen_ip, (uint16_t)settings->listen_port, &checks->own_address);
	checks->health = (struct health_config){
		.api = &checks->own_address,
		.target = settings->health_target,
		.units = settings->health_units,
		.programs_dir = HEALTH_PROGRAMS_DIR,
		.programs_env = checks->env,
		.program_ms = settings->health_timeout_s * 1000,
		.result = on_result,
		.note = on_note,
		.ctx = checks,
	};
}

int trial_checks_run(
	void *checks, bool (*stop)(void *stop_ctx), void *stop_ctx, struct ota_err *err)
{
	struct trial_checks *c = checks;

	c->n_rounds++;
	return health_check(&c->health, stop, stop_ctx, err);
}
