/*
 * otaclient: the update daemon of one ECU.
 *
 * Start: claim the machine (lock), read the configuration, let the boot controller recognise it,
 * decide what the last restart meant (first_boot), then serve the API, commit a new system once it is healthy (trial),
 * and run updates (updater) until told to stop.
 *
 * Threads: this one waits in the API's queue; trial has one until a new system is committed, the updater has one of its
 * own while an update runs, proxy_child one if this ECU runs a proxy, remote_log one if there is a log server, the API
 * two for calls that may wait, the tree one for each ECU directly below, and the hooks one behind a commit.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot-controllers/boot_controller.h"
#include "common/base/cleanup.h"
#include "common/base/heap.h"
#include "common/base/log.h"
#include "common/base/mount.h"
#include "common/crypto/cert_store.h"
#include "otaclient/api/service.h"
#include "otaclient/command_line.h"
#include "otaclient/configuration.h"
#include "otaclient/flight/flight_recorder.h"
#include "otaclient/flight/return_reason.h"
#include "otaclient/log/journal.h"
#include "otaclient/machine_claim.h"
#include "otaclient/own_proxy.h"
#include "otaclient/remote_log.h"
#include "otaclient/service_manager.h"
#include "otaclient/slot/slot_note.h"
#include "otaclient/status/progress.h"
#include "otaclient/status/status.h"
#include "otaclient/tree/tree.h"
#include "otaclient/trial/first_boot.h"
#include "otaclient/trial/trial.h"
#include "otaclient/trial/trial_checks.h"
#include "otaclient/update/update_hooks.h"
#include "otaclient/update/updater.h"

/* There once the running system is known to be committed; systemd/otaclient-commit-guard.service looks for it. */
#define SETTLED_PATH "/run/otaclient.settled"

enum {
	EXIT_USAGE = 2,
	OPEN_FILES = 65536,
};

/* All that main() owns, in the order in which it comes to be. */
struct daemon {
	struct command_line options;
	int lock_fd;
	struct configuration conf;
	struct remote_log *remote_log; /* NULL = none */
	struct own_proxy proxy;
	struct cert_store *certs;
	struct boot_ctl *boot;
	struct flight_recorder *recorder; /* NULL until the boot controller has started */
	struct status *status;
	struct tree *tree; /* NULL = no ECUs below */
	struct children children;
	struct update_env env;
	struct updater *updater;
	struct trial *trial; /* NULL = the running system is no new one */
	struct hooks_thread *post_commit; /* the trial's thread sets it; NULL = they are not run */
	struct trial_checks checks;       /* for the trial's thread */
	struct progress progress;
	struct service_manager service;
	bool ready; /* the boot controller has started: updates may be accepted */
	struct ota_err not_ready;
	/* What the API borrows for as long as it runs. */
	const char *available_ids[ECU_IDS_MAX];
	struct request_handler handler;
	struct api_service *api;
};

static struct api_service *api_to_stop; /* for the signal handler */

static void on_signal(int signo)
{
	if (api_to_stop)
		api_service_stop(api_to_stop);
}

static void log_cert_note(void *ctx, const char *sentence)
{
	log_warning("%s", sentence);
}

/* What is logged from here on is for the log server as well, whose address is read next. */
static void prepare_remote_log(struct daemon *d)
{
	struct ota_err err = {0};

	if (remote_log_new(&d->remote_log, &err) < 0)
		log_warning("Nothing is sent to the log server: %s", err.msg);
}

/* It is done without a log server if there is none, or none can be spoken to. */
static void start_remote_log(struct daemon *d)
{
	const struct remote_log_config config = {
		.server = d->conf.proxy.logging_server,
		.server_grpc = d->conf.proxy.logging_server_grpc,
		.ecu_id = d->conf.ecu.ecu_id,
		.tls_ca = conf_text_or_null(d->conf.settings.tls_ca),
	};
	struct ota_err err = {0};

	if (d->remote_log && config.server[0] &&
		remote_log_start(d->remote_log, &config, &err) == 0)
		return;
	remote_log_free(TAKE_PTR(d->remote_log));
	if (err.errnum != 0)
		log_warning("Nothing is sent to the log server: %s", err.msg);
}

static int read_configuration(struct daemon *d, struct ota_err *err)
{
	int r;

	prepare_remote_log(d);
	r = configuration_read(&d->options, &d->conf, err);
	if (r < 0)
		return r;
	start_remote_log(d);
	configuration_warn(&d->conf, &d->options);
	return 0;
}

/* Without certificates every image is refused, with a sentence; that is no reason not to run. */
static int open_certs(struct daemon *d, struct ota_err *err)
{
	struct ota_err why = {0};
	int r = cert_store_open(d->conf.certs_dir, log_cert_note, NULL, &d->certs, &why);

	if (r == -ENOMEM)
		*err = why;
	else if (r < 0)
		log_warning("%s", why.msg);
	return r == -ENOMEM ? r : 0;
}

/* ---- the proxy ---- */

/* An ECU by itself is done when it runs what it was updated to; with ECUs below it, all must. */
static void finish_proxy_if_alone(struct daemon *d)
{
	if (d->conf.ecu.n_secondaries == 0)
		own_proxy_finish(&d->proxy);
}

static void choose_proxy(struct daemon *d)
{
	struct status_snapshot now;

	own_proxy_choose(&d->proxy, &d->conf.proxy, &d->conf.settings, d->conf.log_level);
	status_get(d->status, &now);
	if (now.ota_status == STATUS_SUCCESS)
		finish_proxy_if_alone(d);
}

/* ---- a new system ---- */

/* Without this sign a system that is on trial is restarted by systemd, and so left, if we cannot do it. */
static void tell_settled(void)
{
	AUTO_CLOSE int fd = open(SETTLED_PATH,
		O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		log_warning("Cannot make %s: %s", SETTLED_PATH, strerror(errno));
}

static int on_health_check(
	void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx, struct ota_err *err)
{
	return trial_checks_run(&((struct daemon *)ctx)->checks, stop, stop_ctx, err);
}

static void on_committed(void *ctx)
{
	struct daemon *d = ctx;
	struct status_snapshot now;

	status_get(d->status, &now);
	flight_recorder_note(d->recorder, FLIGHT_COMMIT, now.firmware_version, "%s", "");
	tell_settled();
	finish_proxy_if_alone(d);
	d->post_commit = post_commit_hooks(
		&d->env.hooks, d->boot, d->conf.ecu.ecu_id, now.ota_status == STATUS_ROLLBACKING);
}

static void on_given_up(void *ctx, const struct ota_err *why)
{
	struct daemon *d = ctx;

	flight_recorder_kernel(d->recorder);
	flight_recorder_note(d->recorder, FLIGHT_REVERT, NULL, "%s", why->msg);
}

static int make_trial(struct daemon *d, struct ota_err *err)
{
	const struct settings *s = &d->conf.settings;
	const struct trial_config config = {
		.boot = d->boot,
		.root = "",
		.status = d->status,
		.run_dir = s->run_dir,
		.timeout_s = s->health_timeout_s,
		.check = s->health_check ? on_health_check : NULL,
		.committed = on_committed,
		.given_up = on_given_up,
		.ctx = d,
	};
	struct status_snapshot now;
	struct slot_pair slots;
	int r = d->boot->ops->slots(d->boot, &slots, err);

	if (r < 0)
		return r;
	status_get(d->status, &now);
	trial_checks_init(&d->checks, s,
		&(struct trial_checked){
			.version = now.firmware_version,
			.slot = slots.active.id,
			.ecu_id = d->conf.ecu.ecu_id,
			.listen_ip = d->conf.ecu.ip_addr,
			.recorder = d->recorder,
		});
	d->trial = trial_new(&config);
	return d->trial ? 0 : -ENOMEM;
}

/* What the last restart meant, with the story around it. */
static int find_out_what_booted(struct daemon *d, const struct boot_traces *traces, bool reset,
	bool *ret_on_trial, struct ota_err *err)
{
	struct ota_err ignored = {0};
	struct return_reason why;
	struct slot_pair slots;
	int r = d->boot->ops->slots(d->boot, &slots, err);

	if (r < 0)
		return r;
	d->recorder = flight_recorder_open(FLIGHT_RECORDER_PATH, slots.active.id);
	return_reason_begin(d->recorder, &slots, reset, &why);
	r = first_boot_run(d->boot, reset, d->status, ret_on_trial, err);
	if (r < 0) {
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
		flight_recorder_failure(d->recorder, err->code, err->msg);
		return r;
	}
	return_reason_tell(
		&why, d->recorder, &slots, traces, "", d->conf.settings.run_dir, d->status);
	if (why.trial_lost && d->boot->ops->forget_trial &&
		d->boot->ops->forget_trial(d->boot, &ignored) < 0)
		log_warning("%s", ignored.msg);
	return 0;
}

/* The boot loader, and what the last restart meant. A failure here leaves the API up, to say so. */
static int start_boot(struct daemon *d, struct ota_err *err)
{
	const struct boot_env env = {
		.root = "",
		.version = OTA_VERSION,
		.run_dir = d->conf.settings.run_dir,
		.boot_attempts = d->conf.settings.boot_attempts,
		.committed_attempts = d->conf.settings.committed_attempts,
	};
	struct boot_traces traces = {0};
	bool reset = false, on_trial = false;
	int r = boot_controller_open(d->conf.ecu.bootloader, &env, &d->boot, err);

	assert(r < 0 || d->boot);
	if (r == 0 && d->boot->ops->traces)
		d->boot->ops->traces(d->boot, &traces);
	if (r == 0)
		r = d->boot->ops->setup(d->boot, &reset, err);
	if (r == 0)
		r = slot_note_find(d->boot, d->conf.settings.run_dir, err);
	if (r == 0)
		r = find_out_what_booted(d, &traces, reset, &on_trial, err);
	if (r == 0)
		first_boot_settle(d->boot);
	if (r == 0 && on_trial)
		r = make_trial(d, err);
	else if (r == 0)
		tell_settled();
	if (r < 0)
		ota_err_blame(err, OTA_E_BOOTCONTROL_STARTUP);
	return r;
}

static void report(void *ctx, const char *record)
{
	struct daemon *d = ctx;

	log_debug("Record of the update: %s", record);
	if (d->remote_log)
		remote_log_metrics(d->remote_log, record);
}

static int wait_for_children(void *ctx, bool (*stop)(void *), void *stop_ctx)
{
	struct daemon *d = ctx;

	return tree_wait_for_children(d->tree, stop, stop_ctx);
}

/* ---- the ECUs below ---- */

static void on_tree_request(void *ctx, const struct wire_request *request)
{
	own_proxy_allow(&((struct daemon *)ctx)->proxy, request);
}

static void on_tree_change(void *ctx, const struct summary *now)
{
	own_proxy_follow(&((struct daemon *)ctx)->proxy, now);
}

/* They are watched before anybody can ask for them. */
static int start_tree(struct daemon *d, struct ota_err *err)
{
	const struct tree_config config = {
		.ecu = &d->conf.ecu,
		.status = d->status,
		.wait_limit_s = d->conf.settings.children_wait_limit_s,
		.before_update = on_tree_request,
		.on_change = on_tree_change,
		.ctx = d,
	};

	if (d->conf.ecu.n_secondaries == 0)
		return 0;
	d->children = (struct children){.wait = wait_for_children, .ctx = d};
	return tree_new(&config, &d->tree, err);
}

static void fill_env(struct daemon *d)
{
	d->env = (struct update_env){
		.status = d->status,
		.boot = d->boot,
		.certs = d->certs,
		.recorder = d->recorder,
		.proxy = conf_text_or_null(d->proxy.url),
		.proxy_child = d->proxy.child,
		.proxy_wishes = d->proxy.wishes,
		.children = d->tree ? &d->children : NULL,
		.past_proxy = conf_text_or_null(d->conf.proxy.upper_ota_proxy),
		.tls_ca = conf_text_or_null(d->conf.settings.tls_ca),
		.run_dir = d->conf.settings.run_dir,
		.scratch_dir = d->conf.settings.scratch_dir,
		.active_root = "/",
		.connections = d->conf.settings.download_connections,
		.inactivity_ms = d->conf.settings.inactivity_timeout_s * 1000,
		.max_download_bytes = (uint64_t)d->conf.settings.max_download_mib << 20,
		.ecu_id = d->conf.ecu.ecu_id,
		.hooks = {.dir = HOOKS_DIR, .timeout_ms = d->conf.settings.hook_timeout_s * 1000},
		.proxy_keeps = d->proxy.child && proxy_info_use_cache(&d->conf.proxy),
		.report = report,
		.report_ctx = d,
	};
}

/* @what: of this ECU. 0: nothing is in the way. */
static int refuse(struct daemon *d, const char *what, struct ota_err *err)
{
	if (!d->ready) {
		*err = d->not_ready;
		return ota_err_wrap(err, d->not_ready.errnum, "This ECU cannot %s", what);
	}
	return trial_refuse(d->trial, err);
}

static int on_update(void *ctx, const struct update_request *request, struct ota_err *err)
{
	struct daemon *d = ctx;
	int r = refuse(d, "be updated", err);

	return r < 0 ? r : updater_request(d->updater, request, err);
}

static int on_abort(void *ctx, struct ota_err *ret_answer)
{
	struct daemon *d = ctx;

	if (trial_refuse_abort(d->trial, ret_answer) < 0)
		return ret_answer->errnum;
	return updater_abort(d->updater, ret_answer);
}

static int on_rollback(void *ctx, struct ota_err *err)
{
	struct daemon *d = ctx;
	int r = refuse(d, "go back", err);

	return r < 0 ? r : updater_rollback(d->updater, err);
}

static int on_forecast(void *ctx, const struct update_request *request,
	struct forecast_report *ret_report, struct ota_err *err)
{
	struct daemon *d = ctx;
	int r = refuse(d, "be updated", err);

	return r < 0 ? r : updater_forecast(d->updater, request, ret_report, err);
}

/* The daemon's only timer. */
static void on_tick(void *ctx)
{
	struct daemon *d = ctx;
	struct status_snapshot now;
	char text[PROGRESS_TEXT_MAX];

	status_get(d->status, &now);
	service_manager_tick(&d->service, &now);
	if (progress_tick(&d->progress, d->status, text))
		log_info("%s", text);
	log_tell_left_out();
}

static int start_api(struct daemon *d, struct ota_err *err)
{
	struct api_config config = {
		.listen_ip = d->conf.ecu.ip_addr,
		.port = (uint16_t)d->conf.settings.listen_port,
		.ecu_id = d->conf.ecu.ecu_id,
		.available_ecu_ids = d->available_ids,
		.n_available = d->conf.ecu.n_available,
		.ecu_info_loaded = d->conf.ecu.loaded,
		.ecu_info_wrong = d->conf.ecu.wrong,
		.tree = d->tree ? tree_api(d->tree) : NULL,
		.tick = on_tick,
		.tick_ctx = d,
	};

	for (uint32_t i = 0; i < d->conf.ecu.n_available; i++)
		d->available_ids[i] = d->conf.ecu.available_ecu_ids[i];
	d->handler = (struct request_handler){
		.update = on_update,
		.abort = on_abort,
		.rollback = on_rollback,
		.forecast = on_forecast,
		.ctx = d,
	};
	return api_service_start(&config, d->status, &d->handler, &d->api, err);
}

/* What the daemon wants of the system for itself, but can do without. */
static void settle_in(void)
{
	struct ota_err err = {0};
	struct rlimit files;

	/* No process that is started meanwhile shall hold on to the standby slot. */
	if (mount_own_namespace(&err) < 0)
		log_warning("%s", err.msg);
	/* Folders are emptied with a descriptor for each level. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = MIN_OF(files.rlim_max, (rlim_t)OPEN_FILES);
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/*
 * Who starts without what memory was too short for would serve so until the next start, as another ECU perhaps, or
 * without a boot controller, and so without the trial of a new system. Whoever does not start is started again.
 */
static int daemon_start(struct daemon *d, struct ota_err *err)
{
	int r = machine_claim(&d->lock_fd, err);

	if (r < 0)
		return r;
	settle_in();
	r = read_configuration(d, err);
	if (r < 0)
		return r;
	r = open_certs(d, err);
	if (r < 0)
		return r;
	/* Up to here each key and certificate has its line, however many they are. */
	log_set_limit(true);
	d->status = status_new();
	if (!d->status)
		return -ENOMEM;
	r = start_boot(d, &d->not_ready);
	if (r == -ENOMEM) {
		*err = d->not_ready;
		return r;
	}
	d->ready = r == 0;
	if (r < 0) {
		log_error("E%03d: %s", d->not_ready.code, d->not_ready.msg);
		status_set_failure(d->status, STATUS_FAILURE, &d->not_ready);
	}
	choose_proxy(d);
	r = start_tree(d, err);
	if (r < 0)
		return r;
	fill_env(d);
	d->updater = updater_new(&d->env, d->conf.settings.update_cooldown_s);
	if (!d->updater)
		return -ENOMEM;
	return start_api(d, err);
}

static void daemon_done(struct daemon *d)
{
	api_to_stop = NULL;
	trial_free(d->trial);
	hooks_thread_free(d->post_commit);
	api_service_free(d->api);
	updater_free(d->updater);
	tree_free(d->tree);
	own_proxy_done(&d->proxy);
	status_free(d->status);
	flight_recorder_free(d->recorder);
	if (d->boot)
		d->boot->ops->close(d->boot);
	cert_store_free(d->certs);
	log_set_limit(false);
	remote_log_free(d->remote_log);
	machine_release(d->lock_fd);
}

/*
 * Only once READY=1 is told, since the target that it waits for waits for this unit. Without a thread the decision is
 * systemd's (otaclient-commit-guard).
 */
static void start_trial(struct daemon *d)
{
	int r = d->trial ? trial_start(d->trial) : 0;

	if (r < 0)
		log_error("The new system cannot be checked: %s", strerror(-r));
}

static void catch_signals(struct api_service *api)
{
	struct sigaction sa = {.sa_handler = on_signal};

	api_to_stop = api;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
}

int main(int argc, char **argv)
{
	static struct daemon d = {.lock_fd = -1};
	struct ota_err err = {0};
	int r = command_line_read(argc, argv, &d.options);

	if (r < 0)
		return EXIT_USAGE;
	if (r > 0) {
		if (fflush(stdout) == 0 && !ferror(stdout))
			return 0;
		fprintf(stderr, "otaclient: Cannot write to the standard output: %s\n",
			strerror(errno));
		return 1;
	}
	heap_keep_small();
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	journal_use();
	service_manager_init(&d.service);
	r = daemon_start(&d, &err);
	if (r == 0) {
		catch_signals(d.api);
		service_manager_ready(&d.service);
		log_info("otaclient " OTA_VERSION " serves ECU %s on %s:%u", d.conf.ecu.ecu_id,
			d.conf.ecu.ip_addr, d.conf.settings.listen_port);
		start_trial(&d);
		r = api_service_run(d.api, &err);
		service_manager_stopping();
	} else if (err.errnum == 0) {
		ota_err_wrap(&err, r, "Cannot start");
	}
	if (r < 0) {
		ota_err_blame(&err, OTA_E_STARTUP_FAILED);
		log_error("E%03d: %s", err.code, err.msg);
	}
	daemon_done(&d);
	return r < 0 ? 1 : 0;
}
