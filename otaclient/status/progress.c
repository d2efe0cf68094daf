/*
 * progress: when a line is due, and what it says. Contract: progress.h.
 */
#include "otaclient/status/progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "otaclient/status/text.h"

enum {
	VERSION_TEXT_MAX = 256, /* any text may be a version */
};

/* An update is known by the time at which it began; another one starts the minute anew. */
static bool is_due(struct progress *p, const struct status_snapshot *now, uint64_t now_ms)
{
	const struct update_stats *u = &now->update;

	if (now->ota_status != STATUS_UPDATING && now->ota_status != STATUS_ABORTING) {
		p->began_ms = 0;
		return false;
	}
	if (p->began_ms != u->phase_began_ms[PHASE_INITIALIZING]) {
		p->began_ms = u->phase_began_ms[PHASE_INITIALIZING];
		p->next_ms = p->began_ms + PROGRESS_INTERVAL_MS;
	}
	if (now_ms < p->next_ms)
		return false;
	p->next_ms = now_ms + PROGRESS_INTERVAL_MS;
	return true;
}

static void put_text(
	const struct status_snapshot *now, uint64_t now_ms, char ret_text[PROGRESS_TEXT_MAX])
{
	const struct update_stats *u = &now->update;
	struct update_times times;
	char version[VERSION_TEXT_MAX];

	text_put(version, sizeof(version), u->version);
	update_stats_times(u, now_ms, &times);
	snprintf(ret_text, PROGRESS_TEXT_MAX,
		"%s to version \"%s\" for %" PRIu64 " s, %s: processed %" PRIu64 " of %" PRIu64
		" files, %" PRIu64 " of %" PRIu64 " bytes; downloaded %" PRIu64 " of %" PRIu64
		" files, %" PRIu64 " of %" PRIu64 " bytes (%" PRIu64 " on the wire), %" PRIu64
		" errors; removed %" PRIu64 " of %" PRIu64 " files; kept %" PRIu64
		", moved %" PRIu64 ", copied %" PRIu64 ", fetched %" PRIu64 " files; wrote %" PRIu64
		" bytes",
		ota_status_name(now->ota_status), version, times.total_s,
		update_phase_name(u->phase), u->processed_files_num, u->total_files_num,
		u->processed_files_size, u->total_files_size, u->downloaded_files_num,
		u->total_download_files_num, u->downloaded_files_size, u->total_download_files_size,
		u->downloaded_bytes, u->downloading_errors, u->removed_files_num,
		u->total_remove_files_num, u->kept_files, u->moved_files, u->copied_files,
		u->fetched_files, u->written_bytes);
}

bool progress_tick(struct progress *p, struct status *status, char ret_text[PROGRESS_TEXT_MAX])
{
	uint64_t now_ms = clock_monotonic_ms();
	struct status_snapshot now;

	status_get(status, &now);
	if (!is_due(p, &now, now_ms))
		return false;
	put_text(&now, now_ms, ret_text);
	return true;
}
