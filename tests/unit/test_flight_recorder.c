/*
 * flight_recorder: what was told is found again by whoever opens the file next, whatever has happened to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "otaclient/flight/flight_recorder.h"
#include "tests/unit/tmp_dir.h"

static struct flight_record seen[FLIGHT_CELLS];
static unsigned n_warnings;
static char last_warning[LOG_TEXT_MAX];

static void count_warnings(void *ctx, const struct log_entry *e)
{
	if (e->level > LOG_LEVEL_WARNING)
		return;
	n_warnings++;
	snprintf(last_warning, sizeof(last_warning), "%s", e->text);
}

static const char *path_of(const struct tmp_dir *d)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/recorder", d->path);
	return path;
}

static struct flight_recorder *open_as(const struct tmp_dir *d, const char *slot)
{
	struct flight_recorder *r = flight_recorder_open(path_of(d), slot);

	assert_non_null(r);
	return r;
}

/* What a start finds that comes after a cut: nothing of the one that wrote it is used. */
static size_t read_back(const struct tmp_dir *d)
{
	struct ota_err err = {0};
	size_t n = 999;

	assert_int_equal(flight_recorder_read_file(path_of(d), seen, &n, &err), 0);
	return n;
}

static unsigned n_entries(const struct tmp_dir *d)
{
	AUTO_CLOSEDIR DIR *dir = opendir(d->path);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	return n - 2;
}

static void what_one_slot_tells_the_other_reads(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *a = open_as(d, "ota-slot_a"), *b;
	struct stat st;

	flight_recorder_note(a, FLIGHT_UPDATE_BEGINS, "v\n2", "session %d", 7);
	flight_recorder_note(a, FLIGHT_FLIP, "ota-slot_b", "%s", "");
	flight_recorder_free(a);
	b = open_as(d, "ota-slot_b");
	flight_recorder_check(b, "10-network", false, "exit 1: no route");
	flight_recorder_note(b, FLIGHT_REVERT, NULL, "%s", "why");
	flight_recorder_failure(b, OTA_E_BOOTCONTROL_STARTUP, "a sentence");
	assert_int_equal(flight_recorder_copy(b, seen), 5);
	assert_int_equal(seen[4].number, 5);
	flight_recorder_free(b);

	assert_int_equal(read_back(d), 5);
	assert_int_equal(seen[0].kind, FLIGHT_UPDATE_BEGINS);
	assert_string_equal(seen[0].subject, "v 2");
	assert_string_equal(seen[0].text, "session 7");
	assert_string_equal(seen[0].slot, "ota-slot_a");
	assert_int_equal(seen[2].kind, FLIGHT_CHECK);
	assert_true(seen[2].failed);
	assert_string_equal(seen[2].slot, "ota-slot_b");
	assert_string_equal(seen[2].subject, "10-network");
	assert_string_equal(seen[2].text, "exit 1: no route");
	assert_string_equal(seen[3].text, "why");
	assert_int_equal(seen[4].code, 302);
	assert_memory_equal(seen[0].boot_id, seen[4].boot_id, FLIGHT_BOOT_ID_BYTES);
	assert_int_not_equal(seen[0].unix_s, 0);
	assert_int_equal(n_entries(d), 1);
	assert_int_equal(stat(path_of(d), &st), 0);
	assert_int_equal(st.st_size, FLIGHT_RING_BYTES);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(n_warnings, 0);
}

static void the_ring_goes_round_and_its_size_stays(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "s");
	struct stat st;

	for (unsigned i = 1; i <= 3 * FLIGHT_CELLS + 5; i++) {
		if (i % 50 == 0) {
			flight_recorder_free(r);
			r = open_as(d, "s");
		}
		flight_recorder_note(r, FLIGHT_STEP, "P", "%u", i);
	}
	flight_recorder_free(r);
	assert_int_equal(read_back(d), FLIGHT_CELLS);
	for (unsigned i = 0; i < FLIGHT_CELLS; i++) {
		char want[16];

		snprintf(want, sizeof(want), "%u", 2 * FLIGHT_CELLS + 6 + i);
		assert_string_equal(seen[i].text, want);
	}
	assert_int_equal(stat(path_of(d), &st), 0);
	assert_int_equal(st.st_size, FLIGHT_RING_BYTES);
}

/* ---- what may be in the file's place ---- */

static void put_file(const struct tmp_dir *d, int byte, size_t len)
{
	AUTO_FREE char *data = malloc(len + 1);

	memset(data, byte, len);
	unlink(path_of(d));
	assert_int_equal(io_replace_file("t", d->fd, "recorder", data, len, 0600), 0);
}

static void assert_works(const struct tmp_dir *d, unsigned want_warnings)
{
	struct flight_recorder *r = open_as(d, "s");

	assert_int_equal(n_warnings, want_warnings);
	assert_int_equal(flight_recorder_copy(r, seen), 0);
	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	flight_recorder_free(r);
	assert_int_equal(read_back(d), 1);
	n_warnings = 0;
}

static void what_is_no_recorder_is_begun_anew(void **state)
{
	static const size_t lengths[] = {0, 1, FLIGHT_CELL_BYTES, FLIGHT_RING_BYTES - 1,
		FLIGHT_RING_BYTES + 1, 4 * FLIGHT_RING_BYTES};
	struct tmp_dir *d = *state;
	char target[160];

	put_file(d, 0, FLIGHT_RING_BYTES); /* one that was never written to */
	assert_works(d, 0);
	put_file(d, 0xff, FLIGHT_RING_BYTES);
	assert_works(d, 1);
	assert_non_null(strstr(last_warning, "The flight recorder is begun anew: "));
	assert_non_null(strstr(last_warning, "recorder is none"));
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		put_file(d, 'x', lengths[i]);
		assert_works(d, 1);
		put_file(d, 0, lengths[i]);
		assert_works(d, 1);
	}
	/* A link is replaced, and not what it points to. */
	snprintf(target, sizeof(target), "%s/target", d->path);
	unlink(path_of(d));
	close(open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(symlink(target, path_of(d)), 0);
	assert_works(d, 1);
	assert_int_equal(truncate(target, 0), 0);
	unlink(path_of(d));
	assert_int_equal(mkfifo(path_of(d), 0600), 0);
	assert_works(d, 1);
	assert_int_equal(n_entries(d), 2);
}

static void a_recorder_whose_numbers_are_at_their_end_is_begun_anew(void **state)
{
	struct flight_record r = {.number = INT64_MAX, .kind = FLIGHT_FLIP};
	AUTO_FREE char *ring = calloc(1, FLIGHT_RING_BYTES);
	struct tmp_dir *d = *state;

	flight_record_encode(&r, ring + INT64_MAX % FLIGHT_CELLS * FLIGHT_CELL_BYTES);
	assert_int_equal(io_replace_file("t", d->fd, "recorder", ring, FLIGHT_RING_BYTES, 0600), 0);
	assert_works(d, 1);
}

static void a_folder_in_its_place_is_warned_of_once(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r;

	assert_int_equal(mkdir(path_of(d), 0755), 0);
	r = open_as(d, "s");
	assert_int_equal(n_warnings, 2); /* that it is none, and that it cannot be made */
	assert_non_null(
		strstr(last_warning, "The flight recorder cannot be written, so a later "
				     "start may not know why this update ends as it does: "));
	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	flight_recorder_note(r, FLIGHT_FLIP, "y", "%s", "");
	assert_int_equal(n_warnings, 2);
	assert_int_equal(flight_recorder_copy(r, seen), 2); /* in memory alone */
	flight_recorder_free(r);
	assert_int_equal(n_entries(d), 1);
}

static void without_its_folder_it_is_kept_in_memory(void **state)
{
	struct flight_recorder *r = flight_recorder_open("/nonexistent/folder/recorder", "s");

	assert_int_equal(n_warnings, 1);
	assert_non_null(strstr(last_warning, "/nonexistent/folder/recorder: No such file"));
	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	assert_int_equal(flight_recorder_copy(r, seen), 1);
	flight_recorder_free(r);
}

static void a_copy_with_holes_gets_its_room_and_keeps_its_records(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "s");
	char cell[FLIGHT_CELL_BYTES];
	AUTO_CLOSE int fd = -1;
	struct stat st;

	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	flight_recorder_free(r);
	fd = open(path_of(d), O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, cell, sizeof(cell), FLIGHT_CELL_BYTES), sizeof(cell));
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, FLIGHT_RING_BYTES), 0);
	assert_int_equal(pwrite(fd, cell, sizeof(cell), FLIGHT_CELL_BYTES), sizeof(cell));
	r = open_as(d, "s");
	assert_int_equal(flight_recorder_copy(r, seen), 1);
	flight_recorder_note(r, FLIGHT_FLIP, "y", "%s", "");
	flight_recorder_free(r);
	assert_int_equal(read_back(d), 2);
	assert_int_equal(stat(path_of(d), &st), 0);
	assert_true(st.st_blocks * 512 >= FLIGHT_RING_BYTES);
	assert_int_equal(n_warnings, 0);
}

/* Each byte of a real ring spoiled: the others' records are there, and this one, or not. */
static void a_spoiled_byte_costs_at_most_one_record(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "s");
	AUTO_CLOSE int fd = -1;

	for (unsigned i = 1; i <= 5; i++)
		flight_recorder_note(r, FLIGHT_STEP, "P", "%u", i);
	flight_recorder_free(r);
	fd = open(path_of(d), O_RDWR | O_CLOEXEC);
	for (off_t at = 0; at < 7 * FLIGHT_CELL_BYTES; at += 37) {
		size_t n, want_at = (size_t)at / FLIGHT_CELL_BYTES;
		char byte, other;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		other = (char)~byte;
		assert_int_equal(pwrite(fd, &other, 1, at), 1);
		n = read_back(d);
		assert_int_equal(n, want_at >= 1 && want_at <= 5 ? 4 : 5);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(seen[i].text[0] - '0', seen[i].number);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
}

static void another_file_is_refused_with_a_sentence(void **state)
{
	struct tmp_dir *d = *state;
	struct ota_err err = {0};
	size_t n = 0;

	put_file(d, 'x', 100);
	assert_int_equal(flight_recorder_read_file(path_of(d), seen, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "recorder is no flight recorder of otaclient"));
	assert_int_equal(flight_recorder_read_file("/nonexistent", seen, &n, &err), -ENOENT);
	assert_string_equal(err.msg, "Cannot read /nonexistent: No such file or directory");
	assert_int_equal(flight_recorder_read_file("/dev/zero", seen, &n, &err), -EBADMSG);
}

/* ---- cuts and failures ---- */

struct stopper {
	unsigned n_steps, fail_at;
	bool all; /* from there on */
};

static int stop(void *ctx, const char *what)
{
	struct stopper *s = ctx;

	assert_string_equal(what, "flight recorder");
	s->n_steps++;
	return s->n_steps == s->fail_at || (s->all && s->n_steps > s->fail_at) ? -EIO : 0;
}

/* From an empty folder to three records, with a failure at each step: nobody notices but the reader. */
static void a_failure_at_any_step_costs_records_and_nothing_else(void **state)
{
	struct tmp_dir *d = *state;
	struct stopper s = {0};
	unsigned n_steps = 100;

	for (unsigned fail_at = 1; fail_at <= 2 * n_steps + 1; fail_at++) {
		struct flight_recorder *r;

		n_warnings = 0;
		unlink(path_of(d));
		s = (struct stopper){.fail_at = (fail_at + 1) / 2, .all = fail_at % 2};
		io_set_hook(stop, &s);
		r = open_as(d, "s");
		for (unsigned i = 1; i <= 3; i++)
			flight_recorder_note(r, FLIGHT_STEP, "P", "%u", i);
		io_set_hook(NULL, NULL);
		assert_int_equal(flight_recorder_copy(r, seen), 3);
		flight_recorder_free(r);
		if (s.n_steps < s.fail_at) {
			n_steps = s.n_steps;
			break;
		}
		assert_int_equal(n_warnings, 1);
		if (access(path_of(d), F_OK) == 0) {
			size_t n = read_back(d);

			assert_true(n <= 3);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(seen[i].text[0] - '0', seen[i].number);
		}
		/* The next start goes on, or begins anew. */
		r = open_as(d, "s");
		flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
		flight_recorder_free(r);
		assert_int_equal(seen[read_back(d) - 1].kind, FLIGHT_FLIP);
		assert_int_equal(n_entries(d), 1);
	}
	assert_int_equal(n_steps, 10); /* four to make it, two for each record */
}

static void what_a_cut_has_left_of_a_new_one_goes(void **state)
{
	struct tmp_dir *d = *state;
	char path[160];

	snprintf(path, sizeof(path), "%s/" IO_TMP_PREFIX "0123", d->path);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	snprintf(path, sizeof(path), "%s/ecu_info.yaml", d->path);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	flight_recorder_free(open_as(d, "s"));
	assert_int_equal(n_entries(d), 2);
	assert_int_equal(access(path, F_OK), 0);
}

/* ---- what is worth room ---- */

static void a_check_is_recorded_when_its_result_changes(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "s");

	flight_recorder_note(r, FLIGHT_UPDATE_BEGINS, "v", "%s", "");
	for (unsigned i = 0; i < 100; i++) {
		flight_recorder_check(r, "a", false, "exit 1");
		flight_recorder_check(r, "b", true, "");
	}
	assert_int_equal(flight_recorder_copy(r, seen), 3);
	flight_recorder_check(r, "a", true, "");
	flight_recorder_check(r, "a", false, "exit 1");
	assert_int_equal(flight_recorder_copy(r, seen), 5);
	for (unsigned i = 0; i < 1000; i++)
		flight_recorder_check(r, "a", i % 2, "");
	assert_int_equal(flight_recorder_copy(r, seen), 1 + 48);
	flight_recorder_note(r, FLIGHT_UPDATE_BEGINS, "w", "%s", "");
	flight_recorder_check(r, "a", false, "exit 1");
	assert_int_equal(flight_recorder_copy(r, seen), 1 + 48 + 2);
	flight_recorder_free(r);
}

static void a_daemon_that_dies_again_and_again_does_not_push_the_story_out(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "a");

	flight_recorder_note(r, FLIGHT_UPDATE_BEGINS, "v", "%s", "");
	for (unsigned i = 0; i < 300; i++) {
		flight_recorder_free(r);
		r = open_as(d, "b");
		flight_recorder_note(r, FLIGHT_START, "commit", "%u", i);
		flight_recorder_failure(r, OTA_E_BOOTCONTROL_STARTUP, "the same");
	}
	flight_recorder_free(r);
	assert_int_equal(read_back(d), 1 + 8 + 1);
	assert_int_equal(seen[0].kind, FLIGHT_UPDATE_BEGINS);
}

static void the_starts_of_an_idle_machine_are_one_record(void **state)
{
	struct tmp_dir *d = *state;

	for (unsigned i = 0; i < 10; i++) {
		struct flight_recorder *r = open_as(d, "a");

		flight_recorder_note(r, FLIGHT_START, FLIGHT_START_IDLE, "%s", "SUCCESS");
		flight_recorder_free(r);
	}
	assert_int_equal(read_back(d), 1);
}

static void a_kernels_log_is_kept_in_whole_lines_from_its_end(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "a");
	AUTO_BUF struct buf log = {0};
	size_t n;

	for (unsigned i = 0; i < 500; i++)
		buf_printf(&log, "[    1.%06u] this is a line of the log, in full\n", i);
	flight_recorder_kernel_log(r, "/dev/kmsg", buf_str(&log));
	n = flight_recorder_copy(r, seen);
	assert_in_range(n, 6, 7);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(seen[i].kind, FLIGHT_KERNEL);
		assert_string_equal(seen[i].subject, "/dev/kmsg");
		assert_int_equal(strncmp(seen[i].text, "[    1.", 7), 0);
		assert_string_equal(seen[i].text + strlen(seen[i].text) - 4, "full");
	}
	assert_non_null(strstr(seen[n - 1].text, "1.000499]"));
	/* One line without an end, longer than all of it. */
	log.len_bytes = 0;
	for (unsigned i = 0; i < 3000; i++)
		buf_puts(&log, "\xe2\x82\xac");
	flight_recorder_kernel_log(r, "pstore", buf_str(&log));
	assert_in_range(flight_recorder_copy(r, seen), n + 6, n + 8);
	flight_recorder_kernel_log(r, "nothing", "");
	flight_recorder_free(r);
}

static void no_recorder_takes_everything(void **state)
{
	flight_recorder_note(NULL, FLIGHT_FLIP, "x", "%s", "y");
	flight_recorder_check(NULL, "x", true, "y");
	flight_recorder_failure(NULL, OTA_E_NETWORK, "x");
	flight_recorder_kernel(NULL);
	flight_recorder_kernel_log(NULL, "x", "y");
	assert_int_equal(flight_recorder_copy(NULL, seen), 0);
	flight_recorder_free(NULL);
}

static void *write_many(void *arg)
{
	for (unsigned i = 0; i < 30; i++)
		flight_recorder_note(arg, FLIGHT_STEP, "P", "%u", i);
	return NULL;
}

static void threads_share_it(void **state)
{
	struct tmp_dir *d = *state;
	struct flight_recorder *r = open_as(d, "a");
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, r), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	flight_recorder_free(r);
	assert_int_equal(read_back(d), 120);
}

static int setup(void **state)
{
	n_warnings = 0;
	return tmp_dir_setup(state);
}

#define recorder_test(f) cmocka_unit_test_setup_teardown(f, setup, tmp_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		recorder_test(what_one_slot_tells_the_other_reads),
		recorder_test(the_ring_goes_round_and_its_size_stays),
		recorder_test(what_is_no_recorder_is_begun_anew),
		recorder_test(a_recorder_whose_numbers_are_at_their_end_is_begun_anew),
		recorder_test(a_folder_in_its_place_is_warned_of_once),
		recorder_test(without_its_folder_it_is_kept_in_memory),
		recorder_test(a_copy_with_holes_gets_its_room_and_keeps_its_records),
		recorder_test(a_spoiled_byte_costs_at_most_one_record),
		recorder_test(another_file_is_refused_with_a_sentence),
		recorder_test(a_failure_at_any_step_costs_records_and_nothing_else),
		recorder_test(what_a_cut_has_left_of_a_new_one_goes),
		recorder_test(a_check_is_recorded_when_its_result_changes),
		recorder_test(a_daemon_that_dies_again_and_again_does_not_push_the_story_out),
		recorder_test(the_starts_of_an_idle_machine_are_one_record),
		recorder_test(a_kernels_log_is_kept_in_whole_lines_from_its_end),
		recorder_test(no_recorder_takes_everything),
		recorder_test(threads_share_it),
	};

	log_set_sink(count_warnings, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
