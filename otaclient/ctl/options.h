/*
 * options: otactl's command line. One table says which command takes what; parser and --help come from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/api/peer.h"

enum ctl_command {
	CTL_STATUS,
	CTL_UPDATE,
	CTL_ABORT,
	CTL_ROLLBACK,
	CTL_HISTORY,
	CTL_DOCTOR,
	CTL_COMMANDS,
};

/* Strings are borrowed from argv, or later from an answer. */
struct options {
	enum ctl_command command;
	struct peer_address address;
	char *url, *version, *cookies;
	const char *file; /* NULL = the machine's own */
	const char *ecu_ids[WIRE_ECUS_MAX];
	size_t n_ecu_ids;
	bool all; /* every ECU of the vehicle instead of ecu_ids */
	uint32_t timeout_s;
	uint64_t max_download_bytes; /* with @limited */
	bool json, watch, wait, dry_run, limited;
};

enum options_result {
	OPTIONS_OK,
	OPTIONS_WRONG, /* err says why */
	OPTIONS_SHOWN, /* the help or the version is on stdout, and that was it */
};

enum options_result options_parse(struct options *o, int argc, char **argv, struct ota_err *err);
