/*
 * forecast_view: a forecast as a block of lines, or as one object. Contract: forecast_view.h.
 */
#include "otaclient/ctl/forecast_view.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/codec/json.h"
#include "otaclient/ctl/columns.h"
#include "otaclient/ctl/figures.h"
#include "otaclient/ctl/view.h"

enum {
	LINE_MAX_BYTES = 160,
};

static void action_row(FILE *out, const char *name, const struct forecast_action *a)
{
	char line[LINE_MAX_BYTES], bytes[FIGURES_TEXT_MAX], wire[FIGURES_TEXT_MAX];
	int n;

	if (a->files == 0 && a->contents == 0)
		return;
	n = snprintf(line, sizeof(line), "%" PRIu64 " file%s, %s", a->files,
		a->files == 1 ? "" : "s", figures_size((double)a->bytes, bytes));
	if (a->download_bytes > 0)
		snprintf(line + n, sizeof(line) - (size_t)n, ", up to %s to download",
			figures_size((double)a->download_bytes, wire));
	view_row(out, name, line);
}

static void time_row(FILE *out, const struct forecast *f)
{
	char line[LINE_MAX_BYTES], whole[FIGURES_TEXT_MAX], download[FIGURES_TEXT_MAX];
	bool known = f->whole_s != ESTIMATE_UNKNOWN;

	if (known)
		snprintf(line, sizeof(line), "about %s, %s of it for the download",
			figures_time(f->whole_s, whole), figures_time(f->download_s, download));
	else if (f->download_s != ESTIMATE_UNKNOWN)
		snprintf(line, sizeof(line), "about %s for the download, else not known",
			figures_time(f->download_s, download));
	view_row(out, "time",
		known || f->download_s != ESTIMATE_UNKNOWN
			? line
			: "not known: what was measured is too little");
}

void forecast_view(FILE *out, const struct wire_forecast *from)
{
	const struct forecast *f = &from->report.forecast;
	char line[LINE_MAX_BYTES], bytes[FIGURES_TEXT_MAX];

	columns_print(out, from->ecu_id);
	fputc('\n', out);
	snprintf(line, sizeof(line), "up to %s",
		figures_size((double)f->work.download_bytes, bytes));
	view_row(out, "to download", f->work.download_bytes ? line : "nothing");
	view_row(out, "to write", figures_size((double)f->work.write_bytes, bytes));
	view_row(out, "standby slot", f->rebuild ? "made anew" : "changed in place");
	for (int a = 0; a < PLAN_ACTIONS; a++)
		action_row(out, forecast_action_name((enum plan_action)a), &f->actions[a]);
	time_row(out, f);
	view_row(out, "remark", from->message);
}

static void text_json(FILE *out, const char *before, const char *key, const char *text)
{
	AUTO_BUF struct buf quoted = {0};

	/* Every string in an answer is UTF-8; only memory can be short. */
	if (json_put_string(&quoted, text, strlen(text)) < 0)
		quoted.len_bytes = 0;
	fprintf(out, "%s\"%s\": %s", before, key, quoted.len_bytes ? buf_str(&quoted) : "null");
}

static void seconds_json(FILE *out, const char *key, uint64_t s)
{
	if (s == ESTIMATE_UNKNOWN)
		fprintf(out, ", \"%s\": null", key);
	else
		fprintf(out, ", \"%s\": %" PRIu64, key, s);
}

void forecast_view_json(FILE *out, const struct wire_forecast *from)
{
	const struct forecast *f = &from->report.forecast;

	text_json(out, "{", "ecu_id", from->ecu_id);
	fprintf(out, ", \"download_bytes\": %" PRIu64 ", \"write_bytes\": %" PRIu64,
		f->work.download_bytes, f->work.write_bytes);
	seconds_json(out, "download_seconds", f->download_s);
	seconds_json(out, "whole_seconds", f->whole_s);
	fprintf(out, ", \"rebuild\": %s, \"actions\": {", f->rebuild ? "true" : "false");
	for (int i = 0; i < PLAN_ACTIONS; i++) {
		const struct forecast_action *a = &f->actions[i];

		fprintf(out,
			"%s\"%s\": {\"contents\": %" PRIu64 ", \"files\": %" PRIu64
			", \"bytes\": %" PRIu64 ", \"download_bytes\": %" PRIu64 "}",
			i ? ", " : "", forecast_action_name((enum plan_action)i), a->contents,
			a->files, a->bytes, a->download_bytes);
	}
	text_json(out, "}, ", "remark", from->message);
	fputs("}\n", out);
}
