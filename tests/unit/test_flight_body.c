/*
 * test_flight_body: where the bytes of a fetch are, and when they can be read.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/folder.h"
#include "otaproxy/flight_body.h"
#include "tests/unit/cache_room.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

enum {
	BODY_BYTES = 5 * FLIGHT_BODY_GATHER_BYTES,
};

static uint8_t body[BODY_BYTES];

struct room {
	struct tmp_dir *dir;
	struct cache_store *store;
};

static int setup(void **state)
{
	static struct room room;

	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7 + i / 251);
	if (tmp_dir_setup((void **)&room.dir) < 0)
		return -1;
	room.store = cache_room_open(room.dir, BOOT_1);
	*state = &room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;

	cache_store_free(room->store);
	return tmp_dir_teardown((void **)&room->dir);
}

/* Add @n bytes from @at on; how many may be read then. */
static uint64_t add(struct flight_body *b, size_t at, size_t n)
{
	uint64_t readable = UINT64_MAX;
	struct ota_err err = {0};

	if (flight_body_add(b, body + at, n, &readable, &err) < 0)
		fail_msg("%s", err.msg);
	return readable;
}

static uint64_t end(struct flight_body *b)
{
	uint64_t readable;

	assert_int_equal(flight_body_end(b, &readable, NULL), 0);
	return readable;
}

static void assert_reads(const struct flight_body *b, size_t n_bytes)
{
	static uint8_t read_back[BODY_BYTES];
	size_t n = 0;

	while (n < n_bytes) {
		ssize_t got =
			flight_body_read(b, n, read_back + n, MIN_OF((size_t)30000, n_bytes - n));

		assert_true(got > 0);
		n += (size_t)got;
	}
	assert_memory_equal(read_back, body, n_bytes);
}

static int count(void *ctx, int dir_fd, const char *name)
{
	++*(unsigned *)ctx;
	return 0;
}

static unsigned n_unfinished(const struct room *room)
{
	AUTO_CLOSE int fd = openat(room->dir->fd, "v1/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned n = 0;

	assert_int_equal(folder_each(fd, count, &n), 0);
	return n;
}

static void small_body_stays_in_memory(void **state)
{
	static const size_t sizes[] = {
		1, 1000, FLIGHT_BODY_GATHER_BYTES - 1, FLIGHT_BODY_GATHER_BYTES};
	struct room *room = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct flight_body *b = flight_body_new(room->store, 0, true);

		assert_int_equal(add(b, 0, sizes[i] / 2), 0);
		assert_int_equal(add(b, sizes[i] / 2, sizes[i] - sizes[i] / 2), 0);
		assert_int_equal(flight_body_size(b), sizes[i]);
		assert_int_equal(end(b), sizes[i]);
		assert_memory_equal(flight_body_memory(b), body, sizes[i]);
		assert_reads(b, sizes[i]);
		assert_int_equal(flight_body_read(b, sizes[i], (char[1]){0}, 1), 0);
		assert_int_equal(n_unfinished(room), 0);
		flight_body_free(b);
	}
}

static void larger_body_goes_into_a_file_in_whole_pieces(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 0, true);
	size_t at = 0;

	for (; at + 10000 <= BODY_BYTES; at += 10000) {
		size_t all = at + 10000;
		uint64_t whole = all / FLIGHT_BODY_GATHER_BYTES * FLIGHT_BODY_GATHER_BYTES;

		assert_int_equal(add(b, at, 10000), whole);
		assert_reads(b, whole);
	}
	assert_int_equal(n_unfinished(room), 1);
	assert_int_equal(end(b), at);
	assert_null(flight_body_memory(b));
	assert_reads(b, at);
	flight_body_free(b);
	assert_int_equal(n_unfinished(room), 0);
}

static void body_that_is_not_gathered_can_be_read_at_once(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 4096, false);

	assert_int_equal(add(b, 0, 10), 10);
	assert_int_equal(add(b, 10, 90), 100);
	assert_reads(b, 100);
	assert_int_equal(end(b), 100);
	assert_reads(b, 100);
	flight_body_free(b);
}

static void body_that_begins_anew_keeps_what_could_be_read(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 0, true);
	size_t whole = FLIGHT_BODY_GATHER_BYTES;

	assert_int_equal(add(b, 0, whole + 100), whole);
	flight_body_rewind(b);
	assert_int_equal(flight_body_size(b), whole);
	assert_true(flight_body_has(b, 0, body, whole));
	assert_true(flight_body_has(b, 40000, body + 40000, 20000));
	assert_false(flight_body_has(b, 40000, body + 40001, 20000));
	assert_int_equal(add(b, whole, whole), 2 * whole);
	assert_reads(b, 2 * whole);
	flight_body_free(b);
}

static void body_in_memory_is_put_into_a_file_while_it_is_read(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 4096, true);
	struct cache_temp *temp = NULL;
	uint8_t read_back[1000];
	struct stat st;

	add(b, 0, 1000);
	end(b);
	assert_int_equal(flight_body_file(b, &temp, NULL), 0);
	assert_int_equal(fstat(cache_temp_fd(temp), &st), 0);
	assert_int_equal(st.st_size, 4096 + 1000);
	assert_int_equal(pread(cache_temp_fd(temp), read_back, 1000, 4096), 1000);
	assert_memory_equal(read_back, body, 1000);
	assert_memory_equal(flight_body_memory(b), body, 1000);
	assert_reads(b, 1000);
	flight_body_free(b);
	assert_int_equal(n_unfinished(room), 0);
}

static void empty_body_has_a_file_too(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 0, true);
	struct cache_temp *temp = NULL;

	assert_int_equal(end(b), 0);
	assert_null(flight_body_memory(b));
	assert_int_equal(flight_body_file(b, &temp, NULL), 0);
	assert_non_null(temp);
	flight_body_free(b);
}

static void body_without_a_store_makes_no_file_of_the_cache(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(NULL, 0, true);
	size_t whole = FLIGHT_BODY_GATHER_BYTES;

	assert_int_equal(add(b, 0, 2 * whole), 2 * whole);
	assert_reads(b, 2 * whole);
	flight_body_forget(b, 0, whole);
	assert_false(flight_body_has(b, 0, body, 100));
	assert_true(flight_body_has(b, whole, body + whole, 100));
	assert_int_equal(n_unfinished(room), 0);
	flight_body_free(b);
	flight_body_free(NULL);
}

static void rest_of_a_body_that_the_disk_has_no_room_for_is_in_memory(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 4096, true);
	size_t whole = FLIGHT_BODY_GATHER_BYTES;

	/* in the middle of a piece: what was gathered of it goes on with the rest */
	assert_int_equal(add(b, 0, 2 * whole + 1000), 2 * whole);
	assert_int_equal(flight_body_leave_disk(b, NULL), 0);
	assert_int_equal(add(b, 2 * whole + 1000, 2 * whole), 4 * whole);
	assert_reads(b, 4 * whole);
	assert_int_equal(end(b), 4 * whole + 1000);
	assert_reads(b, 4 * whole + 1000);
	assert_null(flight_body_memory(b));
	/* both parts can be forgotten, also at once */
	flight_body_forget(b, whole, 3 * whole);
	assert_true(flight_body_has(b, 0, body, whole));
	assert_false(flight_body_has(b, whole, body + whole, 100));
	assert_false(flight_body_has(b, 2 * whole, body + 2 * whole, 100));
	assert_true(flight_body_has(b, 3 * whole, body + 3 * whole, whole));
	flight_body_free(b);
	assert_int_equal(n_unfinished(room), 0);
}

static void body_of_which_the_disk_takes_nothing_is_in_memory(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 4096, false);

	assert_int_equal(flight_body_leave_disk(b, NULL), 0);
	assert_int_equal(add(b, 0, 1000), 1000);
	assert_int_equal(end(b), 1000);
	assert_reads(b, 1000);
	assert_int_equal(n_unfinished(room), 0);
	flight_body_free(b);
}

static void what_can_be_kept_nowhere_is_said(void **state)
{
	struct room *room = *state;
	struct flight_body *b = flight_body_new(room->store, 0, false);
	struct ota_err err = {0}, memory_err = {0};
	uint64_t readable;
	int r, memory_r;

	refusal_limit(RLIMIT_FSIZE, 100);
	r = flight_body_add(b, body, 1000, &readable, &err);
	refusal_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	assert_int_equal(r, -EFBIG);
	assert_sentence(&err, "Cannot write to the cache: File too large");
	refusal_limit(RLIMIT_NOFILE, 3);
	memory_r = flight_body_leave_disk(b, &memory_err);
	refusal_limit(RLIMIT_NOFILE, 1024);
	assert_int_equal(memory_r, -EMFILE);
	assert_sentence(&memory_err, "Cannot hold a body in memory: Too many open files");
	/* Neither has changed anything. */
	assert_int_equal(flight_body_size(b), 0);
	assert_int_equal(add(b, 0, 1000), 1000);
	assert_reads(b, 1000);
	flight_body_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(small_body_stays_in_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(
			larger_body_goes_into_a_file_in_whole_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(
			body_that_is_not_gathered_can_be_read_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			body_that_begins_anew_keeps_what_could_be_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			body_in_memory_is_put_into_a_file_while_it_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_body_has_a_file_too, setup, teardown),
		cmocka_unit_test_setup_teardown(
			body_without_a_store_makes_no_file_of_the_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(
			rest_of_a_body_that_the_disk_has_no_room_for_is_in_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(
			body_of_which_the_disk_takes_nothing_is_in_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(what_can_be_kept_nowhere_is_said, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
