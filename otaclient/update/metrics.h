/*
 * metrics: the one record that a log server gets about one update, as a flat JSON object. Pure. docs/formats.md,
 * "Records of the log server".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "otaclient/proxy/proxy_counts.h"
#include "otaclient/status/status.h"

/* Strings: "" = not known. All borrowed. */
struct metrics {
	const struct status_snapshot *now; /* with the last counters */
	const char *ecu_id, *session_id, *request_id;
	const char *standby_version; /* before the update touched it */
	const char *target_version;
	const char *bootloader;
	bool in_place;                           /* the standby slot's file system was kept */
	bool proxy_keeps;                        /* the local proxy keeps what passes */
	const struct proxy_counts *proxy_counts; /* NULL = not known, and not in the record */
	/* Of the image; 0 = its lists were not read. */
	uint64_t n_directories, n_symlinks;
	/* The session's end: why it failed (NULL: it did not), and the time; @restarts: a restart comes next. */
	const struct ota_err *failure;
	enum ota_status failed_status; /* STATUS_FAILURE or STATUS_ABORTED */
	bool restarts;
	uint64_t now_ms; /* monotonic, as the status' phase_began_ms */
};

/* Append the object. 0 or -ENOMEM. */
int metrics_record(const struct metrics *m, struct buf *out);
