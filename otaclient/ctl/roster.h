/*
 * roster: every ECU of the vehicle as it was last seen, from one Status answer to the next.
 *
 * An answer names only those that have reported lately, and while the asked ECU restarts there is none; the roster
 * remembers the others, and since when they are silent. Pure: the caller asks and shows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "otaclient/api/wire.h"
#include "otaclient/ctl/figures.h"

enum {
	ROSTER_ID_MAX = 256, /* bytes with the NUL; longer ids are cut */
};

enum roster_state {
	ROSTER_REPORTS,      /* it is in the last answer */
	ROSTER_RESTARTING,   /* silent since it was about to restart */
	ROSTER_SILENT,       /* it has reported before */
	ROSTER_NOT_REPORTED, /* never since we look */
	ROSTER_NOT_KNOWN,    /* the ECU that knows does not answer */
};
const char *roster_state_name(enum roster_state s); /* "RESTARTING" */

struct roster_ecu {
	char id[ROSTER_ID_MAX];
	bool reports;      /* it is in the last answer … */
	bool had_reported; /* … in the last that came, before there was none */
	bool has_reported; /* ever */
	bool is_asked;
	uint64_t seen_ms; /* in an answer; until then: of the first look */

	/* As last seen. */
	int ota_status;
	char version[STATUS_VERSION_MAX];
	char reason[OTA_ERR_MSG_MAX + 16];
	struct update_stats update;
	struct pace pace;

	/* For whoever prints lines: what the last one was about, and when. */
	unsigned long shown_stage; /* 0 = none yet */
	uint64_t shown_ms;
};

struct roster {
	struct roster_ecu *ecus;
	size_t n_ecus, cap_ecus;
	bool only_listed; /* no others than those added by roster_add() */
	bool answered;    /* the last look */
};
void roster_done(struct roster *r);
#define AUTO_ROSTER CLEANUP(roster_done)

/* Add an ECU unless it is there. 0, -ENOMEM, or -E2BIG at WIRE_ECUS_MAX. */
int roster_add(struct roster *r, const char *id, uint64_t now_ms);

/* An answer came; or none did (@status NULL). 0 or -ENOMEM; ECUs above the limit are left out. */
int roster_look(struct roster *r, const struct wire_status *status, uint64_t now_ms);

enum roster_state roster_state(const struct roster *r, const struct roster_ecu *e);
uint64_t roster_silent_s(const struct roster_ecu *e, uint64_t now_ms);

/* Does it work on something, as last seen? */
bool roster_is_at_work(int ota_status);

/* What it does, as a number that changes when a log should have a line; never 0. */
unsigned long roster_stage(const struct roster *r, const struct roster_ecu *e);
