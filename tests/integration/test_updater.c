/*
 * Abort and rollback by the real updater in its own thread, with fake_boot for a loader, a server that never answers,
 * and an ext4 on a loop device as the other slot. Needs root and loop devices.
 *
 * Elsewhere: an abort in every step of a whole update (test_faults.py), the way back with GRUB (ecu/test_ecu.py).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/base/mount.h"
#include "common/base/run.h"
#include "common/crypto/digest.h"
#include "otaclient/log/journal.h"
#include "otaclient/slot/fs_state.h"
#include "otaclient/trial/first_boot.h"
#include "otaclient/update/updater.h"
#include "tests/support/fake_boot.h"

enum {
	COOLDOWN_S = 1000,
	PATIENCE_MS = 20000, /* for what takes far less */
};

/* ---- the clock: the real one, which the test can set forward ------------------------------------ */

static atomic_uint_fast64_t skipped_ms;

static uint64_t test_monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 +
	       atomic_load(&skipped_ms);
}

static int64_t test_unix_s(void)
{
	return time(NULL);
}

static atomic_bool in_a_hurry; /* what would be slept is over at once */

static void test_sleep_ms(uint64_t ms)
{
	if (atomic_load(&in_a_hurry))
		ms = 1;
	nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000),
			  .tv_nsec = (long)(ms % 1000) * 1000000},
		NULL);
}

static void test_random(void *ret_data, size_t len_bytes)
{
	assert_int_equal(getrandom(ret_data, len_bytes, 0), len_bytes);
}

static const struct clock_ops test_clock = {
	.monotonic_ms = test_monotonic_ms,
	.unix_s = test_unix_s,
	.sleep_ms = test_sleep_ms,
	.random = test_random,
};

struct machine {
	char dir[64], device[64];
	int server; /* listens, and answers nothing */
	char url[64];
	struct fake_boot fake;
	struct boot_ctl *boot;
	struct status *status;
	struct update_env env;
	struct updater *updater;
	struct ota_err err;
};

/* ---- the machine -------------------------------------------------------------------------------- */

static void tool(const char *const *argv, struct buf *out)
{
	struct ota_err err = {0};

	if (run_tool(&(struct run_args){.argv = argv, .out = out}, &err) < 0)
		fail_msg("%s", err.msg);
}

static void make_device(struct machine *m)
{
	char image[128];
	const char *const losetup[] = {"losetup", "--show", "-f", image, NULL};
	const char *const mkfs[] = {"mkfs.ext4", "-q", "-F", image, NULL};
	AUTO_BUF struct buf out = {0};
	AUTO_CLOSE int fd = -1;

	snprintf(image, sizeof(image), "%s/slot_b.img", m->dir);
	fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	tool(mkfs, NULL);
	tool(losetup, &out);
	snprintf(m->device, sizeof(m->device), "%.*s", (int)strcspn(buf_str(&out), "\n"),
		buf_str(&out));
}

/* What anybody could do with the other slot. */
static void mount_device(struct machine *m, unsigned long flags)
{
	char point[128];

	snprintf(point, sizeof(point), "%s/mnt", m->dir);
	mkdir(point, 0700);
	assert_int_equal(mount(m->device, point, "ext4", flags, NULL), 0);
	assert_int_equal(umount(point), 0);
}

static void make_server(struct machine *m)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	m->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m->server, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(m->server, 16), 0);
	assert_int_equal(getsockname(m->server, (struct sockaddr *)&a, &len), 0);
	snprintf(m->url, sizeof(m->url), "http://127.0.0.1:%u/image", ntohs(a.sin_port));
}

static void open_boot(struct machine *m)
{
	bool reset;

	assert_int_equal(
		boot_controller_open("fake", &(struct boot_env){.root = ""}, &m->boot, &m->err), 0);
	assert_int_equal(m->boot->ops->setup(m->boot, &reset, &m->err), 0);
	m->env.boot = m->boot;
}

static const char *folder_of(const struct machine *m, char slot)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/ota-slot_%c", m->dir, slot);
	return path;
}

static enum ota_status stored(const struct machine *m, char slot)
{
	return status_store_read_status(folder_of(m, slot));
}

static void assert_in_use(const struct machine *m, char slot, const char *want)
{
	char have[STATUS_SLOT_MAX];

	status_store_read_slot_in_use(folder_of(m, slot), have);
	assert_string_equal(have, want);
}

static void put_state(const struct machine *m, const char *name, char slot)
{
	AUTO_CLOSE int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(io_replace_file("test", fd, name, &slot, 1, 0644), 0);
}

/* What the daemon does at its start; a new system is healthy at once. */
static void first_boot(struct machine *m)
{
	bool on_trial;

	assert_int_equal(first_boot_run(m->boot, false, m->status, &on_trial, &m->err), 0);
	if (!on_trial)
		return;
	assert_int_equal(first_boot_commit(m->boot, m->dir, &m->err), 0);
	status_set_live(m->status, STATUS_SUCCESS);
}

/* Slot a runs and is committed; slot b was left whole by it. */
static int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));
	struct complete_mark mark = {0};
	struct fs_state fs;

	snprintf(m->dir, sizeof(m->dir), "/tmp/test_updater.XXXXXX");
	assert_non_null(mkdtemp(m->dir));
	make_server(m);
	make_device(m);
	mount_device(m, 0);
	assert_int_equal(fs_state_read(m->device, &fs), 0);
	m->fake = (struct fake_boot){
		.dir = m->dir,
		.device = {"/dev/null", m->device      },
		.fs_uuid = {"0a",        strdup(fs.uuid)},
	};
	fake_boot_use(&m->fake);
	m->status = status_new();
	m->env = (struct update_env){
		.status = m->status,
		.run_dir = m->dir,
		.scratch_dir = m->dir,
		.active_root = "/",
		.inactivity_ms = 100 * 1000,
	};
	open_boot(m);
	put_state(m, "entry_b", 'b');
	snprintf(mark.fs_uuid, sizeof(mark.fs_uuid), "%s", fs.uuid);
	mark.other_mount_s = fs.mounted_unix_s;
	assert_int_equal(status_store_write_status(folder_of(m, 'a'), STATUS_SUCCESS, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(folder_of(m, 'a'), "ota-slot_a", NULL), 0);
	assert_int_equal(status_store_write_status(folder_of(m, 'b'), STATUS_FAILURE, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(folder_of(m, 'b'), "ota-slot_a", NULL), 0);
	assert_int_equal(status_store_write_complete(folder_of(m, 'b'), &mark, NULL), 0);
	first_boot(m);
	m->updater = updater_new(&m->env, COOLDOWN_S);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct machine *m = *state;
	const char *const detach[] = {"losetup", "-d", m->device, NULL};
	const char *const rm[] = {"rm", "-rf", m->dir, NULL};

	updater_free(m->updater);
	m->boot->ops->close(m->boot);
	fake_boot_use(NULL);
	fake_boot_done(&m->fake);
	status_free(m->status);
	close(m->server);
	tool(detach, NULL);
	tool(rm, NULL);
	free((char *)(uintptr_t)m->fake.fs_uuid[1]);
	free(m);
	return 0;
}

/* ---- what is asked of it ------------------------------------------------------------------------ */

static int request_update(struct machine *m)
{
	char none[] = "", version[] = "v2";
	struct update_request q = {.version = version,
		.url = m->url,
		.cookies = none,
		.release_name = none,
		.release_id = none,
		.image_id = none,
		.request_id = none};

	m->err = (struct ota_err){0};
	return updater_request(m->updater, &q, &m->err);
}

static int request_rollback(struct machine *m)
{
	m->err = (struct ota_err){0};
	return updater_rollback(m->updater, &m->err);
}

static int request_abort(struct machine *m)
{
	m->err = (struct ota_err){0};
	return updater_abort(m->updater, &m->err);
}

static int request_forecast_of(struct machine *m, const char *id, const char *version,
	const char *url, struct forecast_report *ret_report)
{
	char none[] = "";
	struct update_request q = {.version = (char *)(uintptr_t)version,
		.url = (char *)(uintptr_t)url,
		.cookies = none,
		.release_name = none,
		.release_id = none,
		.image_id = none,
		.request_id = (char *)(uintptr_t)id};

	m->err = (struct ota_err){0};
	return updater_forecast(m->updater, &q, ret_report, &m->err);
}

static int request_forecast(struct machine *m, const char *id, struct forecast_report *ret_report)
{
	return request_forecast_of(m, id, "v2", m->url, ret_report);
}

static struct status_snapshot *now(struct machine *m)
{
	static struct status_snapshot snap;

	status_get(m->status, &snap);
	return &snap;
}

static void wait_for_live(struct machine *m, enum ota_status want)
{
	uint64_t until = clock_monotonic_ms() + PATIENCE_MS;

	while (now(m)->ota_status != want) {
		if (clock_monotonic_ms() > until)
			fail_msg("The live status stays %s, %s",
				ota_status_name(now(m)->ota_status), now(m)->failure_reason);
		clock_sleep_ms(5);
	}
}

static void wait_for_phase(struct machine *m, enum update_phase want)
{
	uint64_t until = clock_monotonic_ms() + PATIENCE_MS;

	while (now(m)->update.phase != want) {
		if (clock_monotonic_ms() > until)
			fail_msg("The phase stays %s", update_phase_name(now(m)->update.phase));
		clock_sleep_ms(5);
	}
}

/* The machine restarts, and what comes up is the daemon on the slot that was chosen. */
static void restart(struct machine *m)
{
	updater_free(m->updater);
	m->boot->ops->close(m->boot);
	fake_boot_restart(&m->fake);
	open_boot(m);
	m->updater = updater_new(&m->env, COOLDOWN_S);
}

/* ---- abort -------------------------------------------------------------------------------------- */

static void nothing_runs_so_nothing_can_be_aborted(void **state)
{
	struct machine *m = *state;

	assert_int_equal(request_abort(m), -ESRCH);
	assert_string_equal(m->err.msg, "Cannot abort: no active OTA update in progress");
	assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
	assert_int_equal(stored(m, 'a'), STATUS_SUCCESS);
}

/* ---- forecast ----------------------------------------------------------------------------------- */

/* Of all bytes of the other slot, and of what is said of it beside. */
static void fingerprint(const struct machine *m, char ret_hex[DIGEST_HEX_MAX])
{
	AUTO_CLOSE int fd = open(m->device, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *bytes = malloc(16 << 20);
	struct digest d;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, 16 << 20, 0), 16 << 20);
	digest_of(bytes, 16 << 20, &d);
	digest_to_hex(&d, ret_hex);
}

static void wait_for_end_of_forecast(struct machine *m, const char *id)
{
	uint64_t until = clock_monotonic_ms() + PATIENCE_MS;
	struct forecast_report report;

	while (request_forecast(m, id, &report) == 0 && !report.ended) {
		if (clock_monotonic_ms() > until)
			fail_msg("The forecast does not end");
		clock_sleep_ms(5);
	}
}

static void assert_untouched(struct machine *m, const char *before)
{
	char after[DIGEST_HEX_MAX];

	fingerprint(m, after);
	assert_string_equal(after, before);
	assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
	assert_false(now(m)->has_failure);
	assert_int_equal(stored(m, 'a'), STATUS_SUCCESS);
	assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
	assert_in_use(m, 'a', "ota-slot_a");
}

static const char busy[] = "A forecast of an update is being made; this request has been ignored";

static void a_forecast_keeps_rollbacks_and_forecasts_out_and_shows_in_no_status(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;
	char before[DIGEST_HEX_MAX];
	AUTO_CLOSE int asked = -1;

	fingerprint(m, before);
	assert_int_equal(request_forecast(m, "one", &report), 0);
	assert_false(report.ended);
	asked = accept(m->server, NULL, NULL);
	assert_int_equal(request_rollback(m), -EBUSY);
	assert_string_equal(m->err.msg, busy);
	assert_int_equal(m->err.code, OTA_E_OTA_BUSY);
	assert_int_equal(request_forecast(m, "two", &report), -EBUSY);
	assert_string_equal(m->err.msg, busy);
	assert_int_equal(request_forecast(m, "one", &report), 0);
	assert_false(report.ended);
	assert_int_equal(report.phase, PHASE_PROCESSING_METADATA);
	assert_untouched(m, before);

	assert_int_equal(request_abort(m), 0);
	assert_string_equal(m->err.msg, "Abort accepted, aborting update immediately");
	wait_for_end_of_forecast(m, "one");
	assert_int_equal(m->err.code, OTA_E_ABORTED);
	assert_string_equal(m->err.msg, "The forecast was aborted");
	assert_untouched(m, before);
	assert_int_equal(request_abort(m), -ESRCH);

	/* Once its end is told the way is free, without a pause, and the slot is still one to go back to. */
	assert_int_equal(request_update(m), 0);
	assert_int_equal(request_forecast(m, "two", &report), -EBUSY);
	assert_string_equal(
		m->err.msg, "An update is running already; this request has been ignored");
	assert_int_equal(request_abort(m), 0);
	wait_for_live(m, STATUS_ABORTED);
	assert_int_equal(request_rollback(m), 0);
	wait_for_live(m, STATUS_ROLLBACKING);
}

/* When the server has been asked, and then at once, which may leave a connection that nobody has accepted. */
static void an_update_takes_the_place_of_a_forecast(void **state)
{
	static const char *const ids[] = {"one", "two"};
	struct machine *m = *state;
	struct forecast_report report;

	for (int i = 0; i < 2; i++) {
		AUTO_CLOSE int asked = -1;

		assert_int_equal(request_forecast(m, ids[i], &report), 0);
		if (i == 0)
			asked = accept(m->server, NULL, NULL);
		assert_int_equal(request_update(m), 0);
		assert_int_equal(now(m)->ota_status, STATUS_UPDATING);
		wait_for_end_of_forecast(m, ids[i]);
		assert_int_equal(m->err.code, OTA_E_ABORTED);
		assert_string_equal(m->err.msg, "An update has taken the place of the forecast");
		assert_int_equal(request_forecast(m, "three", &report), -EBUSY);
		assert_string_equal(
			m->err.msg, "An update is running already; this request has been ignored");
		assert_int_equal(request_update(m), -EBUSY);
		assert_string_equal(
			m->err.msg, "An update is running already; this request has been ignored");
		/* It is not the update that has ended. */
		wait_for_phase(m, PHASE_PROCESSING_METADATA);
		assert_int_equal(now(m)->ota_status, STATUS_UPDATING);
		assert_int_equal(request_abort(m), 0);
		wait_for_live(m, STATUS_ABORTED);
		assert_string_equal(now(m)->failure_reason, "");
		assert_int_equal(stored(m, 'a'), STATUS_ABORTED);
	}
	assert_int_equal(request_forecast(m, "three", &report), 0);
}

static void an_update_that_is_refused_leaves_the_forecast_alone(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;
	char url[sizeof(m->url)];

	assert_int_equal(request_forecast(m, "one", &report), 0);
	memcpy(url, m->url, sizeof(url));
	snprintf(m->url, sizeof(m->url), "no-url");
	assert_int_equal(request_update(m), -EINVAL);
	memcpy(m->url, url, sizeof(url));
	assert_int_equal(request_forecast(m, "one", &report), 0);
	assert_false(report.ended);
	assert_int_equal(request_forecast(m, "two", &report), -EBUSY);
	assert_string_equal(m->err.msg, busy);
}

static void the_end_of_the_daemon_ends_a_forecast_and_the_update_in_its_place(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;
	AUTO_CLOSE int asked = -1;
	uint64_t began;

	assert_int_equal(request_forecast(m, "one", &report), 0);
	asked = accept(m->server, NULL, NULL);
	assert_int_equal(request_update(m), 0);
	began = clock_monotonic_ms();
	updater_free(m->updater);
	m->updater = NULL;
	assert_true(clock_monotonic_ms() - began < 5000);
	assert_int_equal(now(m)->ota_status, STATUS_FAILURE);
	assert_string_equal(
		now(m)->failure_reason, "E207: The update was stopped because otaclient ends");
}

static void a_forecast_that_nobody_asks_for_ends(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;
	char before[DIGEST_HEX_MAX];

	fingerprint(m, before);
	assert_int_equal(request_forecast(m, "one", &report), 0);
	for (int i = 0; i < 3; i++) { /* whoever asks again has it for as long again */
		atomic_fetch_add(&skipped_ms, 20 * 1000);
		assert_int_equal(request_forecast(m, "one", &report), 0);
		assert_false(report.ended);
	}
	atomic_fetch_add(&skipped_ms, 31 * 1000);
	for (uint64_t until = clock_monotonic_ms() + PATIENCE_MS;
		request_forecast(m, "two", &report) == -EBUSY;) {
		assert_true(clock_monotonic_ms() < until);
		clock_sleep_ms(5);
	}
	/* The other one is being made now; what became of the first is forgotten with its name. */
	assert_int_equal(request_forecast(m, "one", &report), -EBUSY);
	assert_untouched(m, before);
}

static void why_a_forecast_ended_is_told_to_whoever_asks_again(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;

	assert_int_equal(request_forecast(m, "one", &report), 0);
	atomic_fetch_add(&skipped_ms, 31 * 1000);
	for (uint64_t until = clock_monotonic_ms() + PATIENCE_MS; request_rollback(m) == -EBUSY;) {
		assert_true(clock_monotonic_ms() < until);
		clock_sleep_ms(5);
	}
	assert_int_equal(request_forecast(m, "one", &report), -ECANCELED);
	assert_string_equal(
		m->err.msg, "The forecast was stopped because nobody has asked for it for 30 s");
	assert_int_equal(request_forecast(m, "one", &report), -ECANCELED);
}

/* Else somebody would take the one image's figures for the other's. */
static void the_same_id_with_another_url_or_version_is_another_forecast(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;
	char other[sizeof(m->url) + 8];

	snprintf(other, sizeof(other), "%s-next", m->url);
	assert_int_equal(request_forecast(m, "one", &report), 0);
	assert_int_equal(request_forecast_of(m, "one", "v3", m->url, &report), -EBUSY);
	assert_string_equal(m->err.msg, busy);
	assert_int_equal(request_forecast_of(m, "one", "v2", other, &report), -EBUSY);
	assert_string_equal(m->err.msg, busy);
	assert_int_equal(request_forecast(m, "one", &report), 0);

	assert_int_equal(request_abort(m), 0);
	wait_for_end_of_forecast(m, "one");
	assert_string_equal(m->err.msg, "The forecast was aborted");
	assert_int_equal(request_forecast_of(m, "one", "v2", other, &report), 0);
	assert_false(report.ended);
	/* What became of the first is forgotten. */
	assert_int_equal(request_forecast(m, "one", &report), -EBUSY);
	assert_string_equal(m->err.msg, busy);
}

static void new_cookies_are_no_other_forecast(void **state)
{
	struct machine *m = *state;
	char none[] = "", version[] = "v2", id[] = "one", cookies[] = "{\"a\": \"b\"}";
	struct update_request q = {version, m->url, cookies, none, none, none, id};
	struct forecast_report report;

	assert_int_equal(request_forecast(m, "one", &report), 0);
	assert_int_equal(updater_forecast(m->updater, &q, &report, &m->err), 0);
	assert_false(report.ended);
}

static void a_forecast_of_nonsense_is_not_begun(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;

	snprintf(m->url, sizeof(m->url), "no-url");
	assert_int_equal(request_forecast(m, "one", &report), -EINVAL);
	assert_int_equal(m->err.code, OTA_E_INVALID_REQUEST);
	assert_int_equal(request_abort(m), -ESRCH);
}

static void the_end_of_the_daemon_ends_a_forecast(void **state)
{
	struct machine *m = *state;
	struct forecast_report report;
	char before[DIGEST_HEX_MAX];
	uint64_t began = clock_monotonic_ms();

	fingerprint(m, before);
	assert_int_equal(request_forecast(m, "one", &report), 0);
	updater_free(m->updater);
	m->updater = NULL;
	assert_true(clock_monotonic_ms() - began < 5000);
	assert_untouched(m, before);
}

/* ---- abort of an update ------------------------------------------------------------------------- */

struct ends {
	atomic_uint n_errors, n_warnings;
};

/* Under the log's lock, in the updater's thread. */
static void count_ends(void *ctx, const struct log_entry *entry)
{
	struct ends *ends = ctx;

	if (strstr(entry->text, ": E207: The update was "))
		atomic_fetch_add(
			entry->level == LOG_LEVEL_ERROR ? &ends->n_errors : &ends->n_warnings, 1);
}

static void an_abort_is_worth_a_warning_and_no_error(void **state)
{
	struct machine *m = *state;
	struct ends ends = {0};

	log_set_sink(count_ends, &ends);
	assert_int_equal(request_update(m), 0);
	assert_int_equal(request_abort(m), 0);
	wait_for_live(m, STATUS_ABORTED);
	assert_int_equal(ends.n_warnings, 1);
	assert_int_equal(ends.n_errors, 0);
	/* Which cannot be said of one that nobody wanted to end. */
	assert_int_equal(request_update(m), 0);
	updater_free(m->updater);
	m->updater = NULL;
	log_set_sink(NULL, NULL);
	assert_int_equal(ends.n_warnings, 1);
	assert_int_equal(ends.n_errors, 1);
}

static void an_abort_ends_a_download_that_stalls_and_the_next_update_is_taken(void **state)
{
	struct machine *m = *state;

	/* At once, and then when the server has been asked. */
	for (int i = 0; i < 2; i++) {
		AUTO_CLOSE int asked = -1;
		uint64_t began;

		assert_int_equal(request_update(m), 0);
		assert_int_equal(now(m)->ota_status, STATUS_UPDATING);
		if (i == 0)
			asked = accept(m->server, NULL, NULL);
		began = clock_monotonic_ms();
		assert_int_equal(request_abort(m), 0);
		assert_string_equal(m->err.msg, "Abort accepted, aborting update immediately");
		assert_int_not_equal(now(m)->ota_status, STATUS_UPDATING);
		wait_for_live(m, STATUS_ABORTED);
		assert_true(clock_monotonic_ms() - began < 5000);
		assert_int_equal(stored(m, 'a'), STATUS_ABORTED);
		assert_in_use(m, 'a', "ota-slot_a");
		assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
		assert_false(now(m)->has_failure);
		assert_int_equal(request_abort(m), -ESRCH);
	}
	/* It was in no critical state, so the way back is still there. */
	assert_int_equal(request_rollback(m), 0);
	wait_for_live(m, STATUS_ROLLBACKING);
}

struct impatient {
	struct updater *updater;
	unsigned n_accepted, n_already, n_nothing;
};

/* Asks until the update is gone. */
static void *ask_again_and_again(void *arg)
{
	struct impatient *i = arg;

	while (i->n_nothing == 0) {
		struct ota_err answer = {0};

		updater_abort(i->updater, &answer);
		if (strcmp(answer.msg, "Abort accepted, aborting update immediately") == 0)
			i->n_accepted++;
		else if (strcmp(answer.msg, "Abort already in progress") == 0)
			i->n_already++;
		else
			i->n_nothing++;
	}
	return NULL;
}

static void of_many_aborts_one_is_accepted(void **state)
{
	struct machine *m = *state;

	for (int round = 0; round < 8; round++) {
		struct impatient i[2] = {{.updater = m->updater}, {.updater = m->updater}};
		pthread_t thread[2];

		assert_int_equal(request_update(m), 0);
		for (int t = 0; t < 2; t++)
			assert_int_equal(
				pthread_create(&thread[t], NULL, ask_again_and_again, &i[t]), 0);
		for (int t = 0; t < 2; t++)
			pthread_join(thread[t], NULL);
		assert_int_equal(i[0].n_accepted + i[1].n_accepted, 1);
		assert_int_equal(now(m)->ota_status, STATUS_ABORTED);
	}
	/* The next start says so, too. */
	restart(m);
	first_boot(m);
	assert_int_equal(now(m)->ota_status, STATUS_ABORTED);
}

static void an_end_of_the_daemon_is_no_abort(void **state)
{
	struct machine *m = *state;

	assert_int_equal(request_update(m), 0);
	updater_free(m->updater);
	m->updater = NULL;
	assert_int_equal(now(m)->ota_status, STATUS_FAILURE);
	assert_string_equal(
		now(m)->failure_reason, "E207: The update was stopped because otaclient ends");
	assert_int_equal(stored(m, 'a'), STATUS_FAILURE);
}

static void a_failed_update_is_not_repeated_at_once(void **state)
{
	struct machine *m = *state;

	m->env.inactivity_ms = 100;
	assert_int_equal(request_update(m), 0);
	wait_for_live(m, STATUS_FAILURE);
	assert_int_equal(request_update(m), -EBUSY);
	assert_string_equal(m->err.msg,
		"The last request was accepted less than 1000 s ago; this one has been ignored");
}

/* ---- the record -------------------------------------------------------------------------------- */

static void keep_record(void *ctx, const char *record)
{
	assert_int_equal(buf_puts(ctx, record), 0);
}

/* A proxy that answers every request with 400, but for its status page, if that is in the file "counts". */
static void start_proxy(struct machine *m)
{
	char cache[96], url[64];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct proxy_child_config config = {.program = getenv("FAKE_PROXY"),
		.listen_addr = "127.0.0.1",
		.cache_dir = cache,
		.run_dir = m->dir};
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	config.port = ntohs(a.sin_port);
	snprintf(cache, sizeof(cache), "%s/cache", m->dir);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", config.port);
	assert_int_equal(proxy_child_new(&config, &m->env.proxy_child, &m->err), 0);
	m->env.proxy_wishes = proxy_wishes_new(m->env.proxy_child);
	assert_non_null(m->env.proxy_wishes);
	m->env.proxy = strdup(url);
}

static void stop_proxy(struct machine *m)
{
	proxy_wishes_free(m->env.proxy_wishes);
	proxy_child_free(m->env.proxy_child);
	m->env.proxy_wishes = NULL;
	m->env.proxy_child = NULL;
	free((char *)(uintptr_t)m->env.proxy);
	m->env.proxy = NULL;
}

static void the_record_has_what_the_proxy_has_counted_if_it_says_so(void **state)
{
	static const char page[] = "otaproxy_cache_hits_total 5\n"
				   "otaproxy_cache_misses_total 3\n"
				   "otaproxy_joined_requests_total 1\n"
				   "otaproxy_revalidated_requests_total 2\n# EOF\n";
	struct machine *m = *state;
	AUTO_BUF struct buf record = {0};
	AUTO_CLOSE int dir = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	start_proxy(m);
	m->env.report = keep_record;
	m->env.report_ctx = &record;
	assert_int_equal(request_update(m), 0);
	wait_for_live(m, STATUS_FAILURE);
	assert_non_null(strstr(buf_str(&record), "\"failed_status\":\"FAILURE\""));
	assert_null(strstr(buf_str(&record), "cache_total_requests"));

	assert_int_equal(io_replace_file("test", dir, "counts", page, sizeof(page) - 1, 0644), 0);
	record.len_bytes = 0;
	updater_free(m->updater);
	m->updater = updater_new(&m->env, COOLDOWN_S);
	assert_int_equal(request_update(m), 0);
	wait_for_live(m, STATUS_FAILURE);
	assert_non_null(
		strstr(buf_str(&record), ",\"cache_total_requests\":9,\"cache_local_hits\":7}"));
	updater_free(m->updater);
	m->updater = NULL;
	stop_proxy(m);
}

/* ---- proxies ------------------------------------------------------------------------------------ */

/* A port of nobody else's, where nobody listens yet. */
static int bind_port(char ret_url[64], unsigned *ret_port)
{
	const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	*ret_port = ntohs(a.sin_port);
	snprintf(ret_url, 64, "http://127.0.0.1:%u", *ret_port);
	return fd;
}

/* The next connection, on which @begin is asked for. */
static int take_request(int listener, const char *begin)
{
	char request[4096];
	ssize_t n;
	int fd;

	do /* a program that ends interrupts it */
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	assert_true(fd >= 0);
	n = recv(fd, request, sizeof(request) - 1, 0);
	assert_true(n > 0);
	request[n] = '\0';
	if (strncmp(request, begin, strlen(begin)) != 0)
		fail_msg("\"%s\" does not begin with \"%s\"", request, begin);
	return fd;
}

static void abort_and_wait(struct machine *m)
{
	uint64_t began = clock_monotonic_ms();

	assert_int_equal(request_abort(m), 0);
	wait_for_live(m, STATUS_ABORTED);
	assert_true(clock_monotonic_ms() - began < 3000); /* a try alone may take 5 s */
}

static void an_update_begins_once_the_upper_proxy_answers(void **state)
{
	static const char answer[] = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
	struct machine *m = *state;
	char proxy[64], begin[128];
	unsigned port;
	AUTO_CLOSE int listener = bind_port(proxy, &port);
	AUTO_CLOSE int first = -1, second = -1;

	m->env.proxy = proxy;
	assert_int_equal(request_update(m), 0);
	for (int i = 0; i < 100; i++) {
		atomic_fetch_add(&skipped_ms, 1000);
		assert_int_equal(now(m)->ota_status, STATUS_UPDATING);
		clock_sleep_ms(5);
	}
	assert_int_equal(listen(listener, 8), 0);
	first = take_request(listener, "GET / HTTP/1.1\r\n");
	assert_int_equal(send(first, answer, sizeof(answer) - 1, MSG_NOSIGNAL), sizeof(answer) - 1);
	snprintf(begin, sizeof(begin), "GET %s/", m->url);
	second = take_request(listener, begin);
	abort_and_wait(m);
}

static void an_update_without_its_upper_proxy_fails_after_180_s(void **state)
{
	struct machine *m = *state;
	uint64_t began = clock_monotonic_ms();
	char proxy[64], begin[256];
	unsigned port;
	AUTO_CLOSE int unheard = bind_port(proxy, &port);

	assert_true(unheard >= 0);
	m->env.proxy = proxy;
	assert_int_equal(request_update(m), 0);
	while (now(m)->ota_status == STATUS_UPDATING) {
		assert_true(clock_monotonic_ms() - began < 3600 * 1000);
		atomic_fetch_add(&skipped_ms, 1000);
		clock_sleep_ms(5);
	}
	assert_true(clock_monotonic_ms() - began > 175 * 1000);
	assert_int_equal(now(m)->ota_status, STATUS_FAILURE);
	snprintf(begin, sizeof(begin),
		"E311: Update failed in PROCESSING_METADATA: The proxy %s was not ready within "
		"180 s: Cannot fetch %s: Failed to connect to ",
		proxy, proxy);
	if (strncmp(now(m)->failure_reason, begin, strlen(begin)) != 0)
		fail_msg("%s", now(m)->failure_reason);
	assert_int_equal(stored(m, 'a'), STATUS_FAILURE);
}

static void an_abort_ends_the_wait_for_the_upper_proxy(void **state)
{
	struct machine *m = *state;
	char proxy[64];
	unsigned port;
	AUTO_CLOSE int listener = bind_port(proxy, &port);
	AUTO_CLOSE int silent = -1;

	m->env.proxy = proxy;
	/* Before anybody listens, and while somebody says nothing. */
	assert_int_equal(request_update(m), 0);
	abort_and_wait(m);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(request_update(m), 0);
	silent = take_request(listener, "GET / HTTP/1.1\r\n");
	abort_and_wait(m);
}

/* With @program for a local proxy, the upper one is the first to be asked all the same, and not as a proxy. */
static void assert_waits_for_upper(struct machine *m, const char *program)
{
	char upper[64], local[64], cache[128], run[128];
	unsigned upper_port, local_port;
	AUTO_CLOSE int listener = bind_port(upper, &upper_port);
	AUTO_CLOSE int local_fd = bind_port(local, &local_port);
	AUTO_CLOSE int asked = -1;
	AUTO_PROXY_CHILD struct proxy_child *child = NULL;
	AUTO_PROXY_WISHES struct proxy_wishes *wishes = NULL;
	const struct proxy_child_config config = {
		.program = program,
		.listen_addr = "127.0.0.1",
		.port = (uint16_t)local_port,
		.cache_dir = cache,
		.upper_proxy = upper,
		.run_dir = run,
	};

	close(TAKE_FD(local_fd)); /* for the program */
	snprintf(cache, sizeof(cache), "%s/cache", m->dir);
	snprintf(run, sizeof(run), "%s/run", m->dir);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(proxy_child_new(&config, &child, &m->err), 0);
	wishes = proxy_wishes_new(child);
	m->env.proxy = local;
	m->env.past_proxy = upper;
	m->env.proxy_child = child;
	m->env.proxy_wishes = wishes;
	assert_int_equal(request_update(m), 0);
	asked = take_request(listener, "GET / HTTP/1.1\r\n");
	abort_and_wait(m);
	updater_free(TAKE_PTR(m->updater));
}

static void a_local_proxy_that_serves_needs_the_upper_one(void **state)
{
	assert_waits_for_upper(*state, getenv("FAKE_PROXY"));
}

/* ls knows none of the options, and ends with the status that says so. */
static void where_the_local_proxy_does_not_come_up_the_upper_one_is_waited_for(void **state)
{
	assert_waits_for_upper(*state, "/bin/ls");
}

/* ---- rollback ----------------------------------------------------------------------------------- */

static void wait_for_the_flip(struct machine *m)
{
	uint64_t until = clock_monotonic_ms() + PATIENCE_MS;
	char path[128];

	snprintf(path, sizeof(path), "%s/next", m->dir);
	while (access(path, F_OK) < 0) {
		assert_int_equal(now(m)->ota_status, STATUS_ROLLBACKING);
		assert_true(clock_monotonic_ms() < until);
		clock_sleep_ms(5);
	}
}

static void a_rollback_leads_to_the_other_slot(void **state)
{
	struct machine *m = *state;
	int fd;

	assert_int_equal(request_rollback(m), 0);
	assert_int_equal(now(m)->ota_status, STATUS_ROLLBACKING);
	wait_for_the_flip(m);
	assert_int_equal(stored(m, 'a'), STATUS_FAILURE);
	assert_in_use(m, 'a', "ota-slot_b");
	assert_int_equal(stored(m, 'b'), STATUS_ROLLBACKING);
	assert_in_use(m, 'b', "ota-slot_b");
	assert_int_equal(fake_boot_saved(&m->fake), 'a');
	fd = open(m->device, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(fd < 0 && errno == EBUSY);
	/* Until the restart all else is refused. */
	assert_int_equal(request_update(m), -EBUSY);
	assert_string_equal(
		m->err.msg, "A rollback is running already; this request has been ignored");
	assert_int_equal(request_rollback(m), -EBUSY);
	assert_int_equal(request_abort(m), -ESRCH);

	restart(m);
	assert_int_equal(fake_boot_running(&m->fake), 'b');
	first_boot(m);
	assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
	assert_int_equal(fake_boot_saved(&m->fake), 'b');
	assert_int_equal(stored(m, 'b'), STATUS_SUCCESS);
	assert_int_equal(stored(m, 'a'), STATUS_FAILURE);
}

static void a_restart_that_does_not_come_is_said(void **state)
{
	struct machine *m = *state;

	assert_int_equal(request_rollback(m), 0);
	wait_for_the_flip(m);
	atomic_store(&in_a_hurry, true);
	wait_for_live(m, STATUS_ROLLBACK_FAILURE);
	atomic_store(&in_a_hurry, false);
	assert_string_equal(now(m)->failure_reason,
		"E304: The machine did not restart within 60 s; the next start of it tries the "
		"other slot");
	/* And so it does. */
	restart(m);
	assert_int_equal(fake_boot_running(&m->fake), 'b');
	first_boot(m);
	assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
}

/* What programs read in the log. */

static const struct {
	const char *id, *word;
} event_words[] = {
	{JOURNAL_UPDATE_BEGINS, "begins"   },
	{JOURNAL_PHASE_BEGINS,  "phase"    },
	{JOURNAL_UPDATE_FAILED, "failed"   },
	{JOURNAL_FLIPPED,       "flipped"  },
	{JOURNAL_COMMITTED,     "committed"},
	{JOURNAL_ROLLED_BACK,   "back"     },
};

/* Under the log's lock, so any thread may log. One word for each event, with what it says. */
static void note_event(void *ctx, const struct log_entry *entry)
{
	const struct log_event *event = entry->event;

	for (size_t i = 0; event && event->id && i < ARRAY_SIZE(event_words); i++)
		if (strcmp(event_words[i].id, event->id) == 0)
			buf_printf(ctx, "%s%s%s%s;", event_words[i].word, event->phase ? " " : "",
				event->phase ? event->phase : "", event->code ? " E" : "");
	if (event && event->session && !strstr(entry->text, event->session))
		if (!event->id || strcmp(event->id, JOURNAL_FLIPPED) != 0)
			buf_puts(ctx, "another session;");
}

static void programs_can_follow_an_update_that_fails(void **state)
{
	struct machine *m = *state;
	AUTO_BUF struct buf events = {0};

	log_set_sink(note_event, &events);
	m->env.inactivity_ms = 100;
	assert_int_equal(request_update(m), 0);
	wait_for_live(m, STATUS_FAILURE);
	log_set_sink(NULL, NULL);
	assert_string_equal(
		buf_str(&events), "begins;phase PROCESSING_METADATA;failed PROCESSING_METADATA E;");
}

static void programs_can_follow_a_rollback_to_its_commit(void **state)
{
	struct machine *m = *state;
	AUTO_BUF struct buf events = {0};

	log_set_sink(note_event, &events);
	assert_int_equal(request_rollback(m), 0);
	wait_for_the_flip(m);
	restart(m);
	first_boot(m);
	log_set_sink(NULL, NULL);
	assert_string_equal(
		buf_str(&events), "phase INITIALIZING;phase FINALIZING_UPDATE;flipped;committed;");
}

static atomic_bool children_are_done;

static int wait_for_simulated_children(void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx)
{
	while (!atomic_load(&children_are_done)) {
		if (stop(stop_ctx))
			return -ECANCELED;
		clock_sleep_ms(5);
	}
	return 0;
}

static void a_rollback_waits_for_the_ecus_below(void **state)
{
	static const struct children children = {.wait = wait_for_simulated_children};
	struct machine *m = *state;

	atomic_store(&children_are_done, false);
	m->env.children = &children;
	assert_int_equal(request_rollback(m), 0);
	wait_for_live(m, STATUS_ROLLBACKING);
	assert_int_equal(stored(m, 'a'), STATUS_SUCCESS);
	assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
	atomic_store(&children_are_done, true);
	wait_for_the_flip(m);
	assert_int_equal(stored(m, 'b'), STATUS_ROLLBACKING);
	restart(m);
	assert_int_equal(fake_boot_running(&m->fake), 'b');
}

/* Not all of them: how often was it asked? */
static int give_up_waiting(void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
	return 1;
}

static void put_hook(struct machine *m, const char *hook, const char *script)
{
	char dir[128], path[192], text[256];
	AUTO_CLOSE int fd = -1;

	snprintf(dir, sizeof(dir), "%s/%s", m->dir, hook);
	if (mkdir(dir, 0755) < 0)
		assert_int_equal(errno, EEXIST);
	snprintf(path, sizeof(path), "%s/a", dir);
	snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	m->env.hooks.dir = m->dir;
}

static void a_rollback_is_refused_by_a_pre_reboot_hook_alone(void **state)
{
	struct machine *m = *state;
	bool on_trial = true;

	put_hook(m, "pre-update", "exit 1");
	put_hook(m, "post-update", "exit 1");
	put_hook(m, "pre-reboot",
		"echo \"$OTA_HOOK $OTA_ACTION to $OTA_SLOT from $OTA_FROM_SLOT\"; exit 1");
	assert_int_equal(request_rollback(m), 0);
	wait_for_live(m, STATUS_ROLLBACK_FAILURE);
	assert_string_equal(now(m)->failure_reason,
		"E210: Rollback failed in pre-reboot: The pre-reboot hook a failed with status 1: "
		"pre-reboot rollback to ota-slot_b from ota-slot_a");
	assert_int_equal(stored(m, 'a'), STATUS_SUCCESS);
	assert_in_use(m, 'a', "ota-slot_a");
	assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
	restart(m);
	assert_int_equal(fake_boot_running(&m->fake), 'a');
	assert_int_equal(first_boot_run(m->boot, false, m->status, &on_trial, &m->err), 0);
	assert_false(on_trial);
	assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
	/* Once it agrees, it goes its way. */
	put_hook(m, "pre-reboot", "exit 0");
	assert_int_equal(request_rollback(m), 0);
	wait_for_the_flip(m);
}

static void an_ecu_below_that_was_waited_for_in_vain_is_not_waited_for_again(void **state)
{
	atomic_uint n_asked = 0;
	const struct children children = {.wait = give_up_waiting, .ctx = &n_asked};
	struct machine *m = *state;

	m->env.children = &children;
	put_hook(m, "pre-reboot", "exit 0");
	assert_int_equal(request_rollback(m), 0);
	wait_for_the_flip(m);
	assert_int_equal(atomic_load(&n_asked), 1);
}

static void a_rollback_whose_slot_does_not_come_up_has_failed(void **state)
{
	struct machine *m = *state;

	assert_int_equal(request_rollback(m), 0);
	wait_for_the_flip(m);
	restart(m); /* slot b, which gets no further */
	assert_int_equal(fake_boot_running(&m->fake), 'b');
	restart(m);
	assert_int_equal(fake_boot_running(&m->fake), 'a');
	first_boot(m);
	assert_int_equal(now(m)->ota_status, STATUS_ROLLBACK_FAILURE);
	assert_int_equal(stored(m, 'a'), STATUS_ROLLBACK_FAILURE);
	assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
	/* Another update, or another try to go back, may follow. */
	assert_int_equal(request_update(m), 0);
}

static void no_update_and_no_rollback_while_the_other_runs(void **state)
{
	struct machine *m = *state;

	assert_int_equal(request_update(m), 0);
	assert_int_equal(request_rollback(m), -EBUSY);
	assert_string_equal(
		m->err.msg, "An update is running already; this request has been ignored");
	assert_int_equal(m->err.code, OTA_E_OTA_BUSY);
	assert_int_equal(request_abort(m), 0);
	wait_for_live(m, STATUS_ABORTED);
}

static void refused_with(struct machine *m, const char *why)
{
	char want[OTA_ERR_MSG_MAX];

	snprintf(want, sizeof(want), "Cannot go back to ota-slot_b: %s", why);
	assert_true(request_rollback(m) < 0);
	assert_string_equal(m->err.msg, want);
	assert_int_equal(m->err.code, OTA_E_INVALID_STATUS_FOR_ROLLBACK);
	/* Nothing has changed. */
	assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
	assert_int_equal(stored(m, 'a'), STATUS_SUCCESS);
	assert_in_use(m, 'a', "ota-slot_a");
	assert_int_equal(fake_boot_saved(&m->fake), 'a');
}

static void a_slot_without_a_mark_is_not_gone_back_to(void **state)
{
	struct machine *m = *state;

	assert_int_equal(status_store_remove_complete(folder_of(m, 'b'), NULL), 0);
	refused_with(m, "No complete system is known to be on it");
}

static void a_torn_mark_is_none(void **state)
{
	struct machine *m = *state;
	AUTO_CLOSE int fd = open(folder_of(m, 'b'), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char why[256];

	assert_int_equal(io_replace_file("test", fd, "complete", "otaclient-comp", 14, 0644), 0);
	snprintf(why, sizeof(why), "%s/complete is torn or was not written by this program",
		folder_of(m, 'b'));
	refused_with(m, why);
}

static void a_mark_that_was_never_sealed_is_not_enough(void **state)
{
	struct machine *m = *state;
	struct complete_mark mark;

	assert_int_equal(status_store_read_complete(folder_of(m, 'b'), &mark, NULL), 0);
	mark.other_mount_s = 0;
	assert_int_equal(status_store_write_complete(folder_of(m, 'b'), &mark, NULL), 0);
	refused_with(m, "It is not known in which state it was left");
}

static void a_slot_that_was_mounted_writable_is_not_gone_back_to(void **state)
{
	struct machine *m = *state;
	struct fs_state fs;
	uint32_t left_s;

	assert_int_equal(fs_state_read(m->device, &fs), 0);
	left_s = fs.mounted_unix_s;
	mount_device(m, MS_RDONLY);
	assert_int_equal(fs_state_read(m->device, &fs), 0);
	assert_int_equal(fs.mounted_unix_s, left_s); /* who only looks does no harm */
	/* The time is in whole seconds. */
	while (fs.mounted_unix_s == left_s) {
		mount_device(m, 0);
		assert_int_equal(fs_state_read(m->device, &fs), 0);
	}
	refused_with(m, "It was mounted writable since it was left");
}

static void a_slot_that_is_in_use_is_not_gone_back_to(void **state)
{
	struct machine *m = *state;
	char point[128], want[384];
	int fd;

	/* Mounted read-only, it is as it was, and is unmounted if nobody is there; but somebody is. */
	snprintf(point, sizeof(point), "%s/mnt", m->dir);
	assert_int_equal(mount(m->device, point, "ext4", MS_RDONLY, NULL), 0);
	fd = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(request_rollback(m), 0);
	wait_for_live(m, STATUS_ROLLBACK_FAILURE);
	snprintf(want, sizeof(want),
		"E305: Rollback failed in claim standby: The standby slot %s is in use: it is "
		"mounted on %s, used by ",
		m->device, point);
	assert_int_equal(strncmp(now(m)->failure_reason, want, strlen(want)), 0);
	assert_in_use(m, 'a', "ota-slot_a");
	close(fd);
	restart(m);
	assert_int_equal(request_rollback(m), 0);
	wait_for_the_flip(m);
}

static void a_slot_with_another_file_system_is_not_gone_back_to(void **state)
{
	struct machine *m = *state;
	const char *const mkfs[] = {"mkfs.ext4", "-q", "-F", "-U",
		"00000000-1111-2222-3333-444444444444", m->device, NULL};
	char why[256];

	tool(mkfs, NULL);
	snprintf(why, sizeof(why),
		"It holds another file system, 00000000-1111-2222-3333-444444444444, than the one "
		"that was left there, %s",
		m->fake.fs_uuid[1]);
	refused_with(m, why);
}

static void a_slot_without_a_file_system_is_not_gone_back_to(void **state)
{
	struct machine *m = *state;
	AUTO_CLOSE int fd = open(m->device, O_RDWR | O_CLOEXEC);
	char zeros[4096] = {0}, why[256];

	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
	snprintf(why, sizeof(why), "Cannot read the superblock of %s: Invalid argument", m->device);
	refused_with(m, why);
}

static void a_slot_that_the_loader_cannot_boot_is_not_gone_back_to(void **state)
{
	struct machine *m = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/entry_b", m->dir);
	assert_int_equal(unlink(path), 0);
	refused_with(m, "ota-slot_b cannot be booted");
}

static void a_rollback_that_fails_before_its_flip_stays_where_it_is(void **state)
{
	static const struct {
		enum fake_boot_op op;
		const char *reason;
	} at[] = {
		{FAKE_BOOT_KEEP, "E305: Rollback failed in keep standby: The fake boot loader was "
				 "told to fail at keep"    },
		{FAKE_BOOT_FLIP, "E306: Rollback failed in flip and reboot: The fake boot loader "
				 "was told to fail at flip"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		struct machine *m = *state;

		m->fake.fail[at[i].op] = true;
		assert_int_equal(request_rollback(m), 0);
		wait_for_live(m, STATUS_ROLLBACK_FAILURE);
		m->fake.fail[at[i].op] = false;
		assert_string_equal(now(m)->failure_reason, at[i].reason);
		assert_int_equal(stored(m, 'a'), STATUS_ROLLBACK_FAILURE);
		assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
		restart(m);
		assert_int_equal(fake_boot_running(&m->fake), 'a');
		first_boot(m);
		assert_int_equal(now(m)->ota_status, STATUS_ROLLBACK_FAILURE);
	}
}

/* The power goes off before the @cut_at-th durable operation. */
static struct {
	atomic_uint n;
	unsigned cut_at;
} power;

static int count_operation(void *ctx, const char *what)
{
	return atomic_fetch_add(&power.n, 1) + 1 < power.cut_at ? 0 : -EIO;
}

/* Until it has flipped, or has come to nothing. */
static void wait_for_the_outcome(struct machine *m)
{
	uint64_t until = clock_monotonic_ms() + PATIENCE_MS;
	char path[128];

	snprintf(path, sizeof(path), "%s/next", m->dir);
	while (access(path, F_OK) < 0 && now(m)->ota_status == STATUS_ROLLBACKING) {
		assert_true(clock_monotonic_ms() < until);
		clock_sleep_ms(5);
	}
}

static void a_cut_anywhere_in_a_rollback_leaves_a_truthful_machine(void **state)
{
	bool failed_as_rollback = false, came_up = false;

	for (unsigned cut = 1; !came_up; cut++) {
		struct machine *m;
		enum ota_status want;

		assert_int_equal(setup(state), 0);
		m = *state;
		atomic_store(&power.n, 0);
		power.cut_at = cut;
		io_set_hook(count_operation, NULL);
		assert_int_equal(request_rollback(m), 0);
		wait_for_the_outcome(m);
		updater_free(m->updater);
		m->updater = NULL;
		io_set_hook(NULL, NULL);

		restart(m);
		came_up = fake_boot_running(&m->fake) == 'b';
		want = stored(m, 'a');
		if (stored(m, 'b') == STATUS_ROLLBACKING)
			want = STATUS_ROLLBACK_FAILURE;
		if (want == STATUS_ROLLBACK_FAILURE)
			failed_as_rollback = true;
		first_boot(m);
		assert_int_equal(now(m)->ota_status, came_up ? STATUS_SUCCESS : want);
		/* The other slot is as whole as it was, so it can be tried again. */
		if (!came_up) {
			assert_int_equal(request_rollback(m), 0);
			wait_for_the_flip(m);
			restart(m);
			assert_int_equal(fake_boot_running(&m->fake), 'b');
			first_boot(m);
			assert_int_equal(now(m)->ota_status, STATUS_SUCCESS);
		}
		assert_int_equal(teardown(state), 0);
	}
	assert_true(failed_as_rollback);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_runs_so_nothing_can_be_aborted),
		T(a_forecast_keeps_rollbacks_and_forecasts_out_and_shows_in_no_status),
		T(an_update_takes_the_place_of_a_forecast),
		T(an_update_that_is_refused_leaves_the_forecast_alone),
		T(the_end_of_the_daemon_ends_a_forecast_and_the_update_in_its_place),
		T(a_forecast_that_nobody_asks_for_ends),
		T(why_a_forecast_ended_is_told_to_whoever_asks_again),
		T(the_same_id_with_another_url_or_version_is_another_forecast),
		T(new_cookies_are_no_other_forecast),
		T(a_forecast_of_nonsense_is_not_begun),
		T(the_end_of_the_daemon_ends_a_forecast),
		T(an_abort_is_worth_a_warning_and_no_error),
		T(an_abort_ends_a_download_that_stalls_and_the_next_update_is_taken),
		T(of_many_aborts_one_is_accepted),
		T(an_end_of_the_daemon_is_no_abort),
		T(a_failed_update_is_not_repeated_at_once),
		T(programs_can_follow_an_update_that_fails),
		T(programs_can_follow_a_rollback_to_its_commit),
		T(the_record_has_what_the_proxy_has_counted_if_it_says_so),
		T(an_update_begins_once_the_upper_proxy_answers),
		T(an_update_without_its_upper_proxy_fails_after_180_s),
		T(an_abort_ends_the_wait_for_the_upper_proxy),
		T(a_local_proxy_that_serves_needs_the_upper_one),
		T(where_the_local_proxy_does_not_come_up_the_upper_one_is_waited_for),
		T(a_rollback_leads_to_the_other_slot),
		T(a_restart_that_does_not_come_is_said),
		T(a_rollback_waits_for_the_ecus_below),
		T(a_rollback_is_refused_by_a_pre_reboot_hook_alone),
		T(an_ecu_below_that_was_waited_for_in_vain_is_not_waited_for_again),
		T(a_rollback_whose_slot_does_not_come_up_has_failed),
		T(no_update_and_no_rollback_while_the_other_runs),
		T(a_slot_without_a_mark_is_not_gone_back_to),
		T(a_torn_mark_is_none),
		T(a_mark_that_was_never_sealed_is_not_enough),
		T(a_slot_that_was_mounted_writable_is_not_gone_back_to),
		T(a_slot_that_is_in_use_is_not_gone_back_to),
		T(a_slot_with_another_file_system_is_not_gone_back_to),
		T(a_slot_without_a_file_system_is_not_gone_back_to),
		T(a_slot_that_the_loader_cannot_boot_is_not_gone_back_to),
		T(a_rollback_that_fails_before_its_flip_stays_where_it_is),
		cmocka_unit_test(a_cut_anywhere_in_a_rollback_leaves_a_truthful_machine),
	};

	if (!getenv("FAKE_PROXY")) {
		fputs("FAKE_PROXY is not set: run this test through meson\n", stderr);
		return 1;
	}
	clock_set_ops(&test_clock);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
