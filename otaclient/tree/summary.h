/*
 * summary: what the states of all ECUs of a tree mean together: may this one restart, must its proxy run, is the
 * vehicle done?
 *
 * Pure: what is known goes in, the answer comes out. Who tells: tracker.h. docs/api.md, "ECUs below", says the same
 * for those who ask.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The times of a tree, which parents and children of both clients share. */
enum {
	TREE_POLL_FIRST_MS = 1000,     /* until a child has answered once */
	TREE_POLL_ACTIVE_MS = 1000,    /* while any ECU is in an update */
	TREE_POLL_IDLE_MS = 10 * 1000, /* otherwise */
	TREE_HIDDEN_FACTOR = 3,        /* polls missed until an ECU is left out of the answer */
	TREE_FREEZE_MS = 60 * 1000,    /* how long an accepted request counts before it shows */
	TREE_LOST_MS = 1200 * 1000,    /* an ECU that was silent for longer holds up nobody */
};

/* What is known of one ECU; this one is an entry like the others, which has just reported. */
struct summary_ecu {
	const char *ecu_id;
	bool known;           /* it has reported; false: the fields below hold nothing */
	uint64_t reported_ms; /* when, by clock_monotonic_ms() */
	int ota_status;       /* enum ota_status, or a newer peer's number */
	int phase;            /* enum update_phase, 〃; meaningful while UPDATING */
	/* It has accepted a request that its reports do not show yet; whatever they say, it is in an update. */
	bool accepted;
};

enum summary_state {
	SUMMARY_SILENT,    /* has never reported */
	SUMMARY_LOST,      /* not for TREE_LOST_MS */
	SUMMARY_IN_UPDATE, /* UPDATING, CLIENT_UPDATING, ABORTING, or accepted */
	SUMMARY_FAILED,    /* FAILURE */
	SUMMARY_SUCCESS,   /* SUCCESS */
	SUMMARY_OTHER,     /* anything else: INITIALIZED, ABORTED, … */
	SUMMARY_STATE_COUNT,
};
enum summary_state summary_state_of(const struct summary_ecu *ecu, uint64_t now_ms);

struct summary {
	size_t n[SUMMARY_STATE_COUNT]; /* ECUs that count, by state */
	bool in_update;                /* some ECU is */
	bool child_in_update;          /* … other than this one: do not restart now */
	bool needs_network;            /* some ECU is UPDATING and not past its downloads */
	bool child_needs_network; /* … other than this one: its downloads come through here */
	bool all_success;         /* every ECU that counts, and none is missing */
};

/*
 * Which ECUs count: those in @available, which is available_ecu_ids. An ECU whose list names nobody but itself is one
 * that no agent asks: there, every ECU counts.
 */
struct summary_scope {
	const char *own_id;
	const char *const *available;
	size_t n_available;
};
bool summary_counts(const struct summary_scope *scope, const char *ecu_id);

void summary_make(const struct summary_scope *scope, const struct summary_ecu *ecus, size_t n_ecus,
	uint64_t now_ms, struct summary *ret_summary);
