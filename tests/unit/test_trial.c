/*
 * test_trial: what becomes of a new system, with fake_boot for a loader and hours that pass in no time.
 */
#include "otaclient/trial/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "otaclient/log/journal.h"
#include "otaclient/status/status_store.h"
#include "otaclient/trial/first_boot.h"
#include "tests/support/fake_boot.h"

/* ---- the clock ---- */

static uint64_t now_ms;
static struct trial *running; /* what is stopped when the time is over */
static uint64_t stop_at_ms;   /* 0 = never */

static uint64_t test_monotonic_ms(void)
{
	return now_ms;
}

static int64_t test_unix_s(void)
{
	return -1; /* of no use */
}

static void test_sleep_ms(uint64_t ms)
{
	now_ms += ms;
	if (stop_at_ms && now_ms >= stop_at_ms)
		trial_stop(running);
}

static void test_random(void *ret_data, size_t len_bytes)
{
	memset(ret_data, 7, len_bytes);
}

static const struct clock_ops test_clock = {
	.monotonic_ms = test_monotonic_ms,
	.unix_s = test_unix_s,
	.sleep_ms = test_sleep_ms,
	.random = test_random,
};

/* ---- a machine whose slot b runs for the first time ---- */

struct machine {
	char dir[64], run_dir[80];
	struct fake_boot fake;
	struct boot_ctl *boot;
	struct status *status;
	struct trial_config config;
	struct ota_err err;

	/* The checks: the first @n_bad rounds fail. */
	unsigned n_rounds, n_bad;
	unsigned n_committed, n_given_up;
	struct ota_err why;
	enum ota_status status_at_commit;
	char remark[OTA_ERR_MSG_MAX + 16]; /* in the status, when the last round began */
	char said[1024]; /* lines of the log, one after the other */
	unsigned n_events;
};

static struct status_snapshot snapshot(struct machine *m)
{
	struct status_snapshot now;

	status_get(m->status, &now);
	return now;
}

static int check(void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx, struct ota_err *err)
{
	struct machine *m = ctx;

	assert_non_null(stop);
	snprintf(m->remark, sizeof(m->remark), "%s", snapshot(m).failure_reason);
	if (m->n_rounds++ >= m->n_bad)
		return 0;
	return ota_err_set(err, -EIO, OTA_E_NOT_HEALTHY, "The lidar is blind");
}

static void committed(void *ctx)
{
	struct machine *m = ctx;

	m->n_committed++;
	m->status_at_commit = snapshot(m).ota_status;
}

static void given_up(void *ctx, const struct ota_err *why)
{
	struct machine *m = ctx;

	/* It is told before anything is done. */
	assert_null(strstr(buf_str(&m->fake.calls), "revert"));
	m->n_given_up++;
	m->why = *why;
}

static void note_log(void *ctx, const struct log_entry *entry)
{
	struct machine *m = ctx;
	size_t used = strlen(m->said);

	snprintf(m->said + used, sizeof(m->said) - used, "%s\n", entry->text);
	if (entry->event && strcmp(entry->event->id, JOURNAL_TRIAL_FAILED) == 0) {
		assert_int_equal(entry->event->code, OTA_E_NOT_HEALTHY);
		m->n_events++;
	}
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

static void put_state(const struct machine *m, const char *name, char slot)
{
	AUTO_CLOSE int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(io_replace_file("test", fd, name, &slot, 1, 0644), 0);
}

/* As an update, or a rollback, and the loader have left it. */
static void begin(struct machine *m, enum ota_status going_on)
{
	bool reset, on_trial = false;
	static const char *const state[] = {"set_up", "running", "entry_a", "entry_b", "saved"};
	static const char slot[] = {'a', 'b', 'a', 'b', 'a'};

	for (size_t i = 0; i < ARRAY_SIZE(state); i++)
		put_state(m, state[i], slot[i]);
	assert_int_equal(status_store_write_status(folder_of(m, 'a'), STATUS_FAILURE, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(folder_of(m, 'a'), "ota-slot_b", NULL), 0);
	assert_int_equal(status_store_write_status(folder_of(m, 'b'), going_on, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(folder_of(m, 'b'), "ota-slot_b", NULL), 0);
	assert_int_equal(status_store_write_version(folder_of(m, 'b'), "v2", NULL), 0);
	assert_int_equal(
		boot_controller_open("fake", &(struct boot_env){.root = ""}, &m->boot, &m->err), 0);
	assert_int_equal(m->boot->ops->setup(m->boot, &reset, &m->err), 0);
	assert_int_equal(first_boot_run(m->boot, false, m->status, &on_trial, &m->err), 0);
	assert_true(on_trial);
	m->config.boot = m->boot;
}

static int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	now_ms = 1000 * 1000;
	stop_at_ms = 0;
	clock_set_ops(&test_clock);
	snprintf(m->dir, sizeof(m->dir), "/tmp/test_trial.XXXXXX");
	assert_non_null(mkdtemp(m->dir));
	snprintf(m->run_dir, sizeof(m->run_dir), "%s/run", m->dir);
	m->fake = (struct fake_boot){.dir = m->dir};
	fake_boot_use(&m->fake);
	m->status = status_new();
	m->config = (struct trial_config){
		.root = m->dir,
		.status = m->status,
		.run_dir = m->run_dir,
		.timeout_s = 300,
		.check = check,
		.committed = committed,
		.given_up = given_up,
		.ctx = m,
	};
	log_set_sink(note_log, m);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct machine *m = *state;
	char cmd[128];

	log_set_sink(NULL, NULL);
	if (m->boot)
		m->boot->ops->close(m->boot);
	fake_boot_use(NULL);
	fake_boot_done(&m->fake);
	status_free(m->status);
	clock_set_ops(NULL);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", m->dir);
	assert_int_equal(system(cmd), 0);
	free(m);
	return 0;
}

/* One start of the daemon, until it is decided or @for_ms have passed (0 = however long it takes). */
static void run_for(struct machine *m, uint64_t for_ms)
{
	struct trial *t = trial_new(&m->config);

	assert_non_null(t);
	running = t;
	stop_at_ms = for_ms ? now_ms + for_ms : 0;
	assert_int_equal(trial_refuse(t, &m->err), -EBUSY);
	trial_run(t);
	if (m->n_committed == 0)
		assert_int_equal(trial_refuse(t, &m->err), -EBUSY);
	else
		assert_int_equal(trial_refuse(t, &m->err), 0);
	trial_free(t);
}

/* Nothing but the loader knows; the old system finds the files as after any trial that was not committed. */
static void assert_gone_back(struct machine *m, unsigned n_reboots)
{
	assert_int_equal(m->n_committed, 0);
	assert_int_equal(m->n_given_up, 1);
	assert_int_equal(m->n_events, 1);
	assert_int_equal(m->fake.n_reboots, n_reboots);
	assert_int_equal(fake_boot_saved(&m->fake), 'a');
	assert_int_equal(stored(m, 'b'), STATUS_UPDATING);
	assert_int_equal(stored(m, 'a'), STATUS_FAILURE);
	assert_int_equal(snapshot(m).ota_status, STATUS_UPDATING);
}

/* ---- tests ---- */

static void a_healthy_system_is_committed_at_once(void **state)
{
	struct machine *m = *state;
	uint64_t began = now_ms;

	begin(m, STATUS_UPDATING);
	run_for(m, 0);
	assert_int_equal(m->n_rounds, 1);
	assert_int_equal(now_ms, began);
	assert_int_equal(m->n_committed, 1);
	assert_int_equal(m->status_at_commit, STATUS_UPDATING);
	assert_int_equal(snapshot(m).ota_status, STATUS_SUCCESS);
	assert_string_equal(snapshot(m).firmware_version, "v2");
	assert_int_equal(stored(m, 'b'), STATUS_SUCCESS);
	assert_int_equal(fake_boot_saved(&m->fake), 'b');
	assert_int_equal(m->fake.n_reboots, 0);
}

static void without_checks_it_is_committed_as_well(void **state)
{
	struct machine *m = *state;

	m->config.check = NULL;
	begin(m, STATUS_UPDATING);
	run_for(m, 0);
	assert_int_equal(m->n_committed, 1);
	assert_int_equal(stored(m, 'b'), STATUS_SUCCESS);
}

static void checks_are_repeated_every_few_seconds_until_all_is_well(void **state)
{
	struct machine *m = *state;
	uint64_t began = now_ms;
	const char *why;

	m->n_bad = 20;
	begin(m, STATUS_UPDATING);
	run_for(m, 0);
	assert_int_equal(m->n_rounds, 21);
	assert_int_equal(now_ms - began, 20 * TRIAL_ROUND_MS);
	assert_int_equal(m->n_committed, 1);
	assert_string_equal(m->remark, "Not committed yet: The lidar is blind");
	assert_string_equal(snapshot(m).failure_reason, "");
	assert_false(snapshot(m).has_failure);
	/* The same reason is told once. */
	why = strstr(m->said, "The new system is not committed yet: The lidar is blind\n");
	assert_non_null(why);
	assert_null(strstr(strchr(why, '\n'), "The lidar is blind"));
	assert_non_null(strstr(why, "\nThe slot ota-slot_b is committed\n"));
}

static void a_system_that_never_is_well_is_left_in_time(void **state)
{
	struct machine *m = *state;
	uint64_t began = now_ms;

	m->n_bad = UINT32_MAX;
	begin(m, STATUS_UPDATING);
	run_for(m, 301 * 1000);
	assert_in_range(now_ms - began, 300 * 1000, 302 * 1000);
	assert_int_equal(m->n_rounds, 100);
	assert_string_equal(snapshot(m).failure_reason,
		"The machine goes back: Not healthy within 300 s: The lidar is blind");
	assert_gone_back(m, 1);
	assert_int_equal(m->why.code, OTA_E_NOT_HEALTHY);
	assert_string_equal(
		m->why.msg, "Not healthy within 300 s: The lidar is blind");
	fake_boot_restart(&m->fake);
	assert_int_equal(fake_boot_running(&m->fake), 'a');
}

/* As many programs that each take their time: asked between two of them, and while one runs. */
static int check_without_end(
	void *ctx, bool (*stop)(void *stop_ctx), void *stop_ctx, struct ota_err *err)
{
	struct machine *m = ctx;

	for (m->n_rounds++; !stop(stop_ctx); now_ms += 1000)
		assert_true(m->n_rounds < 10 && now_ms < (uint64_t)10000 * 1000);
	return ota_err_set(err, -ECANCELED, OTA_E_NOT_HEALTHY, "The health check was stopped");
}

static void a_round_that_comes_to_no_end_is_left_in_time(void **state)
{
	struct machine *m = *state;
	uint64_t began = now_ms;

	m->config.check = check_without_end;
	begin(m, STATUS_UPDATING);
	run_for(m, 400 * 1000);
	assert_int_equal(m->n_rounds, 1);
	assert_in_range(now_ms - began, 360 * 1000, 401 * 1000);
	assert_gone_back(m, 1);
	assert_string_equal(m->why.msg,
		"Not healthy within 300 s: The checks that were begun have not come to their end");
}

static void a_restart_that_does_not_come_is_asked_for_again(void **state)
{
	struct machine *m = *state;

	m->n_bad = UINT32_MAX;
	begin(m, STATUS_UPDATING);
	run_for(m, 300 * 1000 + 2 * TRIAL_RESTART_WAIT_MS + 1000);
	assert_gone_back(m, 3);
	assert_non_null(
		strstr(m->said, "The machine did not restart within 60 s; it is asked again\n"));
}

static void a_loader_that_cannot_be_told_does_not_keep_the_machine_there(void **state)
{
	struct machine *m = *state;

	m->n_bad = UINT32_MAX;
	begin(m, STATUS_UPDATING);
	m->fake.fail[FAKE_BOOT_REVERT] = true;
	run_for(m, 301 * 1000);
	assert_gone_back(m, 1);
	assert_non_null(
		strstr(m->said, "\nE305: The fake boot loader was told to fail at revert\n"));
}

static void a_commit_that_fails_is_repeated_and_then_the_machine_goes_back(void **state)
{
	struct machine *m = *state;

	begin(m, STATUS_UPDATING);
	m->fake.fail[FAKE_BOOT_COMMIT] = true;
	run_for(m, 301 * 1000);
	assert_int_equal(m->n_rounds, 100);
	assert_gone_back(m, 1);
	assert_string_equal(m->why.msg,
		"Not healthy within 300 s: Cannot commit the slot ota-slot_b: "
		"The fake boot loader was told to fail at commit");
}

static void a_daemon_that_is_started_again_goes_on_with_what_is_left(void **state)
{
	struct machine *m = *state;

	m->n_bad = UINT32_MAX;
	begin(m, STATUS_UPDATING);
	run_for(m, 100 * 1000);
	/* An end of the daemon decides nothing. */
	assert_int_equal(m->n_given_up + m->n_committed, 0);
	assert_int_equal(m->fake.n_reboots, 0);
	assert_int_equal(stored(m, 'b'), STATUS_UPDATING);
	now_ms += 16 * 1000;
	run_for(m, 180 * 1000);
	assert_int_equal(m->n_given_up, 0);
	now_ms += 1000;
	run_for(m, 4 * 1000);
	assert_gone_back(m, 1);
}

static void a_daemon_that_is_started_too_late_goes_back_unseen(void **state)
{
	struct machine *m = *state;

	begin(m, STATUS_UPDATING);
	m->n_bad = UINT32_MAX;
	run_for(m, 1000);
	m->n_rounds = m->n_bad = 0;
	now_ms += 300 * 1000;
	run_for(m, 1000);
	assert_int_equal(m->n_rounds, 0);
	assert_gone_back(m, 1);
	assert_string_equal(m->why.msg, "Not healthy within 300 s: otaclient "
					"has started anew, and the time was over already");
}

/* The checks may be well again, but the loader has been told. */
static void what_was_given_up_stays_so_when_the_daemon_starts_again(void **state)
{
	struct machine *m = *state;

	begin(m, STATUS_UPDATING);
	m->n_bad = UINT32_MAX;
	run_for(m, 301 * 1000);
	assert_gone_back(m, 1);
	m->n_bad = m->n_rounds = 0;
	m->n_given_up = m->n_events = 0;
	m->fake.calls.len_bytes = 0;
	buf_puts(&m->fake.calls, "");
	run_for(m, 1000);
	assert_int_equal(m->n_rounds, 0);
	assert_gone_back(m, 2);
	assert_string_equal(
		m->why.msg, "Not healthy within 300 s: The lidar is blind");
}

static void write_note(struct machine *m, const char *text, size_t len_bytes)
{
	AUTO_CLOSE int fd = -1;

	mkdir(m->run_dir, 0755);
	fd = open(m->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(io_replace_file("test", fd, "trial", text, len_bytes, 0644), 0);
}

/* As on a run_dir that is on disk, or after somebody has been there. */
static void a_note_that_is_not_of_this_start_of_the_machine_counts_for_nothing(void **state)
{
	static char huge[100 * 1000];
	static const char *const notes[] = {
		"",
		"\n",
		"0f0e0d0c-0000-4000-8000-00000000cafe 5\ngiven up: of an earlier start\n",
		"700\ngiven up: without a start\n",
		"garbage",
		huge,
	};

	memset(huge, '9', sizeof(huge) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		struct machine *m = *state;

		m->n_rounds = m->n_committed = 0;
		if (m->boot)
			m->boot->ops->close(m->boot);
		begin(m, STATUS_UPDATING);
		write_note(m, notes[i], strlen(notes[i]));
		run_for(m, 0);
		assert_int_equal(m->n_rounds, 1);
		assert_int_equal(m->n_committed, 1);
	}
}

/* A fifo that nobody reads would hold up whoever opens it; a link would have a file of others written. */
static void what_stands_in_the_notes_place_does_not_hold_it_up(void **state)
{
	static const char *const names[] = {"trial", "trial.new"};
	struct machine *m = *state;

	begin(m, STATUS_UPDATING);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(names); i++) {
		AUTO_CLOSE int fd = -1;

		m->n_rounds = m->n_committed = 0;
		write_note(m, "", 0);
		fd = open(m->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		unlinkat(fd, names[i / 2], 0);
		if (i % 2 == 0)
			assert_int_equal(mkfifoat(fd, names[i / 2], 0600), 0);
		else
			assert_int_equal(symlinkat("/nowhere/else", fd, names[i / 2]), 0);
		run_for(m, 0);
		assert_int_equal(m->n_rounds, 1);
		assert_int_equal(m->n_committed, 1);
		m->boot->ops->close(m->boot);
		begin(m, STATUS_UPDATING);
	}
}

static void a_note_from_the_future_begins_now(void **state)
{
	struct machine *m = *state;
	char boot_id[64] = "", note[128];
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	assert_non_null(f);
	assert_non_null(fgets(boot_id, sizeof(boot_id), f));
	fclose(f);
	boot_id[strcspn(boot_id, "\n")] = '\0';
	snprintf(note, sizeof(note), "%s 18446744073709551615\n", boot_id);
	m->n_bad = UINT32_MAX;
	begin(m, STATUS_UPDATING);
	write_note(m, note, strlen(note));
	run_for(m, 301 * 1000);
	assert_int_equal(m->n_rounds, 100);
	assert_gone_back(m, 1);
}

static void a_run_dir_that_cannot_be_written_is_done_without(void **state)
{
	struct machine *m = *state;

	m->config.run_dir = "/proc/no/such/folder";
	begin(m, STATUS_UPDATING);
	run_for(m, 0);
	assert_int_equal(m->n_committed, 1);
	assert_non_null(
		strstr(m->said, "A restart of otaclient begins the trial anew: cannot write "
				"/proc/no/such/folder/trial: No such file or directory\n"));
}

static void requests_are_refused_until_it_is_over(void **state)
{
	struct machine *m = *state;
	struct trial *t;

	begin(m, STATUS_UPDATING);
	t = running = trial_new(&m->config);
	assert_int_equal(trial_refuse(t, &m->err), -EBUSY);
	assert_int_equal(m->err.code, OTA_E_OTA_BUSY);
	assert_string_equal(m->err.msg,
		"The system that has just started is being checked; this request has been ignored");
	assert_int_equal(trial_refuse_abort(t, &m->err), -EBUSY);
	assert_string_equal(m->err.msg,
		"Cannot abort: update is in FINAL_PHASE, the new system has started already");
	assert_int_equal(trial_start(t), 0);
	for (int i = 0; trial_refuse(t, &m->err) < 0; i++) {
		assert_true(i < 20000);
		nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
	}
	assert_int_equal(snapshot(m).ota_status, STATUS_SUCCESS);
	assert_int_equal(trial_refuse_abort(t, &m->err), 0);
	trial_free(t);
	/* Where no system is on trial there is none. */
	assert_int_equal(trial_refuse(NULL, &m->err), 0);
	assert_int_equal(trial_refuse_abort(NULL, &m->err), 0);
	trial_free(NULL);
}

static void a_rollback_is_tried_in_the_same_way(void **state)
{
	struct machine *m = *state;
	struct trial *t;

	begin(m, STATUS_ROLLBACKING);
	assert_int_equal(snapshot(m).ota_status, STATUS_ROLLBACKING);
	t = trial_new(&m->config);
	assert_int_equal(trial_refuse(t, &m->err), -EBUSY);
	assert_int_equal(trial_refuse_abort(t, &m->err), 0);
	trial_free(t);
	m->n_bad = 3;
	run_for(m, 0);
	assert_int_equal(m->n_committed, 1);
	assert_int_equal(snapshot(m).ota_status, STATUS_SUCCESS);
	assert_int_equal(stored(m, 'b'), STATUS_SUCCESS);
}

static void a_rollback_that_is_not_well_ends_on_the_slot_it_came_from(void **state)
{
	struct machine *m = *state;
	bool on_trial = true;

	begin(m, STATUS_ROLLBACKING);
	m->n_bad = UINT32_MAX;
	run_for(m, 301 * 1000);
	assert_int_equal(m->n_given_up, 1);
	assert_int_equal(snapshot(m).ota_status, STATUS_ROLLBACKING);
	assert_int_equal(stored(m, 'b'), STATUS_ROLLBACKING);
	m->boot->ops->close(m->boot);
	fake_boot_restart(&m->fake);
	assert_int_equal(
		boot_controller_open("fake", &(struct boot_env){.root = ""}, &m->boot, &m->err), 0);
	assert_int_equal(first_boot_run(m->boot, false, m->status, &on_trial, &m->err), 0);
	assert_false(on_trial);
	assert_int_equal(snapshot(m).ota_status, STATUS_ROLLBACK_FAILURE);
	assert_int_equal(stored(m, 'a'), STATUS_ROLLBACK_FAILURE);
	assert_int_equal(stored(m, 'b'), STATUS_FAILURE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_healthy_system_is_committed_at_once),
		T(without_checks_it_is_committed_as_well),
		T(checks_are_repeated_every_few_seconds_until_all_is_well),
		T(a_system_that_never_is_well_is_left_in_time),
		T(a_round_that_comes_to_no_end_is_left_in_time),
		T(a_restart_that_does_not_come_is_asked_for_again),
		T(a_loader_that_cannot_be_told_does_not_keep_the_machine_there),
		T(a_commit_that_fails_is_repeated_and_then_the_machine_goes_back),
		T(a_daemon_that_is_started_again_goes_on_with_what_is_left),
		T(a_daemon_that_is_started_too_late_goes_back_unseen),
		T(what_was_given_up_stays_so_when_the_daemon_starts_again),
		T(a_note_that_is_not_of_this_start_of_the_machine_counts_for_nothing),
		T(what_stands_in_the_notes_place_does_not_hold_it_up),
		T(a_note_from_the_future_begins_now),
		T(a_run_dir_that_cannot_be_written_is_done_without),
		T(requests_are_refused_until_it_is_over),
		T(a_rollback_is_tried_in_the_same_way),
		T(a_rollback_that_is_not_well_ends_on_the_slot_it_came_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
