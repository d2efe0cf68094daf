/*
 * follow: see an accepted update or rollback through to its end, reboot included, from one Status answer to the next.
 *
 * Pure: the caller asks, waits and shows. Status does not say which request it is about, so an end counts once
 * the ECU has been seen at work, or looks different than before the request, or has had time to begin.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "otaclient/api/wire.h"

enum {
	FOLLOW_SETTLE_MS = 30 * 1000, /* ECUs two levels below may be asked every 10 s per level */
};

enum follow_state {
	FOLLOW_RUNNING,
	FOLLOW_DONE, /* SUCCESS, and the requested version runs; or the other one, after a rollback */
	FOLLOW_FAILED, /* sentence says why */
};

struct follow_ecu {
	const char *ecu_id; /* borrowed */
	enum follow_state state;
	char reason[OTA_ERR_MSG_MAX +
		    STATUS_VERSION_MAX]; /* why it failed, for a line that names the ECU … */
	char sentence[OTA_ERR_MSG_MAX + STATUS_VERSION_MAX + 512]; /* … and as a sentence */
	char version[STATUS_VERSION_MAX];                          /* when done: what it runs */

	bool had_entry; /* before the request; then: */
	int old_status;
	char old_version[STATUS_VERSION_MAX];
	char old_reason[OTA_ERR_MSG_MAX + 16];

	bool began; /* seen at work */
	uint64_t seen_ms; /* last answer that had an entry for it */
	uint64_t ended_ms;
};

struct follow {
	const char *
		version; /* requested; borrowed. NULL = a rollback, to whatever the other slot has */
	uint64_t timeout_ms; /* an ECU that is silent for longer has failed */
	uint64_t accepted_ms;
	struct follow_ecu *ecus; /* the caller's */
	size_t n_ecus;
};

/* @before: Status as it was when the request was made. ecus[].ecu_id, version and timeout_ms are set already. */
void follow_start(struct follow *f, const struct wire_status *before, uint64_t now_ms);

/* This ECU has not taken the request. */
void follow_refuse(struct follow *f, struct follow_ecu *e, const char *why);

/* An answer came; or none did (@status NULL). */
void follow_see(struct follow *f, const struct wire_status *status, uint64_t now_ms);

/* RUNNING as long as one ECU is; then FAILED if one has. */
enum follow_state follow_state(const struct follow *f);

/* From the acceptance to the end of this ECU; and of the last one. */
uint64_t follow_elapsed_s(const struct follow *f, const struct follow_ecu *e);
uint64_t follow_total_s(const struct follow *f);

size_t follow_count(const struct follow *f, enum follow_state state);
