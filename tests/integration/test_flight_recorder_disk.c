/*
 * flight_recorder on a real ext4 file system: the power fails at each of its operations, the disk is full, or cannot be
 * written. Needs root and loop devices.
 *
 * What a cut leaves is a copy of the disk as the kernel has written it at that instant; what a disk's own cache would lose
 * besides is not taken away.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/io.h"
#include "common/base/log.h"
#include "common/base/run.h"
#include "otaclient/flight/flight_recorder.h"
#include "tests/unit/tmp_dir.h"

enum {
	DISK_BYTES = 8 << 20,
	RECORDS = 12,
	CUTS_MAX = 100,
};

struct bench {
	struct tmp_dir *dir;
	char image[80], point[80], copy_point[80], path[112], copy_path[112];
	unsigned n_cuts;
	unsigned n_done[CUTS_MAX]; /* records whose call had returned when the power failed */
	unsigned n_returned;
};

static unsigned n_warnings;
static struct flight_record seen[FLIGHT_CELLS];

static void count_warnings(void *ctx, const struct log_entry *e)
{
	n_warnings += e->level <= LOG_LEVEL_WARNING;
}

static void must_run(const char *const *argv)
{
	const struct run_args args = {.argv = argv};
	struct ota_err err = {0};

	if (run_tool(&args, &err) < 0)
		fail_msg("%s", err.msg);
}

static void mount_image(const char *image, const char *point)
{
	must_run((const char *const[]){"mount", "-o", "loop", image, point, NULL});
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	void *dir = NULL;
	AUTO_CLOSE int fd = -1;

	assert_int_equal(tmp_dir_setup(&dir), 0);
	b->dir = dir;
	snprintf(b->image, sizeof(b->image), "%s/image", b->dir->path);
	snprintf(b->point, sizeof(b->point), "%s/boot", b->dir->path);
	snprintf(b->copy_point, sizeof(b->copy_point), "%s/later", b->dir->path);
	snprintf(b->path, sizeof(b->path), "%s/flight-recorder", b->point);
	snprintf(b->copy_path, sizeof(b->copy_path), "%s/flight-recorder", b->copy_point);
	assert_int_equal(mkdir(b->point, 0755), 0);
	assert_int_equal(mkdir(b->copy_point, 0755), 0);
	fd = open(b->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	must_run((const char *const[]){
		"mke2fs", "-q", "-F", "-b", "4096", "-t", "ext4", b->image, NULL});
	mount_image(b->image, b->point);
	n_warnings = 0;
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	void *dir = b->dir;

	io_set_hook(NULL, NULL);
	umount2(b->copy_point, MNT_DETACH);
	umount2(b->point, MNT_DETACH);
	free(b);
	return tmp_dir_teardown(&dir);
}

static void cut_path(const struct bench *b, unsigned cut, char ret_path[112])
{
	snprintf(ret_path, 112, "%s/cut%u", b->dir->path, cut);
}

static int keep_what_the_disk_has(void *ctx, const char *what)
{
	struct bench *b = ctx;
	char path[112];

	assert_true(b->n_cuts < CUTS_MAX);
	cut_path(b, b->n_cuts, path);
	must_run((const char *const[]){"cp", "--sparse=always", b->image, path, NULL});
	b->n_done[b->n_cuts++] = b->n_returned;
	return 0;
}

/* What the start finds, and that it can go on. */
static void assert_story(const struct bench *b, unsigned cut)
{
	struct flight_recorder *r = flight_recorder_open(b->copy_path, "s");
	size_t n = flight_recorder_copy(r, seen);

	/* The one that was being written may be there as well. */
	assert_in_range(n, b->n_done[cut], b->n_done[cut] + 1);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(seen[i].number, i + 1);
		assert_int_equal(strtoul(seen[i].text, NULL, 10), i);
	}
	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	flight_recorder_free(r);
	assert_int_equal(flight_recorder_read_file(b->copy_path, seen, &n, NULL), 0);
	assert_int_equal(seen[n - 1].kind, FLIGHT_FLIP);
}

static void whatever_was_recorded_is_there_after_a_power_cut(void **state)
{
	struct bench *b = *state;
	struct flight_recorder *r;

	io_set_hook(keep_what_the_disk_has, b);
	r = flight_recorder_open(b->path, "s");
	for (unsigned i = 0; i < RECORDS; i++) {
		flight_recorder_note(r, FLIGHT_STEP, "P", "%u", i);
		b->n_returned = i + 1;
	}
	keep_what_the_disk_has(b, "the end");
	io_set_hook(NULL, NULL);
	flight_recorder_free(r);
	assert_int_equal(b->n_cuts, 4 + 2 * RECORDS + 1);
	for (unsigned cut = 0; cut < b->n_cuts; cut++) {
		char path[112];

		cut_path(b, cut, path);
		mount_image(path, b->copy_point);
		assert_story(b, cut);
		must_run((const char *const[]){"umount", b->copy_point, NULL});
		must_run((const char *const[]){"e2fsck", "-f", "-n", path, NULL});
	}
	assert_int_equal(n_warnings, 0);
}

static void fill_disk(const struct bench *b)
{
	char path[112], chunk[4096];
	AUTO_CLOSE int fd = -1;

	memset(chunk, 'x', sizeof(chunk));
	snprintf(path, sizeof(path), "%s/filler", b->point);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, chunk, sizeof(chunk)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
}

static void a_full_disk_does_not_matter(void **state)
{
	struct bench *b = *state;
	struct flight_recorder *r = flight_recorder_open(b->path, "s");

	fill_disk(b);
	for (unsigned i = 0; i < 2 * FLIGHT_CELLS; i++)
		flight_recorder_note(r, FLIGHT_STEP, "P", "%u", i);
	flight_recorder_free(r);
	r = flight_recorder_open(b->path, "s");
	assert_int_equal(flight_recorder_copy(r, seen), FLIGHT_CELLS);
	assert_string_equal(seen[FLIGHT_CELLS - 1].text, "255");
	flight_recorder_free(r);
	assert_int_equal(n_warnings, 0);
}

static void a_copy_with_holes_is_used_as_far_as_it_goes_on_a_full_disk(void **state)
{
	struct bench *b = *state;
	struct flight_recorder *r = flight_recorder_open(b->path, "s");
	char copy[112];

	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	flight_recorder_free(r);
	snprintf(copy, sizeof(copy), "%s/copy", b->dir->path);
	must_run((const char *const[]){"cp", b->path, copy, NULL});
	assert_int_equal(unlink(b->path), 0);
	must_run((const char *const[]){"cp", "--sparse=always", copy, b->path, NULL});
	fill_disk(b);
	r = flight_recorder_open(b->path, "s");
	assert_int_equal(n_warnings, 0);
	/* Cells 2 and 3 are in the block that is there, the others in a hole. */
	for (unsigned i = 2; i <= 4; i++) {
		assert_int_equal(n_warnings, 0);
		flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	}
	assert_int_equal(n_warnings, 1);
	flight_recorder_free(r);
	r = flight_recorder_open(b->path, "s");
	assert_int_equal(flight_recorder_copy(r, seen), 3);
	flight_recorder_free(r);
}

static void one_that_cannot_be_made_on_a_full_disk_is_warned_of_and_leaves_nothing(void **state)
{
	struct bench *b = *state;
	struct flight_recorder *r;
	AUTO_CLOSEDIR DIR *dir = NULL;
	const struct dirent *e;

	fill_disk(b);
	r = flight_recorder_open(b->path, "s");
	assert_int_equal(n_warnings, 1);
	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	assert_int_equal(flight_recorder_copy(r, seen), 1);
	flight_recorder_free(r);
	dir = opendir(b->point);
	while ((e = readdir(dir)))
		assert_true(strcmp(e->d_name, "filler") == 0 ||
			    strcmp(e->d_name, "lost+found") == 0 || e->d_name[0] == '.');
	assert_int_equal(access(b->path, F_OK), -1);
}

static void a_disk_that_cannot_be_written_still_tells_the_story(void **state)
{
	struct bench *b = *state;
	struct flight_recorder *r = flight_recorder_open(b->path, "s");

	flight_recorder_note(r, FLIGHT_FLIP, "x", "%s", "");
	flight_recorder_free(r);
	must_run((const char *const[]){"mount", "-o", "remount,ro", b->point, NULL});
	r = flight_recorder_open(b->path, "s");
	assert_int_equal(n_warnings, 1);
	flight_recorder_note(r, FLIGHT_FLIP, "y", "%s", "");
	assert_int_equal(flight_recorder_copy(r, seen), 2);
	assert_string_equal(seen[0].subject, "x");
	assert_string_equal(seen[1].subject, "y");
	flight_recorder_free(r);
	assert_int_equal(n_warnings, 1);
}

#define disk_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		disk_test(whatever_was_recorded_is_there_after_a_power_cut),
		disk_test(a_full_disk_does_not_matter),
		disk_test(a_copy_with_holes_is_used_as_far_as_it_goes_on_a_full_disk),
		disk_test(one_that_cannot_be_made_on_a_full_disk_is_warned_of_and_leaves_nothing),
		disk_test(a_disk_that_cannot_be_written_still_tells_the_story),
	};

	log_set_sink(count_warnings, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
