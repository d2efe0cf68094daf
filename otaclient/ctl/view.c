/*
 * view: what otactl shows of an ECU's answers. Contract: view.h.
 */
#include "otaclient/ctl/view.h"

#include <inttypes.h>

#include "otaclient/ctl/columns.h"
#include "otaclient/ctl/figures.h"

enum {
	LINE_MAX_BYTES = 128, /* a row of figures */
};

const char *view_status_name(int status)
{
	const char *name = ota_status_name((enum ota_status)status);

	return name[0] ? name : "UNKNOWN";
}

const char *view_phase_name(enum update_phase phase)
{
	const char *name = update_phase_name(phase);

	return name[0] ? name : "UNKNOWN";
}

const char *view_result_name(enum api_method m, int result)
{
	static const char *const names[] = {"NO_FAILURE", "RECOVERABLE", "UNRECOVERABLE"};
	static const char *const abort_names[] = {"ABORT_NO_FAILURE", "ABORT_FAILURE"};

	if (m == API_ABORT)
		return result == 0 || result == 1 ? abort_names[result] : "UNKNOWN";
	return result >= 0 && result <= 2 ? names[result] : "UNKNOWN";
}

void view_row(FILE *out, const char *label, const char *text)
{
	if (!text[0])
		return;
	fprintf(out, "  %-18s", label);
	columns_print(out, text);
	fputc('\n', out);
}

static void update_rows(FILE *out, const struct wire_status_ecu *e)
{
	char line[LINE_MAX_BYTES], a[FIGURES_TEXT_MAX], b[FIGURES_TEXT_MAX];
	const struct update_stats *u = &e->update;

	view_row(out, "new version", u->version);
	view_row(out, "phase", view_phase_name(u->phase));
	snprintf(line, sizeof(line), "%u %%, %s of %s", figures_percent(u),
		figures_size((double)u->processed_files_size, a),
		figures_size((double)u->total_files_size, b));
	view_row(out, "in place", u->total_files_size ? line : "");
	snprintf(line, sizeof(line), "%s%s%s, %" PRIu64 " of %" PRIu64 " files",
		figures_size((double)u->downloaded_bytes, a),
		u->total_download_bytes ? " of up to " : "",
		u->total_download_bytes ? figures_size((double)u->total_download_bytes, b) : "",
		u->downloaded_files_num, u->total_download_files_num);
	view_row(out, "downloaded", u->downloaded_bytes ? line : "");
	view_row(out, "to write",
		u->total_write_bytes ? figures_size((double)u->total_write_bytes, a) : "");
	snprintf(line, sizeof(line), "%" PRIu64, u->downloading_errors);
	view_row(out, "download errors", u->downloading_errors ? line : "");
	view_row(out, "running for", figures_time(e->times.total_s, a));
	snprintf(line, sizeof(line), "about %s", figures_time(u->remaining_s, a));
	view_row(out, "remaining", u->remaining_s ? line : "");
}

/* While something goes on, the field for the reason holds a remark on it: docs/api.md. */
static bool is_going_on(int status)
{
	return status == STATUS_UPDATING || status == STATUS_ROLLBACKING;
}

static void ecu_block(FILE *out, const struct wire_status_ecu *e)
{
	columns_print(out, e->ecu_id);
	fputc('\n', out);
	view_row(out, "status", view_status_name(e->ota_status));
	view_row(out, "firmware version",
		e->firmware_version[0] ? e->firmware_version : "not known");
	view_row(out, "client version", e->otaclient_version);
	view_row(out, "release", e->release_name);
	view_row(out, "release id", e->release_id);
	view_row(out, "image id", e->image_id);
	if (e->ota_status == STATUS_UPDATING)
		update_rows(out, e);
	view_row(out, is_going_on(e->ota_status) ? "remark" : "failure", e->failure_reason);
	if (e->failure_type != API_NO_FAILURE)
		view_row(out, "failure type", view_result_name(API_STATUS, e->failure_type));
}

void view_status(FILE *out, const struct wire_status *status)
{
	const char *gap = "";

	for (size_t i = 0; i < status->n_ecus; i++) {
		fputs(gap, out);
		ecu_block(out, &status->ecus[i]);
		gap = "\n";
	}
	for (size_t i = 0; i < status->n_available; i++) {
		if (wire_status_find(status, status->available[i]))
			continue;
		fputs(gap, out);
		columns_print(out, status->available[i]);
		fputc('\n', out);
		view_row(out, "status", "has not reported");
		gap = "\n";
	}
}

void view_answer(FILE *out, enum api_method m, const struct wire_answer *answer)
{
	for (size_t i = 0; i < answer->n_ecus; i++) {
		const struct wire_answer_ecu *e = &answer->ecus[i];

		columns_print(out, e->ecu_id);
		fputs(e->result == API_NO_FAILURE ? ": accepted" : ": refused", out);
		if (e->result != API_NO_FAILURE && m != API_ABORT)
			fprintf(out, " (%s)", view_result_name(m, e->result));
		if (e->message[0]) {
			fputs(": ", out);
			columns_print(out, e->message);
		}
		fputc('\n', out);
	}
}
