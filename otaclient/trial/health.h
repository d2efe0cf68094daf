/*
 * health: what a new system must fulfil before it is committed, as one round of checks.
 *
 *   1. the API answers
 *   2. systemd has reached a target, and none of the listed units has failed, is on its way, or comes and goes
 *   3. every program in a folder ends with 0
 *
 * The first that fails ends the round: it says what is wrong, and what comes after it may need it. When a round is
 * repeated, and for how long: trial.h. docs/install.md, "Health before commit", is for whoever sets it up.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/api/peer.h"

#define HEALTH_PROGRAMS_DIR "/etc/otaclient/health.d"

enum {
	HEALTH_API_MS = 5000,
	HEALTH_PROGRAM_MAX_MS = 60 * 1000, /* what one program may take */
	HEALTH_STEADY_MS = 30 * 1000, /* what a service must run for that had to be started again */
};

/* All borrowed; NULL or "" = that is not checked. */
struct health_config {
	const struct peer_address *api;
	const char *target;
	const char *units; /* names with white space between them */
	const char *programs_dir;
	const char *const *programs_env; /* NULL = nothing is added */
	uint32_t program_ms;
	const char *bus_address; /* NULL = the machine's systemd */

	/* Each result of a check, @name as in a sentence; @how says what is wrong. NULL = nobody listens. */
	void (*result)(void *ctx, const char *name, bool ok, const char *how);
	/* For the log. NULL = nobody listens. */
	void (*note)(void *ctx, bool trouble, const char *sentence);
	void *ctx;
};

/* 0; -ECANCELED: @stop said so; else E209 with the sentence of the first check that failed. */
int health_check(const struct health_config *config, bool (*stop)(void *stop_ctx), void *stop_ctx,
	struct ota_err *err);

/* The address at which a server that listens on @ip and @port is asked from here. */
void health_own_address(const char *ip, uint16_t port, struct peer_address *ret_address);
