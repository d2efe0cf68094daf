/*
 * log_sender: what reaches a log server that comes, goes, is slow or is not there, and that nobody waits for it. The
 * servers are scripts here, and the clock is the test's: naps are short and make time pass.
 */
#include "otaclient/log/log_sender.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/sentence.h"

/* ---- the clock ---- */

static atomic_uint_fast64_t now_ms;

/* From the moment at which @who_ends reads the clock once more, a server that holds somebody lets time pass. */
static pthread_t who_ends;
static atomic_bool is_ending, time_passes;

static uint64_t test_monotonic_ms(void)
{
	uint64_t now = atomic_load(&now_ms);

	if (atomic_load(&is_ending) && pthread_equal(pthread_self(), who_ends))
		atomic_store(&time_passes, true);
	return now;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void test_sleep_ms(uint64_t ms)
{
	atomic_fetch_add(&now_ms, ms);
	nap();
}

static const struct clock_ops test_clock = {
	.monotonic_ms = test_monotonic_ms,
	.sleep_ms = test_sleep_ms,
};

/* ---- a scripted server ---- */

enum mood {
	MOOD_WELL,
	MOOD_DEAD, /* refuses at once */
	MOOD_HELD, /* keeps whoever asks waiting, until it is in another mood or patience is over */
};

struct server {
	pthread_mutex_t lock;
	struct buf got; /* "0:text\n" or "1:text\n" per record; under lock */
	struct buf notes;
	atomic_uint n_got, n_sends, n_checks, n_notes;
	atomic_int mood;
	uint64_t retried_ms
		[16]; /* when each try came; the sender's thread, then read after its end */
};

static int obey(struct server *s, const struct log_patience *patience, struct ota_err *err)
{
	while (atomic_load(&s->mood) == MOOD_HELD) {
		if (patience->is_over(patience->ctx))
			return ota_err_set(err, -ECANCELED, OTA_E_NETWORK, "not waited for");
		if (atomic_load(&time_passes))
			test_sleep_ms(10);
		else
			nap();
	}
	if (atomic_load(&s->mood) == MOOD_DEAD)
		return ota_err_set(err, -EIO, OTA_E_NETWORK, "nobody there");
	return 0;
}

static int server_check(void *ctx, const struct log_patience *patience, struct ota_err *err)
{
	struct server *s = ctx;

	atomic_fetch_add(&s->n_checks, 1);
	return obey(s, patience, err);
}

static int server_send(void *ctx, const struct log_record *record,
	const struct log_patience *patience, struct ota_err *err)
{
	struct server *s = ctx;
	unsigned n = atomic_fetch_add(&s->n_sends, 1);
	int r;

	if (n < 16)
		s->retried_ms[n] = clock_monotonic_ms();
	r = obey(s, patience, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	buf_printf(&s->got, "%d:%s\n", (int)record->kind, record->text);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->n_got, 1);
	return 0;
}

static void note(void *ctx, const char *sentence)
{
	struct server *s = ctx;

	pthread_mutex_lock(&s->lock);
	buf_printf(&s->notes, "%s\n", sentence);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->n_notes, 1);
}

static int tell_lost(void *ctx, uint64_t n, struct buf *out)
{
	return buf_printf(out, "lost %llu", (unsigned long long)n);
}

static struct server first, second;
static struct log_sender *sender;

static void make(void)
{
	const struct log_sender_config config = {
		.note = note, .note_ctx = &second, .tell_lost = tell_lost};
	struct ota_err err = {0};

	assert_int_equal(log_sender_new(&config, &sender, &err), 0);
}

static void start(bool with_first)
{
	const struct log_way ways[] = {
		{"first",  server_check, server_send, &first },
		{"second", NULL,         server_send, &second},
	};
	struct ota_err err = {0};

	if (!sender)
		make();
	assert_int_equal(
		log_sender_start(sender, with_first ? ways : ways + 1, with_first ? 2 : 1, &err),
		0);
}

static void end(void)
{
	log_sender_free(sender);
	sender = NULL;
}

static void wait_for(atomic_uint *n, unsigned want)
{
	for (unsigned i = 0; atomic_load(n) < want; i++) {
		if (i == 100000)
			fail_msg("%u instead of %u", atomic_load(n), want);
		nap();
	}
}

static void put_numbers(unsigned from, unsigned to)
{
	char text[16];

	for (unsigned i = from; i < to; i++) {
		snprintf(text, sizeof(text), "%u", i);
		log_sender_put(sender, LOG_KIND_LINE, text);
	}
}

static int setup(void **state)
{
	for (struct server *s = &first;; s = &second) {
		*s = (struct server){.lock = PTHREAD_MUTEX_INITIALIZER};
		if (s == &second)
			break;
	}
	atomic_store(&now_ms, 1000);
	clock_set_ops(&test_clock);
	return 0;
}

static int teardown(void **state)
{
	end();
	buf_done(&first.got);
	buf_done(&first.notes);
	buf_done(&second.got);
	buf_done(&second.notes);
	clock_set_ops(NULL);
	return 0;
}

/* ---- the sentences ---- */

static void records_arrive_in_order_and_each_once(void **state)
{
	AUTO_BUF struct buf want = {0};

	start(false);
	put_numbers(0, 1000);
	log_sender_put(sender, LOG_KIND_METRICS, "{}");
	wait_for(&second.n_got, 1001);
	end();
	for (unsigned i = 0; i < 1000; i++)
		buf_printf(&want, "0:%u\n", i);
	buf_puts(&want, "1:{}\n");
	assert_string_equal(buf_str(&second.got), buf_str(&want));
	assert_int_equal(second.n_notes, 0);
}

static void what_came_before_the_address_was_known_goes_out_first(void **state)
{
	make();
	put_numbers(0, 3);
	log_sender_flush(sender, UINT32_MAX); /* returns, for nothing can be sent */
	assert_int_equal(second.n_sends, 0);
	start(false);
	put_numbers(3, 4);
	wait_for(&second.n_got, 4);
	end();
	assert_string_equal(buf_str(&second.got), "0:0\n0:1\n0:2\n0:3\n");
	/* Then, too, what is too much is told of. */
	make();
	put_numbers(0, LOG_QUEUE_MAX + 7);
	start(false);
	wait_for(&second.n_got, 4 + 1 + LOG_QUEUE_MAX);
	end();
	assert_non_null(strstr(buf_str(&second.got), "0:3\n0:lost 7\n0:7\n"));
}

static void without_an_address_nothing_is_sent_and_the_end_comes_at_once(void **state)
{
	uint64_t began = clock_monotonic_ms();

	make();
	put_numbers(0, 100);
	end();
	assert_int_equal(clock_monotonic_ms(), began);
	assert_int_equal(first.n_sends + second.n_sends, 0);
}

static void the_first_way_that_answers_is_used(void **state)
{
	start(true);
	put_numbers(0, 2);
	wait_for(&first.n_got, 2);
	end();
	assert_int_equal(first.n_checks, 1);
	assert_int_equal(second.n_sends, 0);
}

static void the_last_way_is_used_where_the_first_does_not_answer(void **state)
{
	atomic_store(&first.mood, MOOD_DEAD);
	start(true);
	put_numbers(0, 2);
	wait_for(&second.n_got, 2);
	end();
	assert_int_equal(first.n_checks, 1);
	assert_int_equal(first.n_sends, 0);
	assert_int_equal(second.n_notes, 0);
}

static void a_way_that_fails_is_left_and_the_record_goes_the_other(void **state)
{
	start(true);
	put_numbers(0, 1);
	wait_for(&first.n_got, 1);
	atomic_store(&first.mood, MOOD_DEAD);
	put_numbers(1, 3);
	wait_for(&second.n_got, 2);
	end();
	assert_string_equal(buf_str(&first.got), "0:0\n");
	assert_string_equal(buf_str(&second.got), "0:1\n0:2\n");
}

static void a_dead_server_is_tried_later_and_later_and_told_of_once(void **state)
{
	static const uint64_t steps_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};

	atomic_store(&second.mood, MOOD_DEAD);
	start(false);
	put_numbers(0, 1);
	wait_for(&second.n_sends, 8);
	atomic_store(&second.mood, MOOD_WELL);
	wait_for(&second.n_got, 1);
	put_numbers(1, 2);
	wait_for(&second.n_got, 2);
	end();
	for (size_t i = 0; i < ARRAY_SIZE(steps_ms); i++)
		assert_in_range(second.retried_ms[i + 1] - second.retried_ms[i], steps_ms[i],
			steps_ms[i] + 200);
	assert_string_equal(buf_str(&second.got), "0:0\n0:1\n");
	assert_string_equal(buf_str(&second.notes),
		"The log server second takes no records, which wait for it: nobody there\n"
		"The log server second takes records again\n");
}

static void the_oldest_are_lost_and_that_is_told_in_their_place(void **state)
{
	char want[64];

	atomic_store(&second.mood, MOOD_HELD);
	start(false);
	put_numbers(0, 1);
	wait_for(&second.n_sends, 1); /* 0 is in the sender's hand */
	put_numbers(1, 1 + LOG_QUEUE_MAX + 5);
	atomic_store(&second.mood, MOOD_WELL);
	wait_for(&second.n_got, 1 + 1 + LOG_QUEUE_MAX);
	end();
	assert_memory_equal(buf_str(&second.got), "0:0\n0:lost 5\n0:6\n0:7\n", 21);
	snprintf(want, sizeof(want), "0:%u\n", LOG_QUEUE_MAX + 5);
	assert_string_equal(strrchr(buf_str(&second.got), ':') - 1, want);
	assert_int_equal(second.n_got, 1 + 1 + LOG_QUEUE_MAX);
}

static void long_records_do_not_fill_the_memory(void **state)
{
	AUTO_FREE char *text = malloc(LOG_QUEUE_MAX_BYTES / 4 + 1);
	AUTO_FREE char *more = malloc(LOG_QUEUE_MAX_BYTES + 1);

	memset(text, 'x', LOG_QUEUE_MAX_BYTES / 4);
	text[LOG_QUEUE_MAX_BYTES / 4] = '\0';
	memset(more, 'y', LOG_QUEUE_MAX_BYTES);
	more[LOG_QUEUE_MAX_BYTES] = '\0';
	atomic_store(&second.mood, MOOD_HELD);
	start(false);
	put_numbers(0, 1);
	wait_for(&second.n_sends, 1);
	for (int i = 0; i < 6; i++)
		log_sender_put(sender, LOG_KIND_LINE, text);
	log_sender_put(sender, LOG_KIND_LINE, more);
	atomic_store(&second.mood, MOOD_WELL);
	wait_for(&second.n_got, 1 + 1 + 4);
	end();
	assert_memory_equal(buf_str(&second.got), "0:0\n0:lost 3\n0:xxx", 18);
	assert_int_equal(second.n_got, 1 + 1 + 4);
	assert_null(strchr(buf_str(&second.got), 'y'));
}

static void a_slow_answer_is_waited_for_and_nobody_else_waits(void **state)
{
	atomic_store(&second.mood, MOOD_HELD);
	start(false);
	put_numbers(0, 1);
	wait_for(&second.n_sends, 1);
	put_numbers(1, 100); /* returns: who logs does not wait */
	assert_int_equal(second.n_got, 0);
	atomic_fetch_add(&now_ms, 30 * 1000);
	atomic_store(&second.mood, MOOD_WELL);
	wait_for(&second.n_got, 100);
	end();
	assert_int_equal(second.n_sends, 100);
	assert_int_equal(second.n_notes, 0);
}

static void the_end_sends_what_waits(void **state)
{
	start(false);
	put_numbers(0, 500);
	end();
	assert_int_equal(second.n_got, 500);
}

static void the_end_does_not_wait_for_a_dead_server(void **state)
{
	uint64_t began;

	atomic_store(&second.mood, MOOD_DEAD);
	start(false);
	put_numbers(0, 500);
	wait_for(&second.n_sends, 3);
	began = clock_monotonic_ms();
	end();
	assert_in_range(clock_monotonic_ms() - began, 0, 400); /* naps that were under way */
	assert_int_equal(second.n_got, 0);
}

static void the_end_waits_for_a_slow_server_only_so_long(void **state)
{
	uint64_t began;

	atomic_store(&second.mood, MOOD_HELD);
	start(false);
	put_numbers(0, 2);
	wait_for(&second.n_sends, 1);
	began = clock_monotonic_ms();
	who_ends = pthread_self();
	atomic_store(&is_ending, true);
	end();
	atomic_store(&is_ending, false);
	atomic_store(&time_passes, false);
	assert_in_range(clock_monotonic_ms() - began, LOG_END_MS, LOG_END_MS + 50);
	assert_int_equal(second.n_sends, 1);
	assert_int_equal(second.n_got, 0);
}

static void a_flush_waits_until_all_is_sent(void **state)
{
	start(false);
	put_numbers(0, 50);
	log_sender_flush(sender, UINT32_MAX);
	assert_int_equal(second.n_got, 50);
}

static void a_flush_does_not_wait_for_a_server_that_takes_nothing(void **state)
{
	atomic_store(&second.mood, MOOD_DEAD);
	start(false);
	put_numbers(0, 1);
	wait_for(&second.n_notes, 1);
	put_numbers(1, 2);
	log_sender_flush(sender, UINT32_MAX); /* returns */
	assert_int_equal(second.n_got, 0);
}

static void a_flush_waits_only_so_long(void **state)
{
	uint64_t began;

	atomic_store(&second.mood, MOOD_HELD);
	start(false);
	put_numbers(0, 1);
	wait_for(&second.n_sends, 1);
	began = clock_monotonic_ms();
	log_sender_flush(sender, 1000);
	assert_in_range(clock_monotonic_ms() - began, 1000, 1100);
	atomic_store(&second.mood, MOOD_WELL);
}

static void *put_many(void *arg)
{
	for (int i = 0; i < 300; i++)
		log_sender_put(sender, LOG_KIND_LINE, "x");
	return NULL;
}

static void several_threads_may_log(void **state)
{
	pthread_t threads[4];

	start(true);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, put_many, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	end();
	assert_int_equal(first.n_got, 1200);
}

static void without_a_thread_it_does_not_start(void **state)
{
	const struct log_way way = {"first", server_check, server_send, &first};
	struct ota_err err = {0};
	int r;

	make();
	no_threads = true;
	r = log_sender_start(sender, &way, 1, &err);
	no_threads = false;
	assert_int_equal(r, -EAGAIN);
	assert_sentence(&err,
		"Cannot start the thread that sends to the log server: Resource temporarily "
		"unavailable");
	end();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_arrive_in_order_and_each_once),
		TEST(what_came_before_the_address_was_known_goes_out_first),
		TEST(without_an_address_nothing_is_sent_and_the_end_comes_at_once),
		TEST(the_first_way_that_answers_is_used),
		TEST(the_last_way_is_used_where_the_first_does_not_answer),
		TEST(a_way_that_fails_is_left_and_the_record_goes_the_other),
		TEST(a_dead_server_is_tried_later_and_later_and_told_of_once),
		TEST(the_oldest_are_lost_and_that_is_told_in_their_place),
		TEST(long_records_do_not_fill_the_memory),
		TEST(a_slow_answer_is_waited_for_and_nobody_else_waits),
		TEST(the_end_sends_what_waits),
		TEST(the_end_does_not_wait_for_a_dead_server),
		TEST(the_end_waits_for_a_slow_server_only_so_long),
		TEST(a_flush_waits_until_all_is_sent),
		TEST(a_flush_does_not_wait_for_a_server_that_takes_nothing),
		TEST(a_flush_waits_only_so_long),
		TEST(several_threads_may_log),
		TEST(without_a_thread_it_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
