/*
 * ecu_table: the ECUs below this one, as they last reported.
 *
 * A direct child reports itself and what is below it. Reports are not trusted: a child speaks neither for this ECU nor
 * for another direct child, an ECU below has one speaker at a time, strings are cut to fixed lengths, and the number of
 * ECUs is bounded whatever is said. Nothing here waits or knows the time: every function is told it (@now_ms,
 * clock_monotonic_ms()). Not thread safe; tracker.c has the lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "otaclient/api/wire.h"
#include "otaclient/tree/summary.h"

enum {
	/*
	 * Room for ECUs that are neither listed in available_ecu_ids nor direct children, for both of which there is
	 * always room: the lists come from our own configuration (at most 128 and 64).
	 */
	ECU_TABLE_STRANGERS_MAX = 64,
};

/* Borrowed; must outlive the table. */
struct ecu_table_config {
	struct summary_scope scope;
	const char *const *children; /* ids of the direct ones, in the order of "secondaries" */
	size_t n_children;
};

struct ecu_table;
struct ecu_table *ecu_table_new(const struct ecu_table_config *config); /* NULL: no memory */
void ecu_table_free(struct ecu_table *t);
void ecu_table_freep(struct ecu_table **t);
#define AUTO_ECU_TABLE CLEANUP(ecu_table_freep)

/*
 * What child number @child has answered to Status. Entries that it may not make are left out; entries for which there
 * is no memory are, too: the next poll brings them again. Returns how many there was no place for: children share
 * the places of ECUs that are not listed, and the one that has most of them gives one up to one that has fewer.
 */
size_t ecu_table_store(
	struct ecu_table *t, size_t child, const struct wire_status *said, uint64_t now_ms);

/*
 * @ecu_id, reached through @child, has accepted a request: it is in an update from now on, until it reports one, or
 * anything new, or TREE_FREEZE_MS have passed.
 */
void ecu_table_accept(struct ecu_table *t, size_t child, const char *ecu_id, uint64_t now_ms);

/*
 * @ecu_id, reached through @child, has accepted an abort: it is ABORTING until it reports what it is, and a request
 * that it had accepted before is none any more. One that has not reported yet stays unknown, and gets no place.
 */
void ecu_table_abort(struct ecu_table *t, size_t child, const char *ecu_id, uint64_t now_ms);

/* Has child number @child reported @ecu_id as below it, or is it that one? */
bool ecu_table_is_below(const struct ecu_table *t, size_t child, const char *ecu_id);

/* Has the child answered yet? Until then it is polled fast. */
bool ecu_table_has_answered(const struct ecu_table *t, size_t child);

/*
 * Append what was reported to the answer to Status, in the order of first contact, without ECUs that have missed
 * TREE_HIDDEN_FACTOR polls. 0 or -ENOMEM.
 */
int ecu_table_export(const struct ecu_table *t, uint64_t now_ms, struct wire_status *answer);

/* What it all means, with this ECU's own state as @own (which stands for itself; @own->known may be false). */
void ecu_table_summary(struct ecu_table *t, const struct summary_ecu *own, uint64_t now_ms,
	struct summary *ret_summary);

/* The interval at which children are polled from now on; it says when silence becomes a miss. */
void ecu_table_set_interval(struct ecu_table *t, uint64_t interval_ms);

/* The ids of the ECUs that ecu_table_summary() counts as "child in update", as "p1, p2"; cut to the buffer. */
void ecu_table_names_in_update(
	const struct ecu_table *t, uint64_t now_ms, char *ret_names, size_t size_bytes);
