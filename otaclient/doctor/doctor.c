/*
 * doctor: the table of all checks, and the process that they run in. Contract: doctor.h.
 *
 * The child walks through the table and sends a record when it begins a check and one with what it found; each fits
 * into one atomic write. If a record does not come in time, or the child ends, the check that was begun is reported as
 * not looked at, and a new child goes on behind it. A child that the kernel does not let die is not waited for.
 */
#include "otaclient/doctor/doctor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot-controllers/boot_inspect.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "otaclient/doctor/checks.h"
#include "otaclient/status/text.h"

struct row {
	const char *id, *group;
	check_fn *run;
	bool needs_root; /* others must not see, or could not */
	bool then_boot;  /* the boot loader's own checks come behind it */
};

/* clang-format off */
static const struct row rows[] = {
	{"config.ecu_info",    "configuration", check_ecu_info,    false},
	{"config.boot_loader", "configuration", check_bootloader,  false},
	{"config.own_id",      "configuration", check_own_id,      false},
	{"config.secondaries", "configuration", check_secondaries, false},
	{"config.proxy_info",  "configuration", check_proxy_info,  false},
	{"config.settings",    "configuration", check_settings,    false},
	{"boot.controller",    "boot",          check_controller,  true,  true},
	{"slots.sizes",        "slots",         check_slot_sizes,    true },
	{"slots.ids",          "slots",         check_slot_ids,      true },
	{"slots.file_system",  "slots",         check_standby_fs,    true },
	{"slots.state",        "slots",         check_standby_state, true },
	{"slots.use",          "slots",         check_standby_use,   true },
	{"slots.room",         "slots",         check_standby_room,  true },
	{"watchdog.device",    "watchdog",      check_watchdog,      false},
	{"watchdog.use",       "watchdog",      check_watchdog_use,  false},
	{"trust.certificates", "trust",         check_certificates,  false},
	{"trust.dates",        "trust",         check_cert_dates,    false},
	{"trust.chains",       "trust",         check_cert_chains,   false},
	{"trust.servers",      "trust",         check_tls_cas,       false},
	{"trust.clock",        "trust",         check_clock,         false},
	{"trust.time_service", "trust",         check_time_service,  false},
	{"network.address",    "network",       check_address,     false},
	{"network.api_port",   "network",       check_api_port,    true },
	{"network.proxy_port", "network",       check_proxy_port,  true },
	{"service.tools",      "service",       check_tools,         false},
	{"service.proxy",      "service",       check_proxy_program, false},
	{"service.fetcher",    "service",       check_fetcher,       false},
	{"service.unit",       "service",       check_unit,          false},
	{"service.guard",      "service",       check_guard,         false},
	{"service.health",     "service",       check_health_units,  false},
	{"service.clients",    "service",       check_clients,       true },
	{"folders.scratch",    "folders",       check_scratch,       false},
	{"folders.cache",      "folders",       check_cache,         false},
	{"folders.hooks",      "folders",       check_hooks,         true },
	{"folders.health",     "folders",       check_health,        true },
	{"folders.persistent", "folders",       check_persistents,   true },
	{"status.last",        "status",        check_last_status,   true },
	{"status.way_back",    "status",        check_way_back,      true },
};
/* clang-format on */

enum {
	N_ROWS = ARRAY_SIZE(rows),
	CHILD_END_MS = 1000,
};

/* Where in the table, and among the boot loader's checks: 0 is the row itself, n the nth of them. */
struct place {
	unsigned row, sub;
};

struct record {
	struct place at;
	bool done;  /* with @finding; else the check is begun */
	bool again; /* no check: the boot loader's controller is opened anew, for the check at @at */
	char id[DOCTOR_ID_MAX];
	char group[DOCTOR_ID_MAX];
	struct finding finding;
};

static_assert(sizeof(struct record) <= PIPE_BUF, "a record is one write");

/* --- in the child --- */

struct walk {
	struct machine m;
	int out_fd;
	struct place start;
};

static void send_record(const struct walk *w, const struct record *r)
{
	/* Nobody is there to read any more: nothing is left to do. */
	if (write(w->out_fd, r, sizeof(*r)) != (ssize_t)sizeof(*r))
		_exit(1);
}

static bool may_look(const struct walk *w, const struct row *row)
{
	return !row->needs_root || geteuid() == 0 || w->m.root[0];
}

static void begin(const struct walk *w, struct record *r)
{
	r->done = false;
	r->finding = (struct finding){0};
	send_record(w, r);
}

static void finish(const struct walk *w, struct record *r)
{
	if (!r->finding.what[0])
		finding_not_looked(&r->finding, "The check said nothing");
	r->done = true;
	send_record(w, r);
}

static void walk_row(const struct row *row, struct walk *w, struct record *r)
{
	begin(w, r);
	if (may_look(w, row))
		row->run(&w->m, &r->finding);
	else
		finding_not_looked(&r->finding, "Only root can look at this");
	finish(w, r);
}

/* One after the other, from the place's. Without its controller there is nothing that they could look at. */
static void walk_boot(struct walk *w, struct record *r)
{
	const struct boot_check *checks = NULL;

	/* By a child that goes on behind a check that was lost. Another row always follows, and ends it. */
	if (r->at.sub > 0) {
		snprintf(r->id, sizeof(r->id), "%s_again", rows[r->at.row].id);
		r->again = true;
		begin(w, r);
		r->again = false;
	}
	if (machine_open_boot(&w->m) == 0 && w->m.boot)
		checks = w->m.boot->ops->checks;
	for (unsigned i = 0; checks && checks[i].id; i++) {
		if (i + 1 < r->at.sub)
			continue;
		r->at.sub = i + 1;
		snprintf(r->id, sizeof(r->id), "%s", checks[i].id);
		begin(w, r);
		checks[i].run(w->m.boot, &r->finding);
		finish(w, r);
	}
}

_Noreturn static void walk_all(struct walk *w)
{
	struct record r = {.at = w->start};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_set_level(LOG_LEVEL_ERROR); /* what matters is in the findings */
	for (; r.at.row < N_ROWS; r.at = (struct place){.row = r.at.row + 1}) {
		const struct row *row = &rows[r.at.row];

		snprintf(r.id, sizeof(r.id), "%s", row->id);
		snprintf(r.group, sizeof(r.group), "%s", row->group);
		if (r.at.sub == 0)
			walk_row(row, w, &r);
		if (row->then_boot && may_look(w, row))
			walk_boot(w, &r);
	}
	machine_done(&w->m);
	_exit(0);
}

/* --- in the parent --- */

struct child {
	pid_t pid;
	int fd;
};

static int child_start(const struct doctor_options *o, struct place start, struct child *ret)
{
	AUTO_FREE struct walk *w = calloc(1, sizeof(*w));
	int p[2], r = w ? machine_init(&w->m, o->root, o->tools_path) : -ENOMEM;
	pid_t pid;

	if (r < 0)
		return r;
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		w->out_fd = p[1];
		w->start = start;
		walk_all(w);
	}
	r = -errno;
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return r;
	}
	*ret = (struct child){.pid = pid, .fd = p[0]};
	return 0;
}

/* Killed, but not waited for if it sleeps where no signal wakes it. */
static void child_end(struct child *c)
{
	AUTO_CLOSE int pid_fd = pidfd_open(c->pid, 0);
	struct pollfd p = {.fd = pid_fd, .events = POLLIN};

	close(c->fd);
	kill(c->pid, SIGKILL);
	if (poll(&p, 1, CHILD_END_MS) > 0)
		waitpid(c->pid, NULL, WNOHANG);
}

enum received {
	RECEIVED_RECORD,
	RECEIVED_END,
	RECEIVED_NOTHING, /* in time */
};

static enum received receive(const struct child *c, uint32_t limit_ms, struct record *ret)
{
	uint64_t until_ms = clock_monotonic_ms() + limit_ms;
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	int n;

	do {
		uint64_t now_ms = clock_monotonic_ms();

		n = poll(&p, 1, now_ms < until_ms ? (int)(until_ms - now_ms) : 0);
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return RECEIVED_NOTHING;
	return read(c->fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret) ? RECEIVED_RECORD
								       : RECEIVED_END;
}

struct run {
	const struct doctor_options *options;
	doctor_report_fn *report;
	void *ctx;
	struct doctor_counts counts;
	struct record last; /* what the child has begun */
	bool begun;
};

static void report(struct run *run, struct record *r)
{
	/* Sentences quote what files say, and may have been cut. */
	text_repair(r->finding.what);
	text_repair(r->finding.advice);
	run->counts.n[r->finding.verdict]++;
	run->report(run->ctx, r->group, r->id, &r->finding);
}

static void report_lost(struct run *run, enum received how)
{
	struct record *r = &run->last;

	r->finding = (struct finding){0};
	if (how == RECEIVED_NOTHING)
		finding_not_looked(&r->finding, "It could not be looked at within %u s",
			run->options->limit_ms / 1000);
	else
		finding_not_looked(&r->finding, "The check ended before its time");
	report(run, r);
}

/* Behind the check that was begun last: at the boot loader's next one, or at the next row. */
static struct place behind(const struct record *last)
{
	if (last->again || last->at.sub == 0)
		return (struct place){.row = last->at.row + 1};
	return (struct place){.row = last->at.row, .sub = last->at.sub + 1};
}

/* A child that says nothing at all has lost its first check. */
static void expect_first(struct run *run, struct place start)
{
	const struct row *row = &rows[start.row];

	run->begun = true;
	run->last = (struct record){.at = start, .again = start.sub > 0};
	snprintf(
		run->last.id, sizeof(run->last.id), "%s%s", row->id, start.sub > 0 ? "_again" : "");
	snprintf(run->last.group, sizeof(run->last.group), "%s", row->group);
}

/* What a child that begins at @start has to say. Returns where the next one is to go on. */
static struct place listen_to(struct run *run, const struct child *c, struct place start)
{
	struct record r;
	enum received how;

	expect_first(run, start);
	while ((how = receive(c, run->options->limit_ms, &r)) == RECEIVED_RECORD) {
		run->begun = !r.done;
		run->last = r;
		if (r.done)
			report(run, &r);
	}
	/* Between two checks there is nothing to lose; behind the last one it is the end. */
	if (!run->begun)
		return (struct place){.row = run->last.at.row + 1};
	report_lost(run, how);
	return behind(&run->last);
}

int doctor_run(const struct doctor_options *o, doctor_report_fn *report_fn, void *ctx,
	struct doctor_counts *ret_counts, struct ota_err *err)
{
	struct run run = {.options = o, .report = report_fn, .ctx = ctx};
	struct place at = {0};

	while (at.row < N_ROWS) {
		struct child c = {0};
		int r = child_start(o, at, &c);

		if (r < 0)
			return ota_err_set(err, r, OTA_E_UNSPECIFIC,
				"Cannot start a process for the checks: %s", strerror(-r));
		at = listen_to(&run, &c, at);
		child_end(&c);
	}
	*ret_counts = run.counts;
	return 0;
}

const char *doctor_verdict_word(enum verdict v)
{
	static const char *const words[] = {
		[VERDICT_OK] = "ok",
		[VERDICT_NOT_LOOKED] = "not looked at",
		[VERDICT_WARNING] = "warning",
		[VERDICT_FAILURE] = "failure",
	};

	return words[v];
}
