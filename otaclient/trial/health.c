/*
 * health: one round of checks. Contract: health.h.
 */
#include "otaclient/trial/health.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/hooks/program_folder.h"
#include "otaclient/trial/unit_state.h"

static const char white_space[] = " \t\r\n";

/* One round on its way. */
struct round {
	const struct health_config *config;
	bool (*stop)(void *stop_ctx);
	void *stop_ctx;
};

static void tell(const struct round *round, const char *name, int r, const struct ota_err *err)
{
	const struct health_config *c = round->config;

	if (c->result)
		c->result(c->ctx, name, r == 0, r == 0 ? "" : err->msg);
}

static bool is_set(const char *text)
{
	return text && text[strspn(text, white_space)] != '\0';
}

/* ---- the API ---- */

/* Whoever asks has a timeout much like this one, so an answer that takes longer is none. */
static int check_api(const struct round *round, struct ota_err *err)
{
	AUTO_WIRE_STATUS struct wire_status status = {0};
	int r;

	if (!round->config->api)
		return 0;
	peer_open();
	r = peer_status(round->config->api, HEALTH_API_MS, &status, err);
	peer_close();
	if (r < 0)
		r = ota_err_wrap(err, r, "The API does not answer");
	tell(round, "the API", r, err);
	return r;
}

void health_own_address(const char *ip, uint16_t port, struct peer_address *ret_address)
{
	*ret_address = (struct peer_address){.port = port};
	if (strcmp(ip, "0.0.0.0") == 0)
		ip = "127.0.0.1";
	else if (strcmp(ip, "::") == 0)
		ip = "::1";
	snprintf(ret_address->host, sizeof(ret_address->host), "%s", ip);
}

/* ---- systemd ---- */

static int check_loaded(const char *name, const struct unit_state *unit, struct ota_err *err)
{
	if (strcmp(unit->load, "not-found") == 0)
		return ota_err_set(err, -ENOENT, OTA_E_NOT_HEALTHY, "systemd knows no %s", name);
	if (strcmp(unit->load, "loaded") != 0)
		return ota_err_set(err, -ENOEXEC, OTA_E_NOT_HEALTHY,
			"systemd has not loaded %s: it is \"%s\"", name, unit->load);
	return 0;
}

/* What holds up a target is what whoever reads the sentence will ask next. */
static int say_not_reached(
	struct unit_bus *bus, const char *name, const struct unit_state *unit, struct ota_err *err)
{
	char running[UNIT_NAME_MAX_BYTES] = "";
	struct ota_err ignored = {0};

	unit_bus_running_job(bus, running, &ignored);
	return ota_err_set(err, -EAGAIN, OTA_E_NOT_HEALTHY,
		"%s is not reached: it is %s (%s)%s%s%s%s", name, unit->active, unit->sub,
		unit->job[0] ? ", about to " : "", unit->job, running[0] ? ", waiting for " : "",
		running);
}

static int check_target(struct unit_bus *bus, const char *name, struct ota_err *err)
{
	struct unit_state unit;
	int r = unit_bus_state(bus, name, &unit, err);

	if (r == 0)
		r = check_loaded(name, &unit, err);
	if (r < 0)
		return r;
	if (strcmp(unit.active, "active") == 0 && !unit.job[0])
		return 0;
	return say_not_reached(bus, name, &unit, err);
}

/* One that ends again and again is not "failed" where systemd starts it each time: it is up whenever one looks. */
static int check_steady(const char *name, const struct unit_state *unit, struct ota_err *err)
{
	uint64_t now_ms = clock_monotonic_ms();
	uint64_t up_ms = now_ms - MIN_OF(now_ms, unit->active_since_ms);

	if (unit->n_restarts == 0 || strcmp(unit->active, "active") != 0 ||
		up_ms >= HEALTH_STEADY_MS)
		return 0;
	return ota_err_set(err, -EAGAIN, OTA_E_NOT_HEALTHY,
		"%s had to be started again (%u times), and is not up for %d s yet", name,
		unit->n_restarts, HEALTH_STEADY_MS / 1000);
}

/* A service that has done its work is inactive, and well. */
static int check_unit(struct unit_bus *bus, const char *name, struct ota_err *err)
{
	struct unit_state unit;
	int r = unit_bus_state(bus, name, &unit, err);

	if (r == 0)
		r = check_loaded(name, &unit, err);
	if (r < 0)
		return r;
	if (strcmp(unit.active, "failed") == 0)
		return ota_err_set(err, -EIO, OTA_E_NOT_HEALTHY, "%s has failed", name);
	if (strcmp(unit.active, "activating") == 0 || strcmp(unit.active, "deactivating") == 0 ||
		unit.job[0])
		return ota_err_set(err, -EAGAIN, OTA_E_NOT_HEALTHY, "%s is %s (%s)%s%s", name,
			unit.active, unit.sub, unit.job[0] ? ", about to " : "", unit.job);
	return check_steady(name, &unit, err);
}

static int check_units(const struct round *round, struct unit_bus *bus, struct ota_err *err)
{
	char names[1024], *save = NULL;
	int r = 0;

	snprintf(names, sizeof(names), "%s", round->config->units);
	for (char *name = strtok_r(names, white_space, &save); name && r == 0;
		name = strtok_r(NULL, white_space, &save)) {
		r = check_unit(bus, name, err);
		tell(round, name, r, err);
	}
	return r;
}

static int check_systemd(const struct round *round, struct ota_err *err)
{
	const struct health_config *c = round->config;
	AUTO_UNIT_BUS struct unit_bus *bus = NULL;
	int r;

	if (!is_set(c->target) && !is_set(c->units))
		return 0;
	r = unit_bus_open(c->bus_address, &bus, err);
	if (r == -ENOENT && err->errnum == 0) {
		if (c->note)
			c->note(c->ctx, false,
				"No systemd runs here, so no target and no units are waited for");
		return 0;
	}
	if (r < 0) {
		tell(round, "systemd", r, err);
		return r;
	}
	if (is_set(c->target)) {
		r = check_target(bus, c->target, err);
		tell(round, c->target, r, err);
	}
	if (r == 0 && is_set(c->units))
		r = check_units(round, bus, err);
	return r;
}

/* ---- programs ---- */

static bool program_stop(void *ctx)
{
	const struct round *round = ctx;

	return round->stop && round->stop(round->stop_ctx);
}

static void program_note(void *ctx, bool trouble, const char *sentence)
{
	const struct health_config *c = ((const struct round *)ctx)->config;

	if (c->note)
		c->note(c->ctx, trouble, sentence);
}

static void program_ended(void *ctx, const struct program_result *result)
{
	if (result->end == PROGRAM_DONE)
		tell(ctx, result->name, 0, NULL);
}

static int check_programs(const struct round *round, struct ota_err *err)
{
	const struct health_config *c = round->config;
	struct round copy = *round;
	const struct program_folder folder = {
		.dir = c->programs_dir,
		.what = "health check",
		.env = c->programs_env,
		.timeout_ms = MIN_OF(c->program_ms, (uint32_t)HEALTH_PROGRAM_MAX_MS),
		.stop = program_stop,
		.result = program_ended,
		.note = program_note,
		.ctx = &copy,
	};
	struct program_result failed = {0};
	int r;

	if (!is_set(c->programs_dir))
		return 0;
	r = program_folder_run(&folder, &failed, err);
	if (r < 0 && r != -ECANCELED)
		tell(round, failed.name[0] ? failed.name : c->programs_dir, r, err);
	return r;
}

/* ---- a round ---- */

int health_check(const struct health_config *config, bool (*stop)(void *stop_ctx), void *stop_ctx,
	struct ota_err *err)
{
	static int (*const checks[])(const struct round *round, struct ota_err *err) = {
		check_api, check_systemd, check_programs};
	const struct round round = {.config = config, .stop = stop, .stop_ctx = stop_ctx};

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		int r = stop && stop(stop_ctx) ? -ECANCELED : checks[i](&round, err);

		if (r < 0 && r != -ECANCELED)
			err->code = OTA_E_NOT_HEALTHY;
		if (r < 0)
			return r;
	}
	return 0;
}
