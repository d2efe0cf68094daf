/*
 * page: what is shown while something runs. Contract: page.h.
 */
#include "otaclient/ctl/page.h"

#include "otaclient/ctl/columns.h"
#include "otaclient/ctl/figures.h"
#include "otaclient/ctl/view.h"

enum {
	GAP = 2,
	ID_MIN = 8,
	BAR_MIN = 6,
	BAR_MAX = 40,
	PERCENT_COLUMNS = 5, /* "100 %" */
	LEFT_COLUMNS = 6,    /* "59m59s" */
	BYTES_COLUMNS = 17,  /* "97.7 MiB/97.7 MiB" */
	RATE_COLUMNS = 10,   /* "97.7 MiB/s" */
	TEXT_MAX = 1024,

	WORK_LINE_MS = 10 * 1000,   /* a log has so often a line of an ECU at work … */
	SILENT_LINE_MS = 60 * 1000, /* … and of a silent one */
};

/* Columns of each cell; 0 = no room for it. */
struct layout {
	unsigned id, state, bar, percent, bytes, rate, left, all;
};

/* --- what a row says --- */

static bool is_updating(const struct roster_ecu *e)
{
	return e->reports && e->ota_status == STATUS_UPDATING;
}

/* Small letters are for what goes on, the API's names for what an ECU stays in. */
static const char *state_text(const struct roster *r, const struct roster_ecu *e)
{
	static const char *const phases[PHASE_COUNT] = {"starting", "metadata", "comparing",
		"downloading", "applying", "setting up", "finalizing", "client"};

	switch (roster_state(r, e)) {
	case ROSTER_RESTARTING:
		return "restarting";
	case ROSTER_SILENT:
		return "SILENT";
	case ROSTER_NOT_REPORTED:
		return "not seen";
	default:
		break;
	}
	if (!e->has_reported)
		return "not seen";
	if (e->ota_status != STATUS_UPDATING)
		return view_status_name(e->ota_status);
	return (unsigned)e->update.phase < PHASE_COUNT ? phases[e->update.phase] : "updating";
}

/* What stands behind the state unless there is progress to show. */
static void note(const struct roster *r, const struct roster_ecu *e, uint64_t now_ms,
	char ret_text[TEXT_MAX])
{
	char silent[FIGURES_TEXT_MAX];

	figures_time(roster_silent_s(e, now_ms), silent);
	ret_text[0] = '\0';
	switch (roster_state(r, e)) {
	case ROSTER_RESTARTING:
	case ROSTER_SILENT:
		snprintf(ret_text, TEXT_MAX, "no answer for %s", silent);
		return;
	case ROSTER_NOT_REPORTED:
		snprintf(ret_text, TEXT_MAX, "no report for %s", silent);
		return;
	case ROSTER_NOT_KNOWN:
		snprintf(ret_text, TEXT_MAX, e->has_reported ? "as of %s ago" : "not known for %s",
			silent);
		return;
	case ROSTER_REPORTS:
		break;
	}
	if (e->ota_status == STATUS_FAILURE || e->ota_status == STATUS_ROLLBACK_FAILURE)
		snprintf(ret_text, TEXT_MAX, "%s", e->reason[0] ? e->reason : "gives no reason");
	else if (!roster_is_at_work(e->ota_status) && e->version[0])
		snprintf(ret_text, TEXT_MAX, "version %.900s", e->version);
}

/* --- the table --- */

static unsigned larger(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Give a cell @columns of the @room that is left, or nothing. */
static void take(unsigned *cell, unsigned columns, unsigned *room)
{
	if (*room < columns + GAP)
		return;
	*cell = columns;
	*room -= columns + GAP;
}

static struct layout lay_out(const struct roster *r, unsigned columns)
{
	struct layout l = {.all = columns, .id = 3, .state = 5};
	unsigned room;

	for (size_t i = 0; i < r->n_ecus; i++) {
		l.id = larger(l.id, columns_of(r->ecus[i].id));
		l.state = larger(l.state, columns_of(state_text(r, &r->ecus[i])));
	}
	l.id = smaller(l.id, larger(columns / 5, ID_MIN));
	l.id = smaller(l.id, columns);
	room = columns - l.id;
	l.state = room > GAP ? smaller(l.state, room - GAP) : 0;
	room -= l.state ? l.state + GAP : 0;
	take(&l.percent, PERCENT_COLUMNS, &room);
	take(&l.left, LEFT_COLUMNS, &room);
	take(&l.bar, BAR_MIN, &room);
	take(&l.bytes, BYTES_COLUMNS, &room);
	take(&l.rate, RATE_COLUMNS, &room);
	if (l.bar)
		l.bar = smaller(l.bar + room, BAR_MAX);
	return l;
}

static void cell(FILE *out, unsigned columns, const char *text, bool right)
{
	if (columns == 0)
		return;
	fprintf(out, "%*s", GAP, "");
	if (right)
		columns_print_right(out, text, columns);
	else
		columns_print_left(out, text, columns);
}

static void bar(FILE *out, unsigned columns, unsigned percent)
{
	if (columns == 0)
		return;
	fprintf(out, "%*s[", GAP, "");
	for (unsigned i = 0; i < columns - 2; i++)
		fputc(i < percent * (columns - 2) / 100 ? '#' : '.', out);
	fputc(']', out);
}

static void progress_cells(FILE *out, const struct layout *l, const struct roster_ecu *e)
{
	const struct update_stats *u = &e->update;
	double rate = pace_rate(&e->pace, u);
	char percent[FIGURES_TEXT_MAX] = FIGURES_UNKNOWN,
	     bytes[2 * FIGURES_TEXT_MAX] = FIGURES_UNKNOWN;
	char speed[FIGURES_TEXT_MAX + 2] = FIGURES_UNKNOWN, a[FIGURES_TEXT_MAX],
				      b[FIGURES_TEXT_MAX];

	if (u->total_files_size > 0) {
		snprintf(percent, sizeof(percent), "%u %%", figures_percent(u));
		snprintf(bytes, sizeof(bytes), "%s/%s",
			figures_size((double)u->processed_files_size, a),
			figures_size((double)u->total_files_size, b));
	}
	if (rate > 0)
		snprintf(speed, sizeof(speed), "%s/s", figures_size(rate, a));
	bar(out, l->bar, figures_percent(u));
	cell(out, l->percent, percent, true);
	cell(out, l->bytes, bytes, true);
	cell(out, l->rate, speed, true);
	cell(out, l->left, figures_short_time(pace_left_s(&e->pace, u), a), true);
}

static void row(FILE *out, const struct layout *l, const struct roster *r,
	const struct roster_ecu *e, uint64_t now_ms)
{
	unsigned used = l->id + (l->state ? GAP + l->state : 0);
	char text[TEXT_MAX];

	note(r, e, now_ms, text);
	columns_print_left(out, e->id, l->id);
	cell(out, l->state, state_text(r, e), false);
	if (is_updating(e)) {
		progress_cells(out, l, e);
	} else if (text[0] && used + GAP < l->all) {
		fprintf(out, "%*s", GAP, "");
		columns_print_cut(out, text, l->all - used - GAP);
	}
	fputc('\n', out);
}

static void titles(FILE *out, const struct layout *l)
{
	columns_print_left(out, "ECU", l->id);
	cell(out, l->state, "STATE", false);
	cell(out, l->bar, "DONE", false);
	cell(out, l->percent, "", true);
	cell(out, l->bytes, "BYTES", true);
	cell(out, l->rate, "SPEED", true);
	cell(out, l->left, "LEFT", true);
	fputc('\n', out);
}

/* "7 ECUs: 3 at work, 1 restarting, 1 silent, 1 failed" */
static void headline(FILE *out, const struct roster *r, unsigned columns)
{
	enum { WORK, RESTARTING, SILENT, FAILED, KINDS };
	static const char *const names[KINDS] = {"at work", "restarting", "silent", "failed"};
	unsigned n[KINDS] = {0};
	char text[TEXT_MAX];
	int len;

	for (size_t i = 0; i < r->n_ecus; i++) {
		const struct roster_ecu *e = &r->ecus[i];
		enum roster_state s = roster_state(r, e);

		n[RESTARTING] += s == ROSTER_RESTARTING;
		n[SILENT] += s == ROSTER_SILENT || s == ROSTER_NOT_REPORTED;
		n[WORK] += s == ROSTER_REPORTS && roster_is_at_work(e->ota_status);
		n[FAILED] +=
			s == ROSTER_REPORTS && (e->ota_status == STATUS_FAILURE ||
						       e->ota_status == STATUS_ROLLBACK_FAILURE);
	}
	len = snprintf(text, sizeof(text), "%zu ECU%s", r->n_ecus, r->n_ecus == 1 ? "" : "s");
	for (size_t k = 0, some = 0; k < KINDS; k++)
		if (n[k] > 0)
			len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%u %s",
				some++ ? ", " : ": ", n[k], names[k]);
	columns_print_cut(out, text, columns);
	fputc('\n', out);
}

void page_print(FILE *out, const struct roster *r, const char *reason, unsigned columns,
	unsigned rows, uint64_t now_ms)
{
	struct layout l = lay_out(r, columns);
	bool two_heads = rows > 2;
	size_t room = rows - (two_heads ? 2 : 1);
	size_t n = r->n_ecus <= room ? r->n_ecus : room > 0 ? room - 1 : 0;
	char text[FIGURES_TEXT_MAX];

	headline(out, r, columns);
	if (two_heads && reason) {
		columns_print_cut(out, reason, columns);
		fputc('\n', out);
	} else if (two_heads) {
		titles(out, &l);
	}
	for (size_t i = 0; i < n; i++)
		row(out, &l, r, &r->ecus[i], now_ms);
	if (n < r->n_ecus && room > 0) {
		snprintf(text, sizeof(text), "and %zu more", r->n_ecus - n);
		columns_print_cut(out, text, columns);
		fputc('\n', out);
	}
}

/* --- lines --- */

static void progress_line(FILE *out, const struct roster_ecu *e)
{
	const struct update_stats *u = &e->update;
	uint64_t left_s = pace_left_s(&e->pace, u);
	double rate = pace_rate(&e->pace, u);
	char a[FIGURES_TEXT_MAX], b[FIGURES_TEXT_MAX];

	fprintf(out, ": %s", view_phase_name(u->phase));
	if (u->total_files_size == 0)
		return;
	fprintf(out, " %u %%, %s of %s", figures_percent(u),
		figures_size((double)u->processed_files_size, a),
		figures_size((double)u->total_files_size, b));
	if (rate > 0)
		fprintf(out, ", %s/s", figures_size(rate, a));
	if (left_s != PACE_UNKNOWN)
		fprintf(out, ", %s left", figures_time(left_s, a));
}

static void line(FILE *out, const struct roster *r, const struct roster_ecu *e, const char *reason,
	uint64_t now_ms)
{
	char text[TEXT_MAX];

	columns_print(out, e->id);
	if (is_updating(e)) {
		progress_line(out, e);
	} else {
		note(r, e, now_ms, text);
		fprintf(out, ": %s",
			e->reports ? view_status_name(e->ota_status)
				   : roster_state_name(roster_state(r, e)));
		fputs(text[0] ? ", " : "", out);
		columns_print(out, text);
		if (reason) {
			fputs(": ", out);
			columns_print(out, reason);
		}
	}
	fputc('\n', out);
}

void page_print_lines(FILE *out, struct roster *r, const char *reason, uint64_t now_ms)
{
	for (size_t i = 0; i < r->n_ecus; i++) {
		struct roster_ecu *e = &r->ecus[i];
		unsigned long stage = roster_stage(r, e);
		uint64_t pause_ms = !e->reports ? SILENT_LINE_MS : WORK_LINE_MS;
		bool at_rest = e->reports && !roster_is_at_work(e->ota_status);

		if (roster_state(r, e) == ROSTER_NOT_KNOWN) /* the asked ECU's line says why */
			continue;
		if (stage == e->shown_stage && (at_rest || now_ms - e->shown_ms < pause_ms))
			continue;
		line(out, r, e, e->reports ? NULL : reason, now_ms);
		e->shown_stage = stage;
		e->shown_ms = now_ms;
	}
}
