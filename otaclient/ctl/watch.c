/*
 * watch: look at a vehicle again and again. Contract: watch.h.
 *
 * The roster remembers (roster.h), the page says it (page.h), the screen draws it (screen.h).
 */
#include "otaclient/ctl/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/ctl/columns.h"
#include "otaclient/ctl/figures.h"
#include "otaclient/ctl/interrupt.h"
#include "otaclient/ctl/page.h"
#include "otaclient/ctl/roster.h"
#include "otaclient/ctl/screen.h"
#include "otaclient/ctl/view_json.h"

struct watch {
	struct roster roster;
	struct screen screen;
	char *last_line; /* JSON without durations */
};
#define AUTO_WATCH CLEANUP(watch_done)

static void watch_done(struct watch *w)
{
	roster_done(&w->roster);
	screen_done(&w->screen);
	free(w->last_line);
}

static int out_of_memory(struct ctl *c)
{
	return ota_err_no_memory(&c->err, "the display");
}

static void show(struct watch *w, const char *reason)
{
	uint64_t now_ms = clock_monotonic_ms();
	FILE *page;

	if (!w->screen.on_terminal) {
		interrupt_hold();
		page_print_lines(stdout, &w->roster, reason, now_ms);
		fflush(stdout);
		interrupt_release();
		return;
	}
	page = screen_begin(&w->screen);
	if (!page)
		return;
	page_print(page, &w->roster, reason, screen_columns(&w->screen), screen_rows(&w->screen),
		now_ms);
	screen_end(&w->screen);
}

/* A line, if anything but the time has changed. */
static int show_json(struct watch *w, const struct wire_status *status, const char *reason)
{
	uint64_t now_ms = clock_monotonic_ms();
	AUTO_FREE char *line = NULL;
	size_t len;
	FILE *f = open_memstream(&line, &len);

	if (!f)
		return -ENOMEM;
	view_json_look(f, status, &w->roster, reason, false, now_ms);
	if (fclose(f) != 0)
		return -ENOMEM;
	if (w->last_line && strcmp(line, w->last_line) == 0)
		return 0;
	free(w->last_line);
	w->last_line = TAKE_PTR(line);
	interrupt_hold();
	view_json_look(stdout, status, &w->roster, reason, true, now_ms);
	fflush(stdout);
	interrupt_release();
	return 0;
}

/* Until the next look. When nobody reads any more, that is the end, as if something had been written. */
static int pause_between(struct ctl *c)
{
	if (interrupt_pause_ms(STDOUT_FILENO, CTL_LOOK_MS) == 0)
		return 0;
	raise(SIGPIPE);
	return ota_err_set(&c->err, -EPIPE, OTA_E_UNSPECIFIC, "Cannot write the answer");
}

int watch_vehicle(struct ctl *c)
{
	AUTO_WATCH struct watch w = {0};
	int r = 0;

	screen_init(&w.screen, stdout);
	for (bool first = true; r == 0; first = false) {
		AUTO_WIRE_STATUS struct wire_status status = {0};
		struct ota_err err = {0};
		bool answered = peer_status(&c->opt.address,
					first ? CTL_CALL_TIMEOUT_MS : CTL_LOOK_TIMEOUT_MS, &status,
					&err) == 0;

		if (!answered && first) {
			c->err = err;
			return ctl_advise(err.errnum, &c->err);
		}
		if (roster_look(&w.roster, answered ? &status : NULL, clock_monotonic_ms()) < 0)
			return out_of_memory(c);
		if (!c->opt.json)
			show(&w, answered ? NULL : err.msg);
		else if (show_json(&w, &status, answered ? NULL : err.msg) < 0)
			return out_of_memory(c);
		r = ctl_finish_output(&c->err);
		if (r == 0)
			r = pause_between(c);
	}
	return r;
}

/* --- to the end of a request --- */

static void print_results(const struct follow *f)
{
	char text[FIGURES_TEXT_MAX];

	for (size_t i = 0; i < f->n_ecus; i++) {
		const struct follow_ecu *e = &f->ecus[i];

		columns_print(stdout, e->ecu_id);
		figures_time(follow_elapsed_s(f, e), text);
		if (e->state == FOLLOW_DONE) {
			fputs(": runs version ", stdout);
			columns_print(stdout, e->version[0] ? e->version : "not known");
			printf(", after %s\n", text);
		} else {
			printf(": failed after %s: ", text);
			columns_print(stdout, e->reason);
			putchar('\n');
		}
	}
	if (f->n_ecus > 1)
		printf("%zu of %zu ECUs done, %zu failed, after %s\n", follow_count(f, FOLLOW_DONE),
			f->n_ecus, follow_count(f, FOLLOW_FAILED),
			figures_time(follow_total_s(f), text));
}

/* The first that failed speaks for all. */
static int result_of(struct ctl *c, const struct follow *f)
{
	size_t n = follow_count(f, FOLLOW_FAILED);

	for (size_t i = 0; i < f->n_ecus; i++) {
		const struct follow_ecu *e = &f->ecus[i];

		if (e->state != FOLLOW_FAILED)
			continue;
		if (n == 1)
			return ota_err_set(
				&c->err, -EREMOTEIO, OTA_E_UNSPECIFIC, "%s", e->sentence);
		return ota_err_set(&c->err, -EREMOTEIO, OTA_E_UNSPECIFIC,
			"%zu of %zu ECUs failed; the first: %s", n, f->n_ecus, e->sentence);
	}
	return 0;
}

static int begin_roster(
	struct roster *r, const struct follow *f, const struct wire_status *before, uint64_t now_ms)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < f->n_ecus; i++)
		n = roster_add(r, f->ecus[i].ecu_id, now_ms);
	r->only_listed = true;
	return n < 0 ? n : roster_look(r, before, now_ms);
}

int watch_until_end(struct ctl *c, struct follow *f, const struct wire_status *before)
{
	AUTO_WATCH struct watch w = {0};
	int r = begin_roster(&w.roster, f, before, clock_monotonic_ms());

	if (r < 0)
		return out_of_memory(c);
	interrupt_say(f->version ? "otactl: Interrupted; the update goes on all the same\n"
				 : "otactl: Interrupted; the rollback goes on all the same\n");
	screen_init(&w.screen, stdout);
	for (;;) {
		AUTO_WIRE_STATUS struct wire_status status = {0};
		struct ota_err err = {0};
		bool answered =
			peer_status(&c->opt.address, CTL_LOOK_TIMEOUT_MS, &status, &err) == 0;

		follow_see(f, answered ? &status : NULL, clock_monotonic_ms());
		if (roster_look(&w.roster, answered ? &status : NULL, clock_monotonic_ms()) < 0)
			return out_of_memory(c);
		if (!c->opt.json)
			show(&w, answered ? NULL : err.msg);
		if (follow_state(f) != FOLLOW_RUNNING) {
			if (c->opt.json)
				view_json_end(stdout, &status, f);
			break;
		}
		r = c->opt.json ? 0 : ctl_finish_output(&c->err);
		if (r == 0)
			r = pause_between(c);
		if (r < 0)
			return r;
	}
	screen_clear(&w.screen);
	if (!c->opt.json)
		print_results(f);
	return result_of(c, f);
}
