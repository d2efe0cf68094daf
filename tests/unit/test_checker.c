/*
 * test_checker: who asks for what lies on a disk is answered soon, however big another file is.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaproxy/checker.h"
#include "tests/unit/cache_room.h"

enum {
	SPARSE_BYTES_LOG = 40, /* a terabyte: hours of hashing */
	SOON_MS = 3000,        /* a busy machine, and no hours */
};

/* A disk that does not answer: reads wait until the gate is opened. */
static struct {
	atomic_bool closed;
	sem_t waiting;
	sem_t opened;
} gate;

/* In the C library's place, for the checker as well. */
ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
	if (atomic_load(&gate.closed)) {
		sem_post(&gate.waiting);
		while (sem_wait(&gate.opened) < 0)
			;
	}
	return (ssize_t)syscall(SYS_pread64, fd, buf, len, at);
}

struct bench {
	struct cache_store *store;
	struct counters counters;
	struct inflight *inflight;
	struct checker *checker;
	struct cache_key big;
	sem_t answers;
};

static void on_done(void *ctx)
{
	sem_post((sem_t *)ctx);
}

/* A big entry of another boot, which is not what its name says, and a small right one. */
static void setup_bench(struct bench *b, const struct tmp_dir *d)
{
	struct checker_config config = {.marks = RECLAIM_MARKS_DEFAULT};
	struct cache_store *old = cache_room_open(d, BOOT_1);
	char path[256], name[CACHE_NAME_MAX];

	*b = (struct bench){0};
	cache_room_put(old, "small");
	cache_store_free(old);
	b->big = cache_room_key("big", CACHE_PLAIN);
	cache_key_name(&b->big, name);
	snprintf(path, sizeof(path), "v1/" BOOT_1 "/%s", name);
	cache_room_put_file(d->fd, path, "");
	snprintf(path, sizeof(path), "%s/v1/" BOOT_1 "/%s", d->path, name);
	assert_int_equal(truncate(path, (off_t)1 << SPARSE_BYTES_LOG), 0);
	assert_int_equal(sem_init(&b->answers, 0, 0), 0);
	b->store = cache_room_open(d, BOOT_2);
	config.store = b->store;
	config.counters = &b->counters;
	config.inflight = b->inflight = inflight_new(b->store, &b->counters);
	assert_non_null(b->inflight);
	assert_int_equal(checker_start(&config, &b->checker, NULL), 0);
}

static void done_bench(struct bench *b)
{
	checker_free(b->checker);
	inflight_free(b->inflight);
	cache_store_free(b->store);
	sem_destroy(&b->answers);
}

static void a_stop_does_not_wait_for_a_big_file(void **state)
{
	struct bench b;
	uint64_t began_ms;

	setup_bench(&b, *state);
	/* Both of those that ask for it, and only they, are answered at the end. */
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), 0);
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), 0);
	began_ms = clock_monotonic_ms();
	assert_int_equal(checker_stop(b.checker), 0);
	assert_true(clock_monotonic_ms() - began_ms < SOON_MS);
	assert_int_equal(sem_trywait(&b.answers), 0);
	assert_int_equal(sem_trywait(&b.answers), 0);
	assert_int_equal(sem_trywait(&b.answers), -1);
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), -ESHUTDOWN);
	done_bench(&b);
}

static void a_small_file_does_not_wait_for_a_big_one(void **state)
{
	const struct cache_key small = cache_room_key("small", CACHE_PLAIN);
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1};
	struct bench b;
	sem_t small_answer;
	uint64_t began_ms = clock_monotonic_ms();

	setup_bench(&b, *state);
	assert_int_equal(sem_init(&small_answer, 0, 0), 0);
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), 0);
	assert_int_equal(checker_ask(b.checker, &small, on_done, &small_answer), 0);
	assert_int_equal(sem_wait(&small_answer), 0);
	assert_int_equal(sem_trywait(&b.answers), -1);
	assert_int_equal(cache_store_find(b.store, &small, &hit, NULL), 0);
	assert_true(hit.trusted);
	/* Whoever wants the big one has an answer too, before it loses its patience. */
	assert_int_equal(sem_wait(&b.answers), 0);
	assert_true(clock_monotonic_ms() - began_ms < 10000);
	assert_int_equal(checker_stop(b.checker), 0);
	sem_destroy(&small_answer);
	done_bench(&b);
}

static void a_stop_does_not_wait_for_a_disk_that_does_not_answer(void **state)
{
	struct bench b;

	assert_int_equal(sem_init(&gate.waiting, 0, 0), 0);
	assert_int_equal(sem_init(&gate.opened, 0, 0), 0);
	setup_bench(&b, *state);
	atomic_store(&gate.closed, true);
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), 0);
	assert_int_equal(sem_wait(&gate.waiting), 0);
	assert_int_equal(checker_stop(b.checker), -ETIMEDOUT);
	assert_int_equal(sem_trywait(&b.answers), -1);
	/* it does, after all */
	atomic_store(&gate.closed, false);
	sem_post(&gate.opened);
	assert_int_equal(checker_stop(b.checker), 0);
	assert_int_equal(sem_trywait(&b.answers), 0);
	done_bench(&b);
	sem_destroy(&gate.waiting);
	sem_destroy(&gate.opened);
}

static void who_waits_for_a_disk_that_does_not_answer_is_told(void **state)
{
	const struct cache_key small = cache_room_key("small", CACHE_PLAIN);
	AUTO_CACHE_HIT struct cache_hit hit = {.fd = -1};
	struct bench b;
	uint64_t began_ms = clock_monotonic_ms();

	assert_int_equal(sem_init(&gate.waiting, 0, 0), 0);
	assert_int_equal(sem_init(&gate.opened, 0, 0), 0);
	setup_bench(&b, *state);
	checker_watch(b.checker);
	atomic_store(&gate.closed, true);
	/* two for the same body, and one behind them */
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), 0);
	assert_int_equal(sem_wait(&gate.waiting), 0);
	assert_int_equal(checker_ask(b.checker, &b.big, on_done, &b.answers), 0);
	assert_int_equal(checker_ask(b.checker, &small, on_done, &b.answers), 0);
	checker_watch(b.checker);
	assert_int_equal(sem_trywait(&b.answers), -1);
	while (sem_trywait(&b.answers) < 0) {
		clock_sleep_ms(100);
		checker_watch(b.checker);
	}
	assert_in_range(
		clock_monotonic_ms() - began_ms, CHECKER_STUCK_MS, CHECKER_STUCK_MS + SOON_MS);
	assert_int_equal(sem_trywait(&b.answers), 0);
	assert_int_equal(sem_trywait(&b.answers), 0);
	assert_int_equal(checker_ask(b.checker, &small, on_done, &b.answers), -EBUSY);
	/* it answers again, and is asked again */
	atomic_store(&gate.closed, false);
	sem_post(&gate.opened);
	while (checker_ask(b.checker, &small, on_done, &b.answers) == -EBUSY)
		clock_sleep_ms(10);
	assert_int_equal(sem_wait(&b.answers), 0);
	assert_int_equal(cache_store_find(b.store, &small, &hit, NULL), 0);
	assert_true(hit.trusted);
	assert_int_equal(checker_stop(b.checker), 0);
	assert_int_equal(sem_trywait(&b.answers), -1);
	done_bench(&b);
	sem_destroy(&gate.waiting);
	sem_destroy(&gate.opened);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(a_stop_does_not_wait_for_a_big_file),
		tmp_dir_test(a_stop_does_not_wait_for_a_disk_that_does_not_answer),
		tmp_dir_test(who_waits_for_a_disk_that_does_not_answer_is_told),
		tmp_dir_test(a_small_file_does_not_wait_for_a_big_one),
	};

	return cmocka_run_group_tests_name("checker", tests, NULL, NULL);
}
