/*
 * return_reason: what the status says after a return, at the first start and at every later one.
 */
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
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/flight/return_reason.h"
#include "otaclient/log/journal.h"
#include "tests/unit/tmp_dir.h"

static char recorder_path[128];
static struct slot_pair slots; /* the active one is the old one */
static struct slot_pair swapped;

static const struct boot_traces *loader; /* what it has left; NULL = nothing */
static bool trial_lost;                  /* at the last start */

static int setup(void **state)
{
	struct tmp_dir *d;

	if (tmp_dir_setup(state) < 0)
		return -1;
	d = *state;
	memset(&slots, 0, sizeof(slots));
	loader = NULL;
	snprintf(recorder_path, sizeof(recorder_path), "%s/flight-recorder", d->path);
	strcpy(slots.active.id, "ota-slot_a");
	strcpy(slots.standby.id, "ota-slot_b");
	snprintf(slots.active.status_dir, PATH_MAX, "%s/ota-slot_a", d->path);
	snprintf(slots.standby.status_dir, PATH_MAX, "%s/ota-slot_b", d->path);
	swapped = (struct slot_pair){.active = slots.standby, .standby = slots.active};
	return 0;
}

static void write_status(const struct boot_slot *slot, enum ota_status s, const char *slot_in_use)
{
	assert_int_equal(status_store_write_status(slot->status_dir, s, NULL), 0);
	assert_int_equal(status_store_write_slot_in_use(slot->status_dir, slot_in_use, NULL), 0);
}

/* One start of the daemon on the old slot. */
static struct status_snapshot start(const struct tmp_dir *d, enum ota_status stored)
{
	struct flight_recorder *recorder = flight_recorder_open(recorder_path, slots.active.id);
	struct status *status = status_new();
	struct status_snapshot now;
	struct return_reason why;

	return_reason_begin(recorder, &slots, false, &why);
	status_set_booted(status, stored, "1.0", NULL);
	return_reason_tell(&why, recorder, &slots, loader, d->path, d->path, status);
	trial_lost = why.trial_lost;
	status_get(status, &now);
	status_free(status);
	flight_recorder_free(recorder);
	return now;
}

static struct flight_recorder *begin_update(void)
{
	struct flight_recorder *r = flight_recorder_open(recorder_path, slots.active.id);

	write_status(&slots.active, STATUS_FAILURE, "ota-slot_b");
	write_status(&slots.standby, STATUS_UPDATING, "ota-slot_b");
	flight_recorder_note(r, FLIGHT_UPDATE_BEGINS, "2.0", "%s", "session");
	flight_recorder_note(r, FLIGHT_STEP, "DOWNLOADING_OTA_FILES", "%s", "fetch contents");
	return r;
}

/* The other slot is tried, and does what @act does. */
static void try_other(void (*act)(struct flight_recorder *r))
{
	struct flight_recorder *r = begin_update();

	/* By a kernel that is gone: in a test there is but one. */
	flight_recorder_note(r, FLIGHT_FLIP, "ota-slot_b", "%s", "session");
	flight_recorder_free(r);
	r = flight_recorder_open(recorder_path, swapped.active.id);
	act(r);
	flight_recorder_free(r);
}

static void fail_a_check(struct flight_recorder *r)
{
	struct return_reason why;

	return_reason_begin(r, &swapped, false, &why);
	assert_true(why.going_on);
	assert_true(why.matches);
	flight_recorder_check(r, "10-network", false, "exit 1: no route");
	flight_recorder_note(r, FLIGHT_REVERT, NULL, "%s",
		"The health check 10-network failed: exit 1: no route");
}

static void start_alone(struct flight_recorder *r)
{
	struct return_reason why;

	return_reason_begin(r, &swapped, false, &why);
}

static void each_start_after_a_return_says_why(void **state)
{
	struct status_snapshot now;

	try_other(fail_a_check);
	for (unsigned i = 0; i < 3; i++) {
		now = start(*state, STATUS_FAILURE);
		assert_string_equal(now.failure_reason,
			"E209: The new system on ota-slot_b (version \"2.0\") did not commit: The "
			"health "
			"check 10-network failed: exit 1: no route");
		assert_true(now.failure_is_recoverable);
		assert_int_equal(now.ota_status, STATUS_FAILURE);
	}
}

/* Their codes, in three digits each; those without the id of a return in brackets. */
static void note_event(void *ctx, const struct log_entry *entry)
{
	char *said = ctx;
	const struct log_event *e = entry->event;
	bool back = e && e->id && strcmp(e->id, JOURNAL_ROLLED_BACK) == 0;

	if (e && e->code)
		sprintf(said + strlen(said), back ? "%03d " : "(%03d) ", e->code);
}

static void a_machine_that_came_back_says_so_once(void **state)
{
	char said[200] = "";

	log_set_sink(note_event, said);
	try_other(fail_a_check);
	start(*state, STATUS_FAILURE);
	start(*state, STATUS_FAILURE);
	flight_recorder_free(begin_update()); /* cut short */
	start(*state, STATUS_FAILURE);
	write_status(&slots.active, STATUS_UPDATING, "ota-slot_b"); /* with CBoot */
	start(*state, STATUS_FAILURE);
	log_set_sink(NULL, NULL);
	assert_string_equal(said, "209 (209) (200) 200 ");
}

static void a_committed_slot_that_did_not_start_is_named_without_records_too(void **state)
{
	struct status_snapshot now;

	write_status(&slots.active, STATUS_FAILURE, "ota-slot_b");
	write_status(&slots.standby, STATUS_SUCCESS, "ota-slot_b");
	now = start(*state, STATUS_FAILURE);
	assert_string_equal(now.failure_reason, "E209: The system on ota-slot_b was committed, and "
						"yet the machine has started from this "
						"slot");
	assert_int_equal(now.ota_status, STATUS_FAILURE);
	/* After an update that failed the other slot never says so. */
	write_status(&slots.standby, STATUS_FAILURE, "ota-slot_b");
	assert_false(start(*state, STATUS_FAILURE).has_failure);
}

static void a_cut_before_the_reason_was_recorded_loses_nothing(void **state)
{
	struct flight_recorder *recorder;
	struct return_reason why;

	try_other(fail_a_check);
	recorder = flight_recorder_open(recorder_path, slots.active.id);
	return_reason_begin(recorder, &slots, false, &why);
	flight_recorder_free(recorder);
	assert_non_null(
		strstr(start(*state, STATUS_FAILURE).failure_reason, "10-network failed: exit 1"));
}

static void the_last_words_of_the_kernel_are_shown_and_kept(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_record records[FLIGHT_CELLS];
	char path[200];
	FILE *f;
	size_t n = 0;

	snprintf(path, sizeof(path), "mkdir -p %s/sys/fs/pstore", d->path);
	assert_int_equal(system(path), 0);
	try_other(start_alone);
	snprintf(path, sizeof(path), "%s/sys/fs/pstore/dmesg-ramoops-0", d->path);
	f = fopen(path, "we");
	fputs("<4>[1.0] before\n<0>[1.1] Kernel panic - not syncing: Attempted to kill init!\n", f);
	fclose(f);
	assert_string_equal(start(d, STATUS_FAILURE).failure_reason,
		"E209: The new system on ota-slot_b (version \"2.0\") did not commit: its last "
		"sign was the "
		"start of otaclient; the last words of its kernel: Kernel panic - not syncing: "
		"Attempted to "
		"kill init!");
	/* Once; and without the file the status still says it. */
	assert_int_equal(unlink(path), 0);
	assert_non_null(strstr(start(d, STATUS_FAILURE).failure_reason, "Attempted to kill init!"));
	assert_int_equal(flight_recorder_read_file(recorder_path, records, &n, NULL), 0);
	path[0] = '\0';
	for (size_t i = 0; i < n; i++)
		if (records[i].kind == FLIGHT_KERNEL) {
			assert_string_equal(records[i].subject, "/sys/fs/pstore/dmesg-ramoops-0");
			assert_int_equal(path[0], '\0');
			snprintf(path, sizeof(path), "%s", records[i].text);
		}
	assert_string_equal(path,
		"<4>[1.0] before\n<0>[1.1] Kernel panic - not syncing: Attempted to kill init!");
}

static void put_file(const struct tmp_dir *d, const char *name, const void *data, size_t len)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", d->path, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
}

static void do_nothing(struct flight_recorder *r)
{
	(void)r;
}

/* What is recorded so far was by kernels that are gone. */
static void restart_machine(struct tmp_dir *d)
{
	static struct flight_record records[FLIGHT_CELLS];
	static char ring[FLIGHT_RING_BYTES];
	size_t n = 0;

	memset(ring, 0, sizeof(ring));
	assert_int_equal(flight_recorder_read_file(recorder_path, records, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		records[i].boot_id[0] ^= 1;
		flight_record_encode(
			&records[i], ring + records[i].number % FLIGHT_CELLS * FLIGHT_CELL_BYTES);
	}
	put_file(d, "flight-recorder", ring, sizeof(ring));
}

/* The other slot is tried, and all that is left of it is a superblock with this time of mount; 0: garbage. */
static void try_in_vain(struct tmp_dir *d, uint32_t mounted_unix_s)
{
	uint8_t sb[2048] = {0};

	sb[1024 + 0x38] = mounted_unix_s ? 0x53 : 0;
	sb[1024 + 0x39] = 0xef;
	for (int i = 0; i < 4; i++)
		sb[1024 + 0x2c + i] = (uint8_t)(mounted_unix_s >> (8 * i));
	put_file(d, "slot_b.img", sb, sizeof(sb));
	snprintf(slots.standby.device, sizeof(slots.standby.device), "%s/slot_b.img", d->path);
	try_other(do_nothing);
	restart_machine(d);
}

/* Mounted last by the update itself, which is so if all of this is done within one second. */
static void try_unmounted(struct tmp_dir *d)
{
	time_t now;

	do {
		now = time(NULL);
		try_in_vain(d, (uint32_t)now);
	} while (time(NULL) != now);
}

#define SILENT                                                                                     \
	"E209: The new system on ota-slot_b (version \"2.0\") did not commit: it gave no sign of " \
	"life"

static void how_far_a_silent_system_came_is_told_by_its_file_system(void **state)
{
	try_unmounted(*state);
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason, SILENT
		": its kernel, its initrd or its first program failed, for its root file system "
		"was never mounted writable");
	try_in_vain(*state, (uint32_t)time(NULL) + 3600);
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason,
		SILENT ": its root file system was mounted writable, but the way from there to "
		       "otaclient failed");
	/* The clock of a machine that forgets it. */
	try_in_vain(*state, 1000000);
	assert_non_null(
		strstr(start(*state, STATUS_FAILURE).failure_reason, "was mounted writable, but"));
	try_in_vain(*state, 0);
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason,
		SILENT ": there is no ext4 any more where its root file system was");
	assert_false(trial_lost);
}

static void a_reset_by_the_watchdog_is_told(void **state)
{
	struct tmp_dir *d = *state;
	char command[200];

	snprintf(command, sizeof(command), "mkdir -p %s/sys/class/watchdog/watchdog1", d->path);
	assert_int_equal(system(command), 0);
	put_file(d, "sys/class/watchdog/watchdog1/bootstatus", "32\n", 3);
	try_other(start_alone);
	assert_string_equal(start(d, STATUS_FAILURE).failure_reason,
		"E209: The new system on ota-slot_b (version \"2.0\") did not commit: its last "
		"sign was the "
		"start of otaclient; the watchdog has reset the machine");
	put_file(d, "sys/class/watchdog/watchdog1/bootstatus", "1\n", 2);
	try_other(start_alone);
	assert_null(strstr(start(d, STATUS_FAILURE).failure_reason, "watchdog"));
}

static void what_the_boot_loader_could_not_start_is_told(void **state)
{
	static const struct boot_traces traces = {
		.trouble = {.errnum = -ENOENT, .msg = "b.cfg boots \"x\", which is not there"}
        };

	loader = &traces;
	try_unmounted(*state);
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason, SILENT
		": the boot loader could not start it: b.cfg boots \"x\", which is not there");
}

static void a_trial_that_the_boot_loader_could_not_begin_is_told_and_lost(void **state)
{
	static const struct boot_traces traces = {.not_begun = true};
	static const char why[] =
		"E304: The new system on ota-slot_b (version \"2.0\") was not tried: the "
		"boot loader could not note down that it begins to, so it cannot write to "
		"/boot";

	loader = &traces;
	try_other(do_nothing);
	/* The machine has not restarted since. */
	assert_non_null(
		strstr(start(*state, STATUS_FAILURE).failure_reason, "has not restarted since"));
	assert_false(trial_lost);
	try_other(do_nothing);
	restart_machine(*state);
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason, why);
	assert_true(trial_lost);
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason, why);
	assert_false(trial_lost);
}

static void a_failure_of_the_update_itself_survives_the_daemon(void **state)
{
	struct flight_recorder *r = begin_update();

	flight_recorder_failure(
		r, OTA_E_OTA_IMAGE_INVALID, "Update failed in X: the image is broken");
	flight_recorder_free(r);
	for (unsigned i = 0; i < 2; i++)
		assert_string_equal(start(*state, STATUS_FAILURE).failure_reason,
			"E203: Update failed in X: the image is broken");
}

static void an_update_that_was_cut_short_says_where(void **state)
{
	flight_recorder_free(begin_update());
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason,
		"E200: The update to version \"2.0\" was interrupted in DOWNLOADING_OTA_FILES "
		"(fetch "
		"contents): the machine or otaclient was stopped before the other slot was tried");
}

static void a_rollback_that_came_back_is_told(void **state)
{
	struct flight_recorder *r = flight_recorder_open(recorder_path, slots.active.id);

	write_status(&slots.active, STATUS_FAILURE, "ota-slot_b");
	write_status(&slots.standby, STATUS_ROLLBACKING, "ota-slot_b");
	flight_recorder_note(r, FLIGHT_ROLLBACK_BEGINS, NULL, "%s", "session");
	flight_recorder_free(r);
	r = flight_recorder_open(recorder_path, swapped.active.id);
	start_alone(r);
	flight_recorder_free(r);
	assert_string_equal(start(*state, STATUS_ROLLBACK_FAILURE).failure_reason,
		"E306: The former system on ota-slot_b did not commit: its last sign was the start "
		"of "
		"otaclient");
}

static void a_failure_that_another_client_has_written_is_not_explained_by_an_old_story(void **state)
{
	struct timespec later[2] = {{.tv_sec = time(NULL) + 100}, {.tv_sec = time(NULL) + 100}};
	struct flight_recorder *r = begin_update();
	char path[PATH_MAX + 16];

	flight_recorder_failure(r, OTA_E_OTA_IMAGE_INVALID, "of the past");
	flight_recorder_free(r);
	snprintf(path, sizeof(path), "%s/status", slots.active.status_dir);
	assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
	assert_false(start(*state, STATUS_FAILURE).has_failure);
	/* One that was going on, and has left no record. */
	write_status(&slots.active, STATUS_UPDATING, "ota-slot_b");
	assert_string_equal(start(*state, STATUS_FAILURE).failure_reason,
		"E200: The update did not come to its end; why is not recorded");
}

static void where_all_is_well_nothing_is_said(void **state)
{
	write_status(&slots.active, STATUS_SUCCESS, "ota-slot_a");
	assert_false(start(*state, STATUS_SUCCESS).has_failure);
	try_other(fail_a_check);
	assert_false(start(*state, STATUS_ABORTED).has_failure);
	assert_false(start(*state, STATUS_SUCCESS).has_failure);
}

static void without_a_recorder_it_works_all_the_same(void **state)
{
	struct return_reason why;
	struct status *status = status_new();
	struct status_snapshot now;

	write_status(&slots.active, STATUS_UPDATING, "ota-slot_b");
	return_reason_begin(NULL, &slots, false, &why);
	status_set_booted(status, STATUS_FAILURE, "", NULL);
	return_reason_tell(&why, NULL, &slots, NULL, "/nonexistent", "/nonexistent", status);
	status_get(status, &now);
	assert_string_equal(now.failure_reason,
		"E200: The update did not come to its end; why is not recorded");
	status_free(status);
}

#define reason_test(f) cmocka_unit_test_setup_teardown(f, setup, tmp_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		reason_test(each_start_after_a_return_says_why),
		reason_test(a_machine_that_came_back_says_so_once),
		reason_test(a_committed_slot_that_did_not_start_is_named_without_records_too),
		reason_test(a_cut_before_the_reason_was_recorded_loses_nothing),
		reason_test(the_last_words_of_the_kernel_are_shown_and_kept),
		reason_test(how_far_a_silent_system_came_is_told_by_its_file_system),
		reason_test(a_reset_by_the_watchdog_is_told),
		reason_test(what_the_boot_loader_could_not_start_is_told),
		reason_test(a_trial_that_the_boot_loader_could_not_begin_is_told_and_lost),
		reason_test(a_failure_of_the_update_itself_survives_the_daemon),
		reason_test(an_update_that_was_cut_short_says_where),
		reason_test(a_rollback_that_came_back_is_told),
		reason_test(
			a_failure_that_another_client_has_written_is_not_explained_by_an_old_story),
		reason_test(where_all_is_well_nothing_is_said),
		reason_test(without_a_recorder_it_works_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
