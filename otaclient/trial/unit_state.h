/*
 * unit_state: asks systemd how a unit is doing.
 *
 * Used by one thread. Where no systemd runs there is nothing to ask.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

enum {
	UNIT_NAME_MAX_BYTES = 256, /* with the NUL, as systemd has it */
	UNIT_WORD_MAX = 32,        /* its words for states are shorter */
	UNIT_CALL_MS = 5000,       /* for an answer */
};

/* In systemd's words, for example "loaded", "active", "running". */
struct unit_state {
	char load[UNIT_WORD_MAX], active[UNIT_WORD_MAX], sub[UNIT_WORD_MAX];
	char job[UNIT_WORD_MAX];  /* what is about to be done with it: "start", …; "" = nothing */
	uint32_t n_restarts;      /* of a service, by systemd itself; 0 for other units */
	uint64_t active_since_ms; /* monotonic; meaningful while it is active */
};

struct unit_bus;

/*
 * @address: a D-Bus address; NULL = the machine's systemd, then -ENOENT without a sentence if it has none. Else 0 or a
 * failure with a sentence.
 */
int unit_bus_open(const char *address, struct unit_bus **ret_bus, struct ota_err *err);
void unit_bus_free(struct unit_bus *b);
void unit_bus_freep(struct unit_bus **b);
#define AUTO_UNIT_BUS CLEANUP(unit_bus_freep)

/* A unit that does not exist has the load state "not-found". -EINVAL: @name is no name of a unit. */
int unit_bus_state(
	struct unit_bus *b, const char *name, struct unit_state *ret_state, struct ota_err *err);

/* One unit that is being started or stopped now; "" = none. */
int unit_bus_running_job(
	struct unit_bus *b, char ret_name[UNIT_NAME_MAX_BYTES], struct ota_err *err);
