/*
 * run: tools are run to their end, by argument vector, within their time.
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/run.h"
#include "tests/unit/tmp_dir.h"

/* Run "sh -c @script". */
static int sh(const char *script, struct run_args *args, struct ota_err *err)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	args->argv = argv;
	return run_tool(args, err);
}

static void output_is_appended(void **state)
{
	const char *const argv[] = {"printf", "%s|", "a b", "$HOME", "*", NULL};
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.argv = argv, .out = &out};

	assert_int_equal(buf_puts(&out, "before "), 0);
	assert_int_equal(run_tool(&args, NULL), 0);
	assert_string_equal(buf_str(&out), "before a b|$HOME|*|");
}

static void the_environment_is_ours_or_the_callers_alone(void **state)
{
	const char *const env[] = {"X=1", NULL};
	const char *const argv[] = {"/usr/bin/env", NULL};
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.argv = argv, .out = &out};

	assert_int_equal(run_tool(&args, NULL), 0);
	assert_string_equal(buf_str(&out),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLC_ALL=C\n");
	out.len_bytes = 0;
	args.env = env;
	assert_int_equal(run_tool(&args, NULL), 0);
	assert_string_equal(buf_str(&out), "X=1\n");
}

static void a_tool_is_looked_up_in_the_path_that_it_gets(void **state)
{
	static const char *const nowhere[] = {"PATH=/nonexistent", NULL};
	const char *const argv[] = {"true", NULL};
	struct run_args args = {.argv = argv, .env = nowhere};
	struct ota_err err = {0};

	assert_int_equal(run_tool(&args, &err), -ENOENT);
	assert_string_equal(err.msg, "Cannot run true: No such file or directory");
	args.env = NULL;
	assert_int_equal(run_tool(&args, NULL), 0);
}

static void stdin_is_empty(void **state)
{
	const char *const argv[] = {"cat", NULL};
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.argv = argv, .out = &out};

	assert_int_equal(run_tool(&args, NULL), 0);
	assert_int_equal(out.len_bytes, 0);
}

static void a_failure_repeats_the_last_thing_said(void **state)
{
	struct run_args args = {0};
	struct ota_err err = {0};

	assert_int_equal(sh("echo first >&2; echo 'no space left' >&2; exit 3", &args, &err), -EIO);
	assert_string_equal(err.msg, "sh failed with status 3: no space left");
	assert_int_equal(sh("exit 1", &args, &err), -EIO);
	assert_string_equal(err.msg, "sh failed with status 1: it said nothing");
	assert_int_equal(sh("kill -9 $$", &args, &err), -EINTR);
	assert_string_equal(err.msg, "sh was ended by signal 9");
}

static void the_status_can_be_asked_for(void **state)
{
	int status = -1;
	struct run_args args = {.ret_status = &status};

	assert_int_equal(sh("exit 42", &args, NULL), 0);
	assert_int_equal(status, 42);
	assert_int_equal(sh("true", &args, NULL), 0);
	assert_int_equal(status, 0);
}

static void a_tool_that_is_not_there_is_named(void **state)
{
	const char *const argv[] = {"no-such-tool", NULL};
	struct run_args args = {.argv = argv};
	struct ota_err err = {0};

	assert_int_equal(run_tool(&args, &err), -ENOENT);
	assert_string_equal(err.msg, "Cannot run no-such-tool: No such file or directory");
}

static void a_tool_is_stopped_at_its_time_limit(void **state)
{
	struct run_args args = {.timeout_ms = 100};
	struct ota_err err = {0};

	assert_int_equal(sh("sleep 100", &args, &err), -ETIMEDOUT);
	assert_string_equal(err.msg, "sh did not end within 0 s and was stopped");
}

static void closing_its_output_does_not_save_a_tool_from_the_limit(void **state)
{
	struct run_args args = {.timeout_ms = 200};

	assert_int_equal(sh("exec >&- 2>&-; sleep 100", &args, NULL), -ETIMEDOUT);
}

/* Whoever is its parent now must first reap it. */
static void wait_until_it_has_ended(pid_t pid)
{
	uint64_t until = clock_monotonic_ms() + 10000;

	assert_true(pid > 1);
	while (kill(pid, 0) == 0) {
		char path[64], word[64] = "";
		AUTO_FCLOSE FILE *f = NULL;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		f = fopen(path, "re");
		if (!f || fscanf(f, "%*d %*s %8s", word) != 1 || word[0] == 'Z')
			break;
		assert_true(clock_monotonic_ms() < until);
		clock_sleep_ms(5);
	}
}

static void what_it_started_is_stopped_with_it(void **state)
{
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.timeout_ms = 300, .out = &out};

	assert_int_equal(sh("sleep 100 & echo $!; wait", &args, NULL), -ETIMEDOUT);
	wait_until_it_has_ended((pid_t)atoi(buf_str(&out)));
}

/* Once the tool has made this file, it is not wanted any more. */
static bool is_there(void *path)
{
	return access(path, F_OK) == 0;
}

static void a_tool_is_asked_to_end_when_it_is_not_wanted_any_more(void **state)
{
	struct tmp_dir *d = *state;
	char script[512], ready[128], tidied[128];
	struct run_args args = {.stop = is_there, .stop_ctx = ready};
	struct ota_err err = {0};

	snprintf(ready, sizeof(ready), "%.100s/ready", d->path);
	snprintf(tidied, sizeof(tidied), "%.100s/tidied", d->path);
	snprintf(script, sizeof(script),
		"trap 'touch %s; exit 0' TERM; touch %s; while :; do sleep 0.05; done", tidied,
		ready);
	assert_int_equal(sh(script, &args, &err), -ECANCELED);
	assert_string_equal(err.msg, "sh was stopped by request");
	assert_int_equal(access(tidied, F_OK), 0);
}

static void a_tool_that_does_not_end_when_asked_is_killed(void **state)
{
	struct tmp_dir *d = *state;
	char script[256], ready[128];
	struct run_args args = {.stop = is_there, .stop_ctx = ready};

	snprintf(ready, sizeof(ready), "%.100s/ready", d->path);
	snprintf(
		script, sizeof(script), "trap '' TERM; touch %s; while :; do sleep 1; done", ready);
	assert_int_equal(sh(script, &args, NULL), -ECANCELED);
}

static void a_process_left_behind_is_not_waited_for(void **state)
{
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.timeout_ms = 20000, .out = &out};
	uint64_t start = clock_monotonic_ms();

	assert_int_equal(sh("echo said; sleep 15 & exit 0", &args, NULL), 0);
	assert_string_equal(buf_str(&out), "said\n");
	assert_true(clock_monotonic_ms() - start < 10000);
}

static void a_process_left_behind_that_writes_for_ever_does_not_hold_it_up(void **state)
{
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.timeout_ms = 20000, .out = &out};
	uint64_t start = clock_monotonic_ms();

	assert_int_equal(sh("yes & exit 0", &args, NULL), 0);
	assert_true(clock_monotonic_ms() - start < 10000);
}

static void a_process_left_behind_can_be_ended_with_the_tool(void **state)
{
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.timeout_ms = 20000, .out = &out, .end_group = true};

	assert_int_equal(sh("sleep 100 & echo $!", &args, NULL), 0);
	wait_until_it_has_ended((pid_t)atoi(buf_str(&out)));
}

static void collect_words(void *words, const char *data, size_t len_bytes)
{
	assert_int_equal(buf_append(words, data, len_bytes), 0);
}

static void both_outputs_come_as_one_stream(void **state)
{
	AUTO_BUF struct buf words = {0};
	struct run_args args = {.output = collect_words, .output_ctx = &words};

	assert_int_equal(sh("echo one; echo two >&2; echo three", &args, NULL), 0);
	assert_string_equal(buf_str(&words), "one\ntwo\nthree\n");
}

static void a_late_tool_can_be_asked_to_end_first(void **state)
{
	AUTO_BUF struct buf words = {0};
	struct run_args args = {.timeout_ms = 500,
		.grace_ms = 10000,
		.output = collect_words,
		.output_ctx = &words};
	uint64_t start = clock_monotonic_ms();

	assert_int_equal(
		sh("trap 'echo tidied; exit 0' TERM; while :; do sleep 0.05; done", &args, NULL),
		-ETIMEDOUT);
	assert_non_null(strstr(buf_str(&words), "tidied\n"));
	assert_true(clock_monotonic_ms() - start < 8000);
}

static void a_tool_that_leaves_its_group_is_killed_all_the_same(void **state)
{
	static const char script[] = "import os, time\n"
				     "child = os.fork()\n"
				     "if child == 0:\n"
				     "    os.setpgid(0, 0)\n"
				     "    time.sleep(2)\n"
				     "else:\n"
				     "    os.setpgid(child, child)\n"
				     "    os.setpgid(0, child)\n"
				     "    print('moved', flush=True)\n"
				     "    time.sleep(100)\n";
	const char *const argv[] = {"/usr/bin/python3", "-c", script, NULL};
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.argv = argv, .timeout_ms = 1500, .out = &out};

	assert_int_equal(run_tool(&args, NULL), -ETIMEDOUT);
	assert_string_equal(buf_str(&out), "moved\n");
}

static void the_signal_can_be_asked_for(void **state)
{
	int sig = 0;
	struct run_args args = {.ret_signal = &sig};

	assert_int_equal(sh("kill -9 $$", &args, NULL), -EINTR);
	assert_int_equal(sig, SIGKILL);
}

static void a_tool_runs_in_the_folder_that_is_named(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.dir = d->path, .out = &out};

	assert_int_equal(sh("pwd -P", &args, NULL), 0);
	assert_int_equal(strncmp(buf_str(&out), d->path, strlen(d->path)), 0);
	args.dir = "/nonexistent";
	assert_int_equal(sh("pwd", &args, NULL), -ENOENT);
}

/* What a power cut may leave of a script. */
static void an_empty_file_is_no_tool_that_succeeds(void **state)
{
	struct tmp_dir *d = *state;
	char path[128];
	const char *const argv[] = {path, NULL};
	struct run_args args = {.argv = argv};
	int fd = openat(d->fd, "empty", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/empty", d->path);
	assert_int_equal(run_tool(&args, NULL), -ENOEXEC);
}

static void more_output_than_fits_is_a_failure_and_not_a_gap(void **state)
{
	AUTO_BUF struct buf out = {0};
	struct run_args args = {.out = &out};
	struct ota_err err = {0};

	assert_int_equal(sh("printf x; head -c 5000000 /dev/zero", &args, &err), -EFBIG);
	assert_string_equal(err.msg, "sh printed more than 4194304 bytes");
	out.len_bytes = 0;
	assert_int_equal(sh("head -c 4194304 /dev/zero", &args, NULL), 0);
	assert_int_equal(out.len_bytes, RUN_OUTPUT_MAX_BYTES);
}

static void output_that_nobody_wants_does_not_block(void **state)
{
	struct run_args args = {0};

	assert_int_equal(
		sh("head -c 9000000 /dev/zero; head -c 9000000 /dev/zero >&2", &args, NULL), 0);
}

static void a_root_that_cannot_be_entered_is_an_error(void **state)
{
	struct tmp_dir *d = *state;
	const char *const argv[] = {"sh", NULL};
	struct run_args args = {.argv = argv, .root = d->path};
	int r;

	/* Without root's rights there is no chroot, with them there is no sh in the empty folder. */
	r = run_tool(&args, NULL);
	assert_true(r == -ENOENT || r == -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_is_appended),
		cmocka_unit_test(the_environment_is_ours_or_the_callers_alone),
		cmocka_unit_test(a_tool_is_looked_up_in_the_path_that_it_gets),
		cmocka_unit_test(stdin_is_empty),
		cmocka_unit_test(a_failure_repeats_the_last_thing_said),
		cmocka_unit_test(the_status_can_be_asked_for),
		cmocka_unit_test(a_tool_that_is_not_there_is_named),
		cmocka_unit_test(a_tool_is_stopped_at_its_time_limit),
		cmocka_unit_test(closing_its_output_does_not_save_a_tool_from_the_limit),
		cmocka_unit_test(what_it_started_is_stopped_with_it),
		tmp_dir_test(a_tool_is_asked_to_end_when_it_is_not_wanted_any_more),
		tmp_dir_test(a_tool_that_does_not_end_when_asked_is_killed),
		cmocka_unit_test(a_process_left_behind_is_not_waited_for),
		cmocka_unit_test(a_process_left_behind_that_writes_for_ever_does_not_hold_it_up),
		cmocka_unit_test(a_process_left_behind_can_be_ended_with_the_tool),
		cmocka_unit_test(both_outputs_come_as_one_stream),
		cmocka_unit_test(a_late_tool_can_be_asked_to_end_first),
		cmocka_unit_test(a_tool_that_leaves_its_group_is_killed_all_the_same),
		cmocka_unit_test(the_signal_can_be_asked_for),
		tmp_dir_test(a_tool_runs_in_the_folder_that_is_named),
		tmp_dir_test(an_empty_file_is_no_tool_that_succeeds),
		cmocka_unit_test(more_output_than_fits_is_a_failure_and_not_a_gap),
		cmocka_unit_test(output_that_nobody_wants_does_not_block),
		tmp_dir_test(a_root_that_cannot_be_entered_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
