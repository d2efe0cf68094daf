/*
 * view_json: what otactl prints of an ECU's answers for scripts. Contract: view_json.h.
 */
#include "otaclient/ctl/view_json.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "otaclient/ctl/view.h"

static void json_text(FILE *out, const char *before, const char *key, const char *text)
{
	AUTO_BUF struct buf quoted = {0};

	/* Every string in an answer is UTF-8; only memory can be short. */
	if (json_put_string(&quoted, text, strlen(text)) < 0)
		quoted.len_bytes = 0;
	fprintf(out, "%s\"%s\": %s", before, key, quoted.len_bytes ? buf_str(&quoted) : "null");
}

static void json_number(FILE *out, const char *key, uint64_t n)
{
	fprintf(out, ", \"%s\": %" PRIu64, key, n);
}

static void update_json(FILE *out, const struct wire_status_ecu *e, bool durations)
{
	const struct update_stats *u = &e->update;

	fputs(", \"update_status\": ", out);
	if (e->ota_status != STATUS_UPDATING) {
		fputs("null", out);
		return;
	}
	json_text(out, "{", "update_firmware_version", u->version);
	json_text(out, ", ", "phase", view_phase_name(u->phase));
	json_number(out, "total_files_size_uncompressed", u->total_files_size);
	json_number(out, "total_files_num", u->total_files_num);
	json_number(out, "update_start_timestamp", u->start_unix_s);
	json_number(out, "total_download_files_num", u->total_download_files_num);
	json_number(out, "total_download_files_size", u->total_download_files_size);
	json_number(out, "downloaded_files_num", u->downloaded_files_num);
	json_number(out, "downloaded_bytes", u->downloaded_bytes);
	json_number(out, "downloaded_files_size", u->downloaded_files_size);
	json_number(out, "downloading_errors", u->downloading_errors);
	json_number(out, "total_remove_files_num", u->total_remove_files_num);
	json_number(out, "removed_files_num", u->removed_files_num);
	json_number(out, "processed_files_num", u->processed_files_num);
	json_number(out, "processed_files_size", u->processed_files_size);
	json_number(out, "total_download_bytes", u->total_download_bytes);
	json_number(out, "total_write_bytes", u->total_write_bytes);
	json_number(out, "remaining_seconds", durations ? u->remaining_s : 0);
	json_number(out, "total_elapsed_time", durations ? e->times.total_s : 0);
	json_number(out, "delta_generating_elapsed_time", durations ? e->times.delta_s : 0);
	json_number(out, "downloading_elapsed_time", durations ? e->times.download_s : 0);
	json_number(out, "update_applying_elapsed_time", durations ? e->times.apply_s : 0);
	fputc('}', out);
}

static void ecu_json(FILE *out, const struct wire_status_ecu *e, bool durations)
{
	json_text(out, "{", "ecu_id", e->ecu_id);
	json_text(out, ", ", "firmware_version", e->firmware_version);
	json_text(out, ", ", "otaclient_version", e->otaclient_version);
	json_text(out, ", ", "release_name", e->release_name);
	json_text(out, ", ", "release_id", e->release_id);
	json_text(out, ", ", "image_id", e->image_id);
	json_text(out, ", ", "ota_status", view_status_name(e->ota_status));
	json_text(out, ", ", "failure_type", view_result_name(API_STATUS, e->failure_type));
	json_text(out, ", ", "failure_reason", e->failure_reason);
	json_text(out, ", ", "failure_traceback", e->failure_traceback);
	update_json(out, e, durations);
	fputc('}', out);
}

/* Without the closing brace, so that more can follow. */
static void open_status(FILE *out, const struct wire_status *status, bool durations)
{
	fputs("{\"available_ecu_ids\": [", out);
	for (size_t i = 0; i < status->n_available; i++) {
		AUTO_BUF struct buf quoted = {0};

		if (json_put_string(&quoted, status->available[i], strlen(status->available[i])) ==
			0)
			fprintf(out, "%s%s", i ? ", " : "", buf_str(&quoted));
	}
	fputs("], \"ecus\": [", out);
	for (size_t i = 0; i < status->n_ecus; i++) {
		fputs(i ? ", " : "", out);
		ecu_json(out, &status->ecus[i], durations);
	}
	fputc(']', out);
}

void view_json_status(FILE *out, const struct wire_status *status)
{
	open_status(out, status, true);
	fputs("}\n", out);
}

void view_json_look(FILE *out, const struct wire_status *status, const struct roster *r,
	const char *reason, bool durations, uint64_t now_ms)
{
	const char *before = "{";

	open_status(out, status, durations);
	fputs(", \"silent\": [", out);
	for (size_t i = 0; i < r->n_ecus; i++) {
		const struct roster_ecu *e = &r->ecus[i];

		if (e->reports)
			continue;
		json_text(out, before, "ecu_id", e->id);
		json_text(out, ", ", "state", roster_state_name(roster_state(r, e)));
		json_number(out, "silent_s", durations ? roster_silent_s(e, now_ms) : 0);
		fputc('}', out);
		before = ", {";
	}
	fputc(']', out);
	if (reason)
		json_text(out, ", ", "error", reason);
	else
		fputs(", \"error\": null", out);
	fputs("}\n", out);
}

void view_json_end(FILE *out, const struct wire_status *status, const struct follow *f)
{
	open_status(out, status, true);
	fputs(", \"results\": [", out);
	for (size_t i = 0; i < f->n_ecus; i++) {
		const struct follow_ecu *e = &f->ecus[i];

		json_text(out, i ? ", {" : "{", "ecu_id", e->ecu_id);
		json_text(out, ", ", "result", e->state == FOLLOW_DONE ? "DONE" : "FAILED");
		json_text(out, ", ", "message", e->state == FOLLOW_DONE ? "" : e->reason);
		json_number(out, "elapsed_s", follow_elapsed_s(f, e));
		fputc('}', out);
	}
	fputs("]}\n", out);
}

void view_json_answer(FILE *out, enum api_method m, const struct wire_answer *answer)
{
	fputs("{\"ecus\": [", out);
	for (size_t i = 0; i < answer->n_ecus; i++) {
		const struct wire_answer_ecu *e = &answer->ecus[i];

		json_text(out, i ? ", {" : "{", "ecu_id", e->ecu_id);
		json_text(out, ", ", "result", view_result_name(m, e->result));
		json_text(out, ", ", "message", e->message);
		fputc('}', out);
	}
	fputs("]}\n", out);
}
