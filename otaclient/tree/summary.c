/*
 * summary: what the states of all ECUs of a tree mean together. Contract: summary.h.
 */
#include "otaclient/tree/summary.h"

#include <string.h>

#include "otaclient/status/status.h"

/* An ECU that accepted counts although it is silent: it may be on its way down already. */
enum summary_state summary_state_of(const struct summary_ecu *ecu, uint64_t now_ms)
{
	if (ecu->accepted)
		return SUMMARY_IN_UPDATE;
	if (!ecu->known)
		return SUMMARY_SILENT;
	if (now_ms > ecu->reported_ms && now_ms - ecu->reported_ms > TREE_LOST_MS)
		return SUMMARY_LOST;
	switch (ecu->ota_status) {
	case STATUS_UPDATING:
	case STATUS_CLIENT_UPDATING:
	case STATUS_ABORTING:
		return SUMMARY_IN_UPDATE;
	case STATUS_FAILURE:
		return SUMMARY_FAILED;
	case STATUS_SUCCESS:
		return SUMMARY_SUCCESS;
	default:
		return SUMMARY_OTHER;
	}
}

static bool needs_network(const struct summary_ecu *ecu)
{
	return ecu->accepted ||
	       (ecu->ota_status == STATUS_UPDATING && ecu->phase >= PHASE_INITIALIZING &&
		       ecu->phase <= PHASE_DOWNLOADING_OTA_FILES);
}

static bool lists_itself_only(const struct summary_scope *scope)
{
	for (size_t i = 0; i < scope->n_available; i++)
		if (strcmp(scope->available[i], scope->own_id) != 0)
			return false;
	return true;
}

bool summary_counts(const struct summary_scope *scope, const char *ecu_id)
{
	if (lists_itself_only(scope))
		return true;
	for (size_t i = 0; i < scope->n_available; i++)
		if (strcmp(scope->available[i], ecu_id) == 0)
			return true;
	return false;
}

static bool succeeded(
	const char *ecu_id, const struct summary_ecu *ecus, size_t n_ecus, uint64_t now_ms)
{
	for (size_t i = 0; i < n_ecus; i++)
		if (strcmp(ecus[i].ecu_id, ecu_id) == 0)
			return summary_state_of(&ecus[i], now_ms) == SUMMARY_SUCCESS;
	return false;
}

/* Nobody who is listed is missing: a listed ECU may have no entry at all. */
static bool all_succeeded(const struct summary_scope *scope, const struct summary_ecu *ecus,
	size_t n_ecus, uint64_t now_ms)
{
	for (size_t i = 0; i < scope->n_available; i++)
		if (!succeeded(scope->available[i], ecus, n_ecus, now_ms))
			return false;
	return true;
}

void summary_make(const struct summary_scope *scope, const struct summary_ecu *ecus, size_t n_ecus,
	uint64_t now_ms, struct summary *ret_summary)
{
	struct summary s = {0};
	size_t n_counted = 0;

	for (size_t i = 0; i < n_ecus; i++) {
		const struct summary_ecu *e = &ecus[i];
		bool is_own = strcmp(e->ecu_id, scope->own_id) == 0;
		enum summary_state state = summary_state_of(e, now_ms);

		if (!summary_counts(scope, e->ecu_id))
			continue;
		n_counted++;
		s.n[state]++;
		if (state != SUMMARY_IN_UPDATE)
			continue;
		s.in_update = true;
		s.child_in_update |= !is_own;
		s.needs_network |= needs_network(e);
		s.child_needs_network |= !is_own && needs_network(e);
	}
	s.all_success = n_counted > 0 && s.n[SUMMARY_SUCCESS] == n_counted &&
			all_succeeded(scope, ecus, n_ecus, now_ms);
	*ret_summary = s;
}
