/*
 * log: one line per call, whatever is in it and from however many threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/log_limit.h"

static unsigned expected_line; /* of the next entry in the sink */
static int saved_stderr = -1;
static char log_path[32];

/* stderr goes to a file until log_taken() gives what came. */
static void take_log(void)
{
	AUTO_CLOSE int fd = -1;

	strcpy(log_path, "/tmp/ota-log-XXXXXX");
	fd = mkostemp(log_path, O_CLOEXEC | O_APPEND);
	assert_true(fd >= 0);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
}

static void log_taken(struct buf *ret_text)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	assert_int_equal(file_read(AT_FDCWD, log_path, 1 << 20, ret_text), 0);
	unlink(log_path);
}

static void less_important_lines_are_dropped(void **state)
{
	AUTO_BUF struct buf text = {0};

	take_log();
	log_set_level(LOG_LEVEL_WARNING);
	log_error("bad %d", 1);
	log_warning("odd");
	log_info("well");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("tiny");
	log_set_level(LOG_LEVEL_INFO);
	log_debug("dropped");
	log_taken(&text);
	assert_string_equal(buf_str(&text), "bad 1\nodd\ntiny\n");
}

static void a_message_never_makes_two_lines(void **state)
{
	AUTO_BUF struct buf text = {0};

	take_log();
	log_info("name \"%s\"", "a\nb\r\x1b[31m\x7f\tc");
	log_taken(&text);
	assert_string_equal(buf_str(&text), "name \"a b  [31m  c\"\n");
}

static void a_long_message_is_cut_but_stays_a_line(void **state)
{
	AUTO_BUF struct buf text = {0};

	take_log();
	log_info("%05000d", 7);
	log_info("next");
	log_taken(&text);
	assert_true(text.len_bytes > 900 && text.len_bytes < 1100);
	assert_string_equal(strchr(buf_str(&text), '\n'), "\nnext\n");
}

static void sink(void *ctx, const struct log_entry *e)
{
	struct buf *b = ctx;

	assert_int_equal(buf_printf(b, "%d:%s;", (int)e->level, e->text), 0);
	assert_string_equal(strrchr(e->file, '/'), "/test_log.c");
	assert_string_equal(e->function, "a_sink_gets_the_lines_as_well");
	assert_int_equal(e->line, expected_line++);
}

static void a_sink_gets_the_lines_as_well(void **state)
{
	AUTO_BUF struct buf text = {0};
	AUTO_BUF struct buf sunk = {0};

	take_log();
	log_set_sink(sink, &sunk);
	expected_line = __LINE__ + 1;
	log_error("one");
	log_info("two");
	log_debug("dropped");
	log_set_sink(NULL, NULL);
	log_info("three");
	log_taken(&text);
	assert_string_equal(buf_str(&text), "one\ntwo\nthree\n");
	assert_string_equal(buf_str(&sunk), "3:one;6:two;");
}

static uint64_t now_ms;

static uint64_t test_monotonic_ms(void)
{
	return now_ms;
}

static const struct clock_ops test_clock = {.monotonic_ms = test_monotonic_ms};

static void complain(int from, int to)
{
	for (int i = from; i < to; i++)
		log_error("no disk %d", i);
}

/* stderr and the sink get the same. */
static void keep(void *ctx, const struct log_entry *e)
{
	assert_int_equal(buf_printf(ctx, "%s\n", e->text), 0);
}

static void a_program_that_wants_it_is_cut_short_when_it_repeats_itself(void **state)
{
	AUTO_BUF struct buf text = {0};
	AUTO_BUF struct buf sunk = {0};

	clock_set_ops(&test_clock);
	take_log();
	log_set_sink(keep, &sunk);
	log_set_limit(true);
	complain(0, 9);
	log_warning("another");
	now_ms += LOG_LIMIT_MS;
	log_info("later");
	complain(9, 17);
	now_ms += LOG_LIMIT_MS - 1;
	log_tell_left_out();
	log_info("not yet");
	now_ms++;
	log_tell_left_out();
	log_tell_left_out();
	complain(17, 25);
	now_ms += 2000;
	log_set_limit(false);
	complain(25, 26);
	log_set_sink(NULL, NULL);
	log_taken(&text);
	clock_set_ops(NULL);
	assert_string_equal(buf_str(&text),
		"no disk 0\nno disk 1\nno disk 2\nno disk 3\nno disk 4\nno disk 5\nanother\n"
		"… 3 more like it in 16 s: no disk 8\nlater\n"
		"no disk 9\nno disk 10\nno disk 11\nno disk 12\nno disk 13\nno disk 14\n"
		"not yet\n… 2 more like it in 16 s: no disk 16\n"
		"no disk 17\nno disk 18\nno disk 19\nno disk 20\nno disk 21\nno disk 22\n"
		"… 2 more like it in 16 s: no disk 24\nno disk 25\n");
	assert_string_equal(buf_str(&sunk), buf_str(&text));
}

static void a_program_that_does_not_is_not(void **state)
{
	AUTO_BUF struct buf text = {0};
	unsigned n = 0;

	take_log();
	complain(0, 30);
	log_taken(&text);
	for (const char *p = buf_str(&text); (p = strchr(p, '\n')); p++)
		n++;
	assert_int_equal(n, 30);
}

static void *talk(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("%s", (const char *)arg);
	return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
	static char words[4][101];
	AUTO_BUF struct buf text = {0};
	pthread_t threads[4];
	unsigned n = 0;

	take_log();
	for (int i = 0; i < 4; i++) {
		memset(words[i], 'a' + i, 100);
		assert_int_equal(pthread_create(&threads[i], NULL, talk, words[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	log_taken(&text);
	for (char *line = strtok(text.data, "\n"); line; line = strtok(NULL, "\n"), n++)
		assert_string_equal(line, words[line[0] - 'a']);
	assert_int_equal(n, 800);
}

static void levels_have_names(void **state)
{
	enum log_level level = LOG_LEVEL_ERROR;

	assert_int_equal(log_level_from_text("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_from_text("INFO", &level), -EINVAL);
	assert_int_equal(log_level_from_text("", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
}

static int no_journal(void **state)
{
	return unsetenv("JOURNAL_STREAM");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(less_important_lines_are_dropped),
		cmocka_unit_test(a_message_never_makes_two_lines),
		cmocka_unit_test(a_long_message_is_cut_but_stays_a_line),
		cmocka_unit_test(a_sink_gets_the_lines_as_well),
		cmocka_unit_test(a_program_that_wants_it_is_cut_short_when_it_repeats_itself),
		cmocka_unit_test(a_program_that_does_not_is_not),
		cmocka_unit_test(lines_of_several_threads_do_not_mix),
		cmocka_unit_test(levels_have_names),
	};

	return cmocka_run_group_tests(tests, no_journal, NULL);
}
