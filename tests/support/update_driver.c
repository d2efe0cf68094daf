/*
 * update_driver: one update by the real updater on a real block device, without a boot loader and an API.
 *
 *     update_driver --url URL --certs DIR --device DEV --active DIR --work DIR [--version V] [--cookies JSON] [--release R]
 *                   [--tls-ca FILE] [--inactivity-ms N] [--retry-ms N] [--uuid U] [--label L] [--count] [--stop-at N] [--fail-at N]
 *                   [--abort-at N] [--pause-at N] [--abort-at-line TEXT] [--reboot-fails] [--own-namespace] [--threaded] [--stats]
 *                   [--log-server URL] [--log-server-grpc URL] [--children-until FILE]
 *                   [--hooks DIR] [--hook-timeout-ms N] [--jetson TOOLS] [--proxy URL] [--displace-at-line TEXT]
 *
 * Simulated: the boot controller (a folder below --work) and the restart (the process ends). Everything else is
 * what the daemon runs. --count prints how many durable operations and points were passed; --stop-at N ends the
 * process with status 77 before the Nth, as a crash would; --fail-at N makes the Nth fail with EIO; --abort-at N asks for an abort at the Nth,
 * --abort-at-line when the log says TEXT; what is answered stands in lines "abort at …".
 * --pause-at N writes "paused" to the standard output at the Nth, and goes on once a line comes.
 * --children-until: the ECUs below are in an update until FILE is there.
 * --jetson: --active is the root of slot 0 of a Jetson, whose tools are in TOOLS: the real CBoot controller in place of
 * the simulated one.
 * --displace-at-line: a forecast first; when the log says TEXT, the update takes its place. What becomes of the forecast stands
 * in a line "forecast: …".
 * --own-namespace: as the daemon has one; --threaded: the updater's own thread runs it, until SIGTERM.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot-controllers/cboot/cboot.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/heap.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/base/mount.h"
#include "common/net/http.h"
#include "otaclient/remote_log.h"
#include "otaclient/update/updater.h"

enum {
	EXIT_STOPPED = 77,
};

static struct driver {
	const char *url, *certs, *device, *active, *work, *version, *cookies, *tls_ca, *uuid,
		*label, *release, *abort_at_line, *log_server, *log_server_grpc, *children_until,
		*hooks, *jetson, *proxy, *displace_at_line;
	unsigned long stop_at, fail_at, abort_at, pause_at, inactivity_ms, retry_ms, hook_timeout_ms;
	bool count, stats, reboot_fails, own_namespace, threaded;
} arg;

/* ---- the simulated boot controller: two status folders below --work ------------------------------ */

struct dir_boot {
	struct boot_ctl base;
	struct slot_pair slots;
};

static int dir_slots(const struct boot_ctl *ctl, struct slot_pair *ret_slots, struct ota_err *err)
{
	*ret_slots = ((const struct dir_boot *)ctl)->slots;
	return 0;
}

static int dir_nothing(struct boot_ctl *ctl, struct ota_err *err)
{
	return 0;
}

static int dir_stage(struct boot_ctl *ctl, const char *standby_root, struct ota_err *err)
{
	return 0;
}

static int dir_flip(struct boot_ctl *ctl, struct ota_err *err)
{
	int r = io_replace_symlink("flip", AT_FDCWD, "flipped", "standby");

	return r < 0 ? ota_err_set(err, r, OTA_E_UNSPECIFIC, "Cannot flip: %s", strerror(-r)) : 0;
}

static atomic_bool restart_asked;

static int dir_reboot(struct boot_ctl *ctl, struct ota_err *err)
{
	atomic_store(&restart_asked, true);
	if (arg.reboot_fails)
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "Cannot restart the machine: told so");
	return 0;
}

static const struct boot_controller_ops dir_ops = {
	.name = "folder",
	.slots = dir_slots,
	.prepare = dir_nothing,
	.stage = dir_stage,
	.flip = dir_flip,
	.reboot = dir_reboot,
};

/* ---- a Jetson ------------------------------------------------------------------------------------ */

static int open_jetson(struct boot_ctl **ret_ctl, struct ota_err *err)
{
	const struct boot_env env = {
		.root = arg.active, .tools_path = arg.jetson, .version = "4.0.0"};
	struct cboot_disk disk = {.described = true};
	bool reset;
	int r;

	for (unsigned s = 0; s < 2; s++) {
		disk.slot[s].number = s + 1;
		snprintf(disk.slot[s].device, PATH_MAX, "%s", s == 0 ? "/dev/null" : arg.device);
		snprintf(disk.slot[s].part_uuid, BOOT_UUID_MAX,
			"0a000000-0000-4000-8000-00000000000%u", s + 1);
	}
	snprintf(disk.slot[1].fs_uuid, BOOT_UUID_MAX, "%s", arg.uuid);
	r = cboot_open_on_disk(ret_ctl, &env, &disk, 0, err);
	return r < 0 ? r : (*ret_ctl)->ops->setup(*ret_ctl, &reset, err);
}

/* ---- an update in place of a forecast ------------------------------------------------------------ */

static struct {
	struct updater *updater;
	const struct update_request *request;
	atomic_int answer; /* 1 = not asked yet */
	struct ota_err err;
} displacing = {.answer = 1};

/* In the forecast's thread, under the log's lock: it goes no further before the update is accepted. */
static void displace(void)
{
	arg.displace_at_line = NULL;
	atomic_store(&displacing.answer,
		updater_request(displacing.updater, displacing.request, &displacing.err));
}

/* ---- counting and stopping ----------------------------------------------------------------------- */

static atomic_ulong n_points;
static struct update_session *session; /* to be aborted */

/* Twice, as an impatient operator does. */
static void ask_for_abort(const char *what)
{
	for (int i = 0; i < 2; i++) {
		struct ota_err answer = {0};

		session_abort(session, &answer);
		fprintf(stderr, "abort at %s: %s\n", what, answer.msg);
	}
}

/* Steps say where they begin and end. */
static void on_log_line(void *ctx, const struct log_entry *entry)
{
	const char *at = arg.abort_at_line ? strstr(entry->text, arg.abort_at_line) : NULL;

	if (arg.displace_at_line && strstr(entry->text, arg.displace_at_line))
		displace();
	if (!at || !session)
		return;
	arg.abort_at_line = NULL;
	ask_for_abort(entry->text);
}

static void pause_here(const char *what)
{
	char line[16];

	printf("paused: %s\n", what);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(2);
}

static int on_point(void *ctx, const char *what)
{
	unsigned long n = atomic_fetch_add(&n_points, 1) + 1;

	if (n == arg.stop_at) {
		fprintf(stderr, "stopped at %lu: %s\n", n, what);
		_exit(EXIT_STOPPED);
	}
	if (n == arg.abort_at)
		ask_for_abort(what);
	if (n == arg.pause_at)
		pause_here(what);
	return n == arg.fail_at ? -EIO : 0;
}

/* ---- the simulated ECUs below -------------------------------------------------------------------- */

static int wait_for_file(void *ctx, bool (*stop)(void *), void *stop_ctx)
{
	fprintf(stderr, "waiting for %s\n", arg.children_until);
	while (access(arg.children_until, F_OK) < 0) {
		if (stop(stop_ctx))
			return -ECANCELED;
		clock_sleep_ms(20);
	}
	return 0;
}

static const struct children simulated_children = {.wait = wait_for_file};

/* ---- the run -------------------------------------------------------------------------------------- */

static void print_stats(struct status *status)
{
	struct status_snapshot snap;
	const struct update_stats *u = &snap.update;

	status_get(status, &snap);
	printf("{\"kept\": %" PRIu64 ", \"moved\": %" PRIu64 ", \"copied\": %" PRIu64 ", \"fetched\": %" PRIu64
	       ", \"fetched_contents\": %" PRIu64 ", \"written_bytes\": %" PRIu64 ", \"processed\": %" PRIu64
	       ", \"processed_bytes\": %" PRIu64 ", \"total\": %" PRIu64 ", \"total_bytes\": %" PRIu64
	       ", \"wire_bytes\": %" PRIu64 "}\n",
		u->kept_files, u->moved_files, u->copied_files, u->fetched_files, u->downloaded_files_num,
		u->written_bytes, u->processed_files_num, u->processed_files_size, u->total_files_num,
		u->total_files_size, u->downloaded_bytes);
}

static void send_record(void *ctx, const char *record)
{
	remote_log_metrics(ctx, record);
}

/* As the daemon does: a second request is refused, and SIGTERM ends it all. */
static int run_threaded(const struct update_env *env, const struct update_request *request, struct ota_err *err)
{
	struct updater *u = updater_new(env, 0);
	struct status_snapshot snap;
	sigset_t term;
	int r, signo;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	r = updater_request(u, request, err);
	if (r == 0) {
		struct ota_err busy = {0};

		updater_request(u, request, &busy);
		fprintf(stderr, "second request: E%03d: %s\n", busy.code, busy.msg);
		sigwait(&term, &signo);
	}
	updater_free(u);
	status_get(env->status, &snap);
	fprintf(stderr, "%s %s\n", ota_status_name(snap.ota_status), snap.failure_reason);
	return r;
}

/* Until the update, which has taken the forecast's place, has failed or asked for the restart. */
static int await_update(struct status *status, struct ota_err *err)
{
	struct status_snapshot now;

	do {
		clock_sleep_ms(5);
		status_get(status, &now);
		if (now.ota_status != STATUS_UPDATING)
			return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "%s", now.failure_reason);
	} while (!atomic_load(&restart_asked));
	return 0;
}

static int run_displacing(
	const struct update_env *env, const struct update_request *request, struct ota_err *err)
{
	struct updater *u = updater_new(env, 0);
	struct forecast_report report = {0};
	struct ota_err why = {0};
	int r;

	displacing.request = request;
	displacing.updater = u;
	do {
		clock_sleep_ms(5);
		r = updater_forecast(u, request, &report, &why);
	} while (r == 0 && !report.ended);
	fprintf(stderr, "forecast: E%03d: %s\n", why.code, r == 0 ? "ended" : why.msg);
	*err = displacing.err;
	r = atomic_load(&displacing.answer);
	if (r == 0)
		r = await_update(env->status, err);
	updater_free(u);
	return r > 0 ? ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC, "The log has not said it") : r;
}

/* In this thread, with what can be done to it and seen of it. */
static int run_here(const struct update_env *env, const struct update_request *request, struct ota_err *err)
{
	AUTO_SESSION struct update_session *s = NULL;
	struct update_request *copy = update_request_dup(request);
	int r;

	session = s = copy ? session_new(env, copy) : NULL;
	if (!s) {
		update_request_free(copy);
		return ota_err_no_memory(err, "an update");
	}
	r = http_cookies_from_json(arg.cookies, strlen(arg.cookies), &s->cookie_header, err);
	if (r == 0)
		r = updater_run(env, s, err);
	if (arg.stats)
		print_stats(env->status);
	return r;
}

static int run_update(struct update_env *env, struct ota_err *err)
{
	const struct update_request request = {
		.version = (char *)(uintptr_t)arg.version,
		.url = (char *)(uintptr_t)arg.url,
		.cookies = (char *)(uintptr_t)arg.cookies,
		.release_name = (char *)(uintptr_t)arg.release,
		.release_id = (char *)(uintptr_t)arg.release,
		.image_id = (char *)(uintptr_t)arg.release,
		.request_id = (char *)(uintptr_t)"1700000000-0badcafe",
	};
	int r;

	env->status = status_new();
	if (!env->status)
		return ota_err_no_memory(err, "the status");
	if (arg.displace_at_line)
		r = run_displacing(env, &request, err);
	else if (arg.threaded)
		r = run_threaded(env, &request, err);
	else
		r = run_here(env, &request, err);
	status_free(env->status);
	return r;
}

static void describe_slots(struct slot_pair *slots)
{
	snprintf(slots->active.id, BOOT_SLOT_ID_MAX, "a");
	snprintf(slots->standby.id, BOOT_SLOT_ID_MAX, "b");
	snprintf(slots->standby.device, PATH_MAX, "%s", arg.device);
	snprintf(slots->standby.fs_uuid, BOOT_UUID_MAX, "%s", arg.uuid);
	snprintf(slots->standby.fs_label, BOOT_UUID_MAX, "%s", arg.label);
	snprintf(slots->active.status_dir, PATH_MAX, "%s/status-a", arg.work);
	snprintf(slots->standby.status_dir, PATH_MAX, "%s/status-b", arg.work);
}

static int open_log(struct remote_log **ret_log, struct ota_err *err)
{
	const struct remote_log_config config = {
		.server = arg.log_server, .server_grpc = arg.log_server_grpc, .ecu_id = "main"};
	int r = remote_log_new(ret_log, err);

	return r < 0 ? r : remote_log_start(*ret_log, &config, err);
}

static int run(struct ota_err *err)
{
	struct dir_boot boot = {.base.ops = &dir_ops};
	AUTO_CERT_STORE struct cert_store *certs = NULL;
	AUTO_REMOTE_LOG struct remote_log *remote_log = NULL;
	struct update_env env = {
		.boot = &boot.base,
		.children = arg.children_until ? &simulated_children : NULL,
		.tls_ca = arg.tls_ca,
		.proxy = arg.proxy,
		.run_dir = arg.work,
		.scratch_dir = arg.work,
		.active_root = arg.active,
		.inactivity_ms = (uint32_t)arg.inactivity_ms,
		.retry_base_ms = (uint32_t)arg.retry_ms,
		.ecu_id = "main",
		.hooks = {.dir = arg.hooks, .timeout_ms = (uint32_t)arg.hook_timeout_ms},
	};
	char jetson_run[PATH_MAX];
	int r;

	/* There the controller has the standby mounted. */
	snprintf(jetson_run, sizeof(jetson_run), "%s/run/otaclient", arg.active);
	if (arg.jetson)
		env.run_dir = jetson_run;
	describe_slots(&boot.slots);
	r = arg.jetson ? open_jetson(&env.boot, err) : 0;
	if (r == 0)
		r = cert_store_open(arg.certs, NULL, NULL, &certs, err);
	if (r == 0 && arg.log_server)
		r = open_log(&remote_log, err);
	if (r < 0)
		return r;
	env.certs = certs;
	env.report = remote_log ? send_record : NULL;
	env.report_ctx = remote_log;
	r = run_update(&env, err);
	if (arg.jetson)
		env.boot->ops->close(env.boot);
	return r;
}

/* ---- the command line ---------------------------------------------------------------------------- */

enum kind {
	TEXT,
	NUMBER,
	FLAG,
};

static const struct option_row {
	const char *name;
	enum kind kind;
	void *to; /* const char *, unsigned long or bool, as @kind says */
} rows[] = {
	{"url",              TEXT,   &arg.url             },
	{"certs",            TEXT,   &arg.certs           },
	{"device",           TEXT,   &arg.device          },
	{"active",           TEXT,   &arg.active          },
	{"work",             TEXT,   &arg.work            },
	{"version",          TEXT,   &arg.version         },
	{"cookies",          TEXT,   &arg.cookies         },
	{"release",          TEXT,   &arg.release         },
	{"tls-ca",           TEXT,   &arg.tls_ca          },
	{"uuid",             TEXT,   &arg.uuid            },
	{"label",            TEXT,   &arg.label           },
	{"abort-at-line",    TEXT,   &arg.abort_at_line   },
	{"displace-at-line", TEXT,   &arg.displace_at_line},
	{"children-until",   TEXT,   &arg.children_until  },
	{"log-server",       TEXT,   &arg.log_server      },
	{"log-server-grpc",  TEXT,   &arg.log_server_grpc },
	{"hooks",            TEXT,   &arg.hooks           },
	{"jetson",           TEXT,   &arg.jetson          },
	{"proxy",            TEXT,   &arg.proxy           },
	{"inactivity-ms",    NUMBER, &arg.inactivity_ms   },
	{"retry-ms",         NUMBER, &arg.retry_ms        },
	{"hook-timeout-ms",  NUMBER, &arg.hook_timeout_ms },
	{"stop-at",          NUMBER, &arg.stop_at         },
	{"fail-at",          NUMBER, &arg.fail_at         },
	{"abort-at",         NUMBER, &arg.abort_at        },
	{"pause-at",         NUMBER, &arg.pause_at        },
	{"count",            FLAG,   &arg.count           },
	{"stats",            FLAG,   &arg.stats           },
	{"reboot-fails",     FLAG,   &arg.reboot_fails    },
	{"own-namespace",    FLAG,   &arg.own_namespace   },
	{"threaded",         FLAG,   &arg.threaded        },
};

static void usage(void)
{
	fprintf(stderr, "update_driver: see the top of its source for its options\n");
	exit(2);
}

static void set(const struct option_row *row, const char *text)
{
	switch (row->kind) {
	case TEXT:
		*(const char **)row->to = text;
		break;
	case NUMBER:
		*(unsigned long *)row->to = strtoul(text, NULL, 10);
		break;
	case FLAG:
		*(bool *)row->to = true;
		break;
	}
}

static void parse(int argc, char **argv)
{
	struct option longs[ARRAY_SIZE(rows) + 1] = {0};
	int index;

	arg = (struct driver){
		.version = "test", .cookies = "", .uuid = "", .label = "", .log_server_grpc = ""};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		longs[i].name = rows[i].name;
		longs[i].has_arg = rows[i].kind == FLAG ? no_argument : required_argument;
	}
	for (int c; (c = getopt_long(argc, argv, "", longs, &index)) >= 0;) {
		if (c != 0)
			usage();
		set(&rows[index], optarg);
	}
	if (!arg.url || !arg.certs || !arg.device || !arg.active || !arg.work)
		usage();
}

int main(int argc, char **argv)
{
	struct ota_err err = {0};
	int r;

	heap_keep_small(); /* as the daemon does, for those who measure */
	parse(argc, argv);
	if (chdir(arg.work) < 0) {
		perror(arg.work);
		return 2;
	}
	if (arg.own_namespace && mount_own_namespace(&err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	io_set_hook(on_point, NULL);
	log_set_sink(on_log_line, NULL);
	r = run(&err);
	if (arg.count)
		printf("%lu\n", (unsigned long)n_points);
	if (r < 0) {
		/* An update has blamed its own. */
		ota_err_blame(&err, OTA_E_STARTUP_FAILED);
		fprintf(stderr, "E%03d: %s\n", err.code, err.msg);
	}
	return r < 0 ? 1 : 0;
}
