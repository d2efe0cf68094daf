/*
 * status: what this ECU is doing, for everyone who asks. One object, one lock, no I/O under it.
 *
 * The updater thread writes, the API reads copies. What it holds is derived from what booted and what was
 * measured; failing to report never changes an outcome.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "otaclient/status/estimate.h"
#include "otaclient/status/status_store.h"

/* The numbers are the API's UpdatePhase. */
enum update_phase {
	PHASE_INITIALIZING = 0,
	PHASE_PROCESSING_METADATA = 1,
	PHASE_CALCULATING_DELTA = 2,
	PHASE_DOWNLOADING_OTA_FILES = 3,
	PHASE_APPLYING_UPDATE = 4,
	PHASE_PROCESSING_POSTUPDATE = 5,
	PHASE_FINALIZING_UPDATE = 6,
	PHASE_DOWNLOADING_OTA_CLIENT = 7,
	PHASE_COUNT,
};
const char *update_phase_name(enum update_phase p); /* "PROCESSING_METADATA" */

/* What the plan says of the work, and what was measured until it was made. */
struct plan_figures {
	uint64_t made_ms;        /* monotonic; 0 = there is no plan yet */
	uint64_t received_bytes; /* of downloaded_bytes, by then */
	struct workload work;
	struct sample net, disk;
};

/* The API's UpdateStatus; sizes in bytes, plain unless said otherwise. */
struct update_stats {
	char version[STATUS_VERSION_MAX]; /* requested */
	uint64_t total_files_size, total_files_num;
	uint64_t start_unix_s;
	enum update_phase phase;
	uint64_t total_download_files_num, total_download_files_size;
	uint64_t downloaded_files_num, downloaded_bytes /* on the wire */, downloaded_files_size;
	uint64_t downloading_errors;
	uint64_t total_remove_files_num, removed_files_num;
	uint64_t processed_files_num, processed_files_size;

	/* Ours, for otactl and the demo: where the contents came from. */
	uint64_t kept_files, moved_files, copied_files, fetched_files;
	uint64_t kept_bytes, moved_bytes, copied_bytes, fetched_bytes;
	uint64_t written_bytes; /* content bytes written to the standby slot */
	struct plan_figures planned;

	/* Of these, for whoever asks; 0 = not known yet. Filled where an answer is made or read (wire). */
	uint64_t total_download_bytes, total_write_bytes, remaining_s;

	/* monotonic ms at which each phase began; 0 = not yet */
	uint64_t phase_began_ms[PHASE_COUNT];
};

/* A consistent copy of everything that the API shows for this ECU. */
struct status_snapshot {
	bool known; /* false until the boot controller has started: the API answers UNAVAILABLE */
	enum ota_status ota_status;
	char firmware_version[STATUS_VERSION_MAX];
	struct release_detail release;
	bool has_failure;
	bool failure_is_recoverable;
	/* "E203: …", "" = none; while there is no failure, a remark on what is under way */
	char failure_reason[OTA_ERR_MSG_MAX + 16];
	struct update_stats update; /* meaningful while ota_status is STATUS_UPDATING */
};

struct status *status_new(void);
void status_free(struct status *s);

void status_get(struct status *s, struct status_snapshot *ret_snapshot);

/* At start, once the boot controller knows what booted. */
void status_set_booted(struct status *s, enum ota_status stored, const char *firmware_version,
	const struct release_detail *release);
void status_set_live(struct status *s, enum ota_status live);
void status_set_failure(struct status *s, enum ota_status live, const struct ota_err *err);

/* Begin a session: live UPDATING, stats cleared, failure reset. */
void status_begin_update(struct status *s, const char *version);
/* Begin a rollback: live ROLLBACKING, failure reset. */
void status_begin_rollback(struct status *s);
/* After status_set_booted(): what it said, UPDATING or ROLLBACKING, goes on until the new system is committed. */
void status_begin_trial(struct status *s);
void status_set_phase(struct status *s, enum update_phase phase);
/* A sentence on what is under way, for whoever watches; until the next session begins or it fails. */
void status_set_remark(struct status *s, const char *sentence);

/* Change the counters under the lock: @change gets the live stats and must be quick. */
void status_change(
	struct status *s, void (*change)(struct update_stats *u, const void *arg), const void *arg);

/* Seconds spent so far as docs/api.md defines them. */
struct update_times {
	uint64_t total_s, delta_s, download_s, apply_s;
};
void update_stats_times(
	const struct update_stats *u, uint64_t now_ms, struct update_times *ret_times);
