/*
 * log_limit: who repeats itself is cut short, who does not is not, and nothing is left out without a word.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/log_limit.h"

static struct log_limit limit;

static int setup(void **state)
{
	limit = (struct log_limit)LOG_LIMIT_INIT;
	return 0;
}

static bool say_text(enum log_level level, unsigned line, uint64_t now_ms, const char *text)
{
	const struct log_entry e = {
		.level = level, .file = "a.c", .function = "f", .line = line, .text = text};

	return log_limit_pass(&limit, &e, now_ms);
}

static bool say(unsigned line, uint64_t now_ms)
{
	return say_text(LOG_LEVEL_ERROR, line, now_ms, "no disk");
}

static unsigned say_many(unsigned line, uint64_t now_ms, unsigned n)
{
	unsigned passed = 0;

	while (n-- > 0)
		passed += say(line, now_ms);
	return passed;
}

static const char *taken(uint64_t now_ms)
{
	static struct log_left_out out;

	return log_limit_take(&limit, now_ms, &out) ? out.entry.text : "";
}

static void six_lines_pass_and_the_rest_is_told_when_the_time_is_over(void **state)
{
	struct log_left_out out;

	for (unsigned i = 0; i < LOG_LIMIT_LINES; i++)
		assert_true(say(1, 1000 + i));
	assert_false(say(1, 2000));
	assert_false(say_text(LOG_LEVEL_WARNING, 1, 1000 + LOG_LIMIT_MS - 1, "no cable"));
	assert_false(log_limit_take(&limit, 1000 + LOG_LIMIT_MS - 1, &out));
	assert_true(log_limit_take(&limit, 1000 + LOG_LIMIT_MS, &out));
	assert_string_equal(out.entry.text, "… 2 more like it in 16 s: no cable");
	assert_string_equal(out.entry.file, "a.c");
	assert_string_equal(out.entry.function, "f");
	assert_int_equal(out.entry.line, 1);
	assert_int_equal(out.entry.level, LOG_LEVEL_WARNING);
	assert_false(log_limit_take(&limit, UINT64_MAX, &out));
	assert_int_equal(say_many(1, 1000 + LOG_LIMIT_MS, 7), 6);
}

static void whoever_says_little_says_it_for_ever(void **state)
{
	for (uint64_t now = 0; now < 1000 * 1000; now += LOG_LIMIT_MS / 5)
		assert_true(say(1, now));
	assert_string_equal(taken(UINT64_MAX), "");
}

static void what_was_not_told_yet_is_not_forgotten(void **state)
{
	assert_int_equal(say_many(1, 0, 8), 6);
	/* Nobody has asked when the time was over. */
	assert_false(say(1, 5 * LOG_LIMIT_MS));
	assert_string_equal(taken(5 * LOG_LIMIT_MS), "… 3 more like it in 16 s: no disk");
	assert_true(say(1, 5 * LOG_LIMIT_MS));
}

static void at_the_end_nothing_is_owed(void **state)
{
	assert_int_equal(say_many(1, 0, 7), 6);
	assert_string_equal(taken(UINT64_MAX), "… 1 more like it in 16 s: no disk");
}

static void each_source_counts_for_itself(void **state)
{
	struct log_entry other = {.level = LOG_LEVEL_ERROR,
		.file = "b.c",
		.function = "f",
		.line = 1,
		.text = "no cable"};

	assert_int_equal(say_many(1, 0, 7), 6);
	assert_int_equal(say_many(2, 0, 7), 6);
	assert_true(log_limit_pass(&limit, &other, 0));
	assert_string_not_equal(taken(UINT64_MAX), "");
	assert_string_not_equal(taken(UINT64_MAX), "");
	assert_string_equal(taken(UINT64_MAX), "");
}

static void news_that_is_no_trouble_is_never_left_out(void **state)
{
	for (unsigned i = 0; i < 100; i++) {
		assert_true(say_text(LOG_LEVEL_INFO, 1, 0, "well"));
		assert_true(say_text(LOG_LEVEL_DEBUG, 1, 0, "tiny"));
	}
	assert_int_equal(say_many(1, 0, 7), 6);
}

static void what_is_wanted_line_by_line_is_never_left_out(void **state)
{
	const struct log_entry e = {.level = LOG_LEVEL_WARNING,
		.file = "a.c",
		.function = "f",
		.line = 1,
		.each = true,
		.text = "no such file"};

	for (unsigned i = 0; i < 10 * LOG_LIMIT_LINES; i++)
		assert_true(log_limit_pass(&limit, &e, 1000));
	assert_string_equal(taken(UINT64_MAX), "");
}

static void a_full_table_keeps_its_word(void **state)
{
	unsigned told = 0;

	for (unsigned line = 0; line < LOG_LIMIT_SOURCES; line++)
		assert_int_equal(say_many(line, 0, 7), 6);
	/* Nobody can be forgotten, so the next one is not limited. */
	assert_int_equal(say_many(1000, 1, 20), 20);
	while (taken(LOG_LIMIT_MS)[0])
		told++;
	assert_int_equal(told, LOG_LIMIT_SOURCES);
	assert_int_equal(say_many(1000, LOG_LIMIT_MS, 20), 6);
}

static void the_oldest_that_has_left_nothing_out_makes_room(void **state)
{
	for (unsigned line = 0; line < LOG_LIMIT_SOURCES; line++)
		assert_int_equal(say_many(line, line, 6), 6);
	assert_true(say(1000, 500)); /* in the place of line 0 */
	for (unsigned line = 1; line < LOG_LIMIT_SOURCES; line++)
		assert_false(say(line, 500));
	assert_int_equal(say_many(1000, 500, 6), 5);
}

static void a_long_text_is_cut_between_characters(void **state)
{
	char text[LOG_LIMIT_TEXT_MAX + 10];
	const char *told;

	/* One byte, then characters of three. */
	for (unsigned shift = 0; shift < 3; shift++) {
		size_t len = shift;

		setup(NULL);
		memset(text, 'x', shift);
		while (len + 3 < sizeof(text)) {
			memcpy(text + len, "\xe6\x97\xa5", 3);
			len += 3;
		}
		text[len] = '\0';
		assert_int_equal(say_many(1, 0, 6), 6);
		assert_false(say_text(LOG_LEVEL_ERROR, 1, 0, text));
		told = strchr(taken(UINT64_MAX), ':') + 2;
		assert_int_equal((strlen(told) - shift) % 3, 0);
		assert_true(strlen(told) > LOG_LIMIT_TEXT_MAX - 4);
		assert_memory_equal(told, text, strlen(told));
	}
}

static void a_clock_that_stands_still_or_goes_back_is_survived(void **state)
{
	assert_int_equal(say_many(1, 5000, 7), 6);
	assert_string_equal(taken(0), "");
	assert_false(say(1, 0));
	assert_string_equal(taken(5000 + LOG_LIMIT_MS), "… 2 more like it in 16 s: no disk");
}

static void *say_a_lot(void *arg)
{
	struct log_left_out out;
	uint64_t *n = arg;

	for (unsigned i = 0; i < 5000; i++) {
		if (say(7, i))
			(*n)++;
		if (log_limit_take(&limit, i, &out))
			(*n) += strtoull(out.entry.text + strlen("… "), NULL, 10);
	}
	return NULL;
}

static void of_several_threads_no_line_is_lost_or_counted_twice(void **state)
{
	uint64_t n[4] = {0}, sum = 0;
	struct log_left_out out;
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, say_a_lot, &n[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		sum += n[i];
	}
	while (log_limit_take(&limit, UINT64_MAX, &out))
		sum += strtoull(out.entry.text + strlen("… "), NULL, 10);
	assert_int_equal(sum, 4 * 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup(f, setup)
		T(six_lines_pass_and_the_rest_is_told_when_the_time_is_over),
		T(whoever_says_little_says_it_for_ever),
		T(what_was_not_told_yet_is_not_forgotten),
		T(at_the_end_nothing_is_owed),
		T(each_source_counts_for_itself),
		T(news_that_is_no_trouble_is_never_left_out),
		T(what_is_wanted_line_by_line_is_never_left_out),
		T(a_full_table_keeps_its_word),
		T(the_oldest_that_has_left_nothing_out_makes_room),
		T(a_long_text_is_cut_between_characters),
		T(a_clock_that_stands_still_or_goes_back_is_survived),
		T(of_several_threads_no_line_is_lost_or_counted_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
