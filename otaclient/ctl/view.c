/*
 * view: what otactl shows of an ECU's answers. Contract: view.h.
 */
#include "otaclient/ctl/view.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"

enum {
	BAR_COLUMNS = 20,
	LINE_MAX_BYTES = 1024,
};

static const char *status_text(int status)
{
	const char *name = ota_status_name((enum ota_status)status);

	return name[0] ? name : "UNKNOWN";
}

static const char *phase_text(enum update_phase phase)
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

void view_text(FILE *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		/* C2 80…9F are control characters too, some terminals obey them */
		if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
			p++;
			fputc('?', out);
		} else {
			fputc(*p < 0x20 || *p == 0x7f ? '?' : *p, out);
		}
	}
}

/* --- for people --- */

/* The figure with its unit, three digits: "12.3 MiB". */
static const char *size_text(double bytes, char ret_text[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t u = 0;

	for (; bytes >= 1000 && u + 1 < ARRAY_SIZE(units); u++)
		bytes /= 1024;
	snprintf(ret_text, 32, u > 0 && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return ret_text;
}

static const char *time_text(uint64_t s, char ret_text[32])
{
	if (s < 60)
		snprintf(ret_text, 32, "%" PRIu64 " s", s);
	else if (s < 3600)
		snprintf(ret_text, 32, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else
		snprintf(ret_text, 32, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	return ret_text;
}

/* One row of a block; nothing if there is nothing to say. */
static void row(FILE *out, const char *label, const char *text)
{
	if (!text[0])
		return;
	fprintf(out, "  %-18s", label);
	view_text(out, text);
	fputc('\n', out);
}

unsigned view_percent(const struct update_stats *u)
{
	if (u->total_files_size == 0)
		return 0;
	if (u->processed_files_size >= u->total_files_size)
		return 100;
	return (unsigned)((double)u->processed_files_size * 100 / (double)u->total_files_size);
}

static void update_rows(FILE *out, const struct wire_status_ecu *e)
{
	char line[LINE_MAX_BYTES], a[32], b[32];
	const struct update_stats *u = &e->update;

	row(out, "new version", u->version);
	row(out, "phase", phase_text(u->phase));
	snprintf(line, sizeof(line), "%u %%, %s of %s", view_percent(u),
		size_text((double)u->processed_files_size, a),
		size_text((double)u->total_files_size, b));
	row(out, "in place", u->total_files_size ? line : "");
	snprintf(line, sizeof(line), "%s, %" PRIu64 " of %" PRIu64 " files",
		size_text((double)u->downloaded_bytes, a), u->downloaded_files_num,
		u->total_download_files_num);
	row(out, "downloaded", u->downloaded_bytes ? line : "");
	snprintf(line, sizeof(line), "%" PRIu64, u->downloading_errors);
	row(out, "download errors", u->downloading_errors ? line : "");
	row(out, "running for", time_text(e->times.total_s, a));
}

static void ecu_block(FILE *out, const struct wire_status_ecu *e)
{
	view_text(out, e->ecu_id);
	fputc('\n', out);
	row(out, "status", status_text(e->ota_status));
	row(out, "firmware version", e->firmware_version[0] ? e->firmware_version : "not known");
	row(out, "client version", e->otaclient_version);
	row(out, "release", e->release_name);
	row(out, "release id", e->release_id);
	row(out, "image id", e->image_id);
	if (e->ota_status == STATUS_UPDATING)
		update_rows(out, e);
	row(out, "failure", e->failure_reason);
	if (e->failure_type != API_NO_FAILURE)
		row(out, "failure type", view_result_name(API_STATUS, e->failure_type));
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
		view_text(out, status->available[i]);
		fputc('\n', out);
		row(out, "status", "has not reported");
		gap = "\n";
	}
}

void view_answer(FILE *out, enum api_method m, const struct wire_answer *answer)
{
	for (size_t i = 0; i < answer->n_ecus; i++) {
		const struct wire_answer_ecu *e = &answer->ecus[i];

		view_text(out, e->ecu_id);
		fputs(e->result == API_NO_FAILURE ? ": accepted" : ": refused", out);
		if (e->result != API_NO_FAILURE && m != API_ABORT)
			fprintf(out, " (%s)", view_result_name(m, e->result));
		if (e->message[0]) {
			fputs(": ", out);
			view_text(out, e->message);
		}
		fputc('\n', out);
	}
}

/* --- while something runs --- */

void view_rate_look(struct view_rate *rate, uint64_t downloaded_bytes, uint64_t now_ms)
{
	const double memory = 0.8; /* weight of the past per look; a look is about a second */
	double now_rate;

	if (rate->at_ms == 0 || downloaded_bytes < rate->bytes) {
		*rate = (struct view_rate){.at_ms = now_ms, .bytes = downloaded_bytes};
		return;
	}
	if (now_ms <= rate->at_ms)
		return;
	now_rate = (double)(downloaded_bytes - rate->bytes) * 1000 / (double)(now_ms - rate->at_ms);
	rate->bytes_per_s = rate->bytes_per_s > 0
				    ? memory * rate->bytes_per_s + (1 - memory) * now_rate
				    : now_rate;
	rate->at_ms = now_ms;
	rate->bytes = downloaded_bytes;
}

static void put_bar(FILE *out, unsigned percent)
{
	unsigned full = percent * BAR_COLUMNS / 100;

	fputs(" [", out);
	for (unsigned i = 0; i < BAR_COLUMNS; i++)
		fputc(i < full ? '#' : '.', out);
	fputc(']', out);
}

/* Compressed bytes come in, sizes are of plain files: the time left is measured in files' bytes. */
static void put_rate(FILE *out, const struct update_stats *u, const struct view_rate *rate)
{
	uint64_t missing = u->total_download_files_size > u->downloaded_files_size
				   ? u->total_download_files_size - u->downloaded_files_size
				   : 0;
	double plain_per_wire = 1;
	char text[32];

	if (u->phase != PHASE_DOWNLOADING_OTA_FILES || !rate || rate->bytes_per_s < 1)
		return;
	fprintf(out, ", %s/s", size_text(rate->bytes_per_s, text));
	if (u->downloaded_bytes > 0 && u->downloaded_files_size > 0)
		plain_per_wire = (double)u->downloaded_files_size / (double)u->downloaded_bytes;
	if (missing > 0)
		fprintf(out, ", %s left",
			time_text((uint64_t)((double)missing /
					     (rate->bytes_per_s * plain_per_wire)),
				text));
}

static void put_progress(FILE *out, const struct wire_status_ecu *e, const struct view_rate *rate,
	bool bar)
{
	const struct update_stats *u = &e->update;
	unsigned percent = view_percent(u);
	char a[32], b[32];

	view_text(out, e->ecu_id);
	fprintf(out, ": %s", e->ota_status == STATUS_UPDATING ? phase_text(u->phase)
							      : status_text(e->ota_status));
	if (e->ota_status != STATUS_UPDATING || u->total_files_size == 0)
		return;
	if (bar)
		put_bar(out, percent);
	fprintf(out, " %u %%, %s of %s", percent, size_text((double)u->processed_files_size, a),
		size_text((double)u->total_files_size, b));
	put_rate(out, u, rate);
}

/* @text's first @width columns; a character counts as one, which is right for all but wide ones. */
static size_t bytes_of_columns(const char *text, unsigned width)
{
	size_t n = 0;

	for (unsigned columns = 0; text[n]; n++)
		if (((unsigned char)text[n] & 0xc0) != 0x80 && columns++ == width)
			break;
	return n;
}

void view_progress(FILE *out, const struct wire_status_ecu *ecu, const struct view_rate *rate,
	unsigned width)
{
	char line[LINE_MAX_BYTES] = "";
	FILE *to;

	if (width == 0) {
		put_progress(out, ecu, rate, false);
		return;
	}
	to = fmemopen(line, sizeof(line) - 1, "w");
	if (!to)
		return;
	put_progress(to, ecu, rate, true);
	fclose(to);
	fwrite(line, 1, bytes_of_columns(line, width), out);
}

/* --- for scripts --- */

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

static void update_json(FILE *out, const struct wire_status_ecu *e)
{
	const struct update_stats *u = &e->update;

	fputs(", \"update_status\": ", out);
	if (e->ota_status != STATUS_UPDATING) {
		fputs("null", out);
		return;
	}
	json_text(out, "{", "update_firmware_version", u->version);
	json_text(out, ", ", "phase", phase_text(u->phase));
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
	json_number(out, "total_elapsed_time", e->times.total_s);
	json_number(out, "delta_generating_elapsed_time", e->times.delta_s);
	json_number(out, "downloading_elapsed_time", e->times.download_s);
	json_number(out, "update_applying_elapsed_time", e->times.apply_s);
	fputc('}', out);
}

static void ecu_json(FILE *out, const struct wire_status_ecu *e)
{
	json_text(out, "{", "ecu_id", e->ecu_id);
	json_text(out, ", ", "firmware_version", e->firmware_version);
	json_text(out, ", ", "otaclient_version", e->otaclient_version);
	json_text(out, ", ", "release_name", e->release_name);
	json_text(out, ", ", "release_id", e->release_id);
	json_text(out, ", ", "image_id", e->image_id);
	json_text(out, ", ", "ota_status", status_text(e->ota_status));
	json_text(out, ", ", "failure_type", view_result_name(API_STATUS, e->failure_type));
	json_text(out, ", ", "failure_reason", e->failure_reason);
	json_text(out, ", ", "failure_traceback", e->failure_traceback);
	update_json(out, e);
	fputc('}', out);
}

void view_status_json(FILE *out, const struct wire_status *status)
{
	fputs("{\"available_ecu_ids\": [", out);
	for (size_t i = 0; i < status->n_available; i++) {
		AUTO_BUF struct buf quoted = {0};

		if (json_put_string(&quoted, status->available[i], strlen(status->available[i])) == 0)
			fprintf(out, "%s%s", i ? ", " : "", buf_str(&quoted));
	}
	fputs("], \"ecus\": [", out);
	for (size_t i = 0; i < status->n_ecus; i++) {
		fputs(i ? ", " : "", out);
		ecu_json(out, &status->ecus[i]);
	}
	fputs("]}\n", out);
}

void view_answer_json(FILE *out, enum api_method m, const struct wire_answer *answer)
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
