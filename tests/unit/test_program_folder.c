/*
 * program_folder: the programs of a folder run in order, within their time, and only if nobody else could have put
 * them there. The programs are real ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "otaclient/hooks/program_folder.h"
#include "tests/unit/tmp_dir.h"

/* What one run has told. */
struct told {
	struct buf notes;   /* one in a line, "! " before those of trouble */
	struct buf results; /* "name end number\n" */
	struct program_result failed;
	struct ota_err err;
};

static void told_done(struct told *t)
{
	buf_done(&t->notes);
	buf_done(&t->results);
}
#define AUTO_TOLD CLEANUP(told_done)

static void take_note(void *ctx, bool trouble, const char *sentence)
{
	struct told *t = ctx;

	assert_int_equal(buf_printf(&t->notes, "%s%s\n", trouble ? "! " : "", sentence), 0);
}

static void take_result(void *ctx, const struct program_result *r)
{
	struct told *t = ctx;

	assert_int_equal(buf_printf(&t->results, "%s %d %d\n", r->name, r->end, r->number), 0);
}

static int run_folder(struct tmp_dir *d, struct program_folder f, struct told *t)
{
	f.dir = f.dir ? f.dir : d->path;
	f.what = "test hook";
	f.note = take_note;
	f.result = take_result;
	f.ctx = t;
	return program_folder_run(&f, &t->failed, &t->err);
}

static void put_mode(struct tmp_dir *d, const char *name, const char *text, mode_t mode)
{
	AUTO_CLOSE int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
}

/* A shell script. */
static void put(struct tmp_dir *d, const char *name, const char *script)
{
	char text[1024];

	snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
	put_mode(d, name, text, 0755);
}

/* The sentence with the temporary folder's name as "DIR". */
static const char *sentence(struct tmp_dir *d, struct told *t)
{
	static char text[OTA_ERR_MSG_MAX + 8];
	const char *at = strstr(t->err.msg, d->path);

	if (!at)
		return t->err.msg;
	snprintf(text, sizeof(text), "%.*sDIR%s", (int)(at - t->err.msg), t->err.msg,
		at + strlen(d->path));
	return text;
}

static void no_folder_or_an_empty_one_is_nothing_to_do(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), 0);
	assert_int_equal(run_folder(d, (struct program_folder){.dir = "/nonexistent/a/b"}, &t), 0);
	assert_string_equal(buf_str(&t.notes), "");
}

static void programs_run_in_the_order_of_the_bytes_of_their_names(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "b", "echo 1 b");
	put(d, "10-z", "");
	put(d, "9_y", "");
	put(d, "A", "");
	put(d, "_x", "");
	put(d, "a", "");
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), 0);
	assert_string_equal(
		buf_str(&t.results), "10-z 0 0\n9_y 0 0\nA 0 0\n_x 0 0\na 0 0\nb 0 0\n");
	assert_non_null(strstr(buf_str(&t.notes), "test hook b: 1 b\n"));
	assert_non_null(strstr(buf_str(&t.notes), "test hook b ended well after 0."));
}

static void what_is_no_program_is_left_out_and_named(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};
	char dir[128];

	put(d, "a", "");
	put(d, "b.dpkg-old", "exit 1");
	put(d, ".hidden", "exit 1");
	put(d, "new\nline", "exit 1");
	put(d, "umlaut\xc3\xa4", "exit 1");
	put_mode(d, "README", "read me", 0644);
	assert_int_equal(mkdirat(d->fd, "folder", 0755), 0);
	assert_int_equal(mkfifoat(d->fd, "fifo", 0755), 0);
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), 0);
	assert_string_equal(buf_str(&t.results), "a 0 0\n");
	snprintf(dir, sizeof(dir), "%s/fifo is left out: it is no regular file\n", d->path);
	assert_non_null(strstr(buf_str(&t.notes), dir));
	assert_non_null(strstr(buf_str(&t.notes), "/README is left out: it is not executable\n"));
	assert_non_null(strstr(buf_str(&t.notes), "/b.dpkg-old is left out: its name has other "
						  "characters than letters, digits, - and _\n"));
	assert_non_null(strstr(buf_str(&t.notes), "/folder is left out: it is no regular file\n"));
}

static void many_strange_names_are_only_counted(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};
	char name[32];

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "%d.txt", i);
		put_mode(d, name, "", 0644);
	}
	put(d, "a", "");
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), 0);
	assert_string_equal(buf_str(&t.results), "a 0 0\n");
	assert_non_null(strstr(buf_str(&t.notes), "9992 more names in "));
	assert_true(t.notes.len_bytes < 2000);
}

static void too_many_programs_are_refused(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};
	unsigned n = 0;
	char name[32];
	const struct program_folder f = {.dir = d->path, .what = "test hook"};

	for (int i = 0; i < PROGRAM_FOLDER_MAX; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put(d, name, "");
	}
	assert_int_equal(program_folder_check(&f, &n, &t.err), 0);
	assert_int_equal(n, PROGRAM_FOLDER_MAX);
	put(d, "one-more", "");
	assert_int_equal(program_folder_check(&f, &n, &t.err), -E2BIG);
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), -E2BIG);
	assert_string_equal(sentence(d, &t), "DIR holds more than 256 programs; none is run");
	assert_string_equal(t.failed.name, "");
	assert_string_equal(buf_str(&t.results), "");
}

static void a_failure_is_told_with_the_last_thing_said_and_ends_it(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a", "echo fine");
	put(d, "b", "echo the ignition is on >&2; echo; exit 3");
	put(d, "c", "");
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), -EIO);
	assert_string_equal(t.err.msg, "The test hook b failed with status 3: the ignition is on");
	assert_string_equal(buf_str(&t.results), "a 0 0\nb 1 3\n");
	assert_string_equal(t.failed.name, "b");
	assert_int_equal(t.failed.end, PROGRAM_FAILED);
	assert_int_equal(t.failed.number, 3);
	assert_string_equal(t.failed.last_line, "the ignition is on");
	assert_non_null(strstr(buf_str(&t.notes), "! The test hook b failed with status 3"));
}

static void the_others_can_be_run_all_the_same(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a", "exit 1");
	put(d, "b", "exit 2");
	put(d, "c", "");
	assert_int_equal(run_folder(d, (struct program_folder){.go_on = true}, &t), -EIO);
	assert_string_equal(t.err.msg, "The test hook a failed with status 1: it said nothing");
	assert_string_equal(buf_str(&t.results), "a 1 1\nb 1 2\nc 0 0\n");
	assert_string_equal(t.failed.name, "a");
}

static void a_signal_is_told(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a", "echo dying; kill -11 $$");
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), -EINTR);
	assert_string_equal(t.err.msg, "The test hook a was ended by signal 11: dying");
	assert_int_equal(t.failed.end, PROGRAM_SIGNAL);
	assert_int_equal(t.failed.number, SIGSEGV);
}

static void a_program_that_hangs_is_ended(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a", "echo waiting; sleep 100");
	put(d, "b", "");
	assert_int_equal(run_folder(d, (struct program_folder){.timeout_ms = 500}, &t), -ETIMEDOUT);
	assert_non_null(
		strstr(t.err.msg, "The test hook a did not end within 0.5 s and was stopped: "));
	assert_string_equal(buf_str(&t.results), "a 3 0\n");
}

static void a_program_that_ignores_the_request_is_killed(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};
	uint64_t began = clock_monotonic_ms();

	put(d, "a", "trap '' TERM HUP INT; echo stubborn; while :; do sleep 1; done");
	assert_int_equal(run_folder(d, (struct program_folder){.timeout_ms = 300}, &t), -ETIMEDOUT);
	assert_int_equal(t.failed.end, PROGRAM_LATE);
	assert_string_equal(t.failed.last_line, "stubborn");
	assert_true(clock_monotonic_ms() - began < 20000);
}

static void closing_the_output_does_not_save_from_the_limit(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a", "exec >&- 2>&- <&-; sleep 100");
	assert_int_equal(run_folder(d, (struct program_folder){.timeout_ms = 300}, &t), -ETIMEDOUT);
}

/* One stays in the group, the other leaves it; neither is waited for, the first is ended. */
static void what_is_left_in_the_background_is_not_waited_for(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};
	uint64_t began = clock_monotonic_ms();

	put(d, "a", "sleep 60 & setsid sleep 20 & exit 0");
	put(d, "b", "yes & exit 0");
	put(d, "c", "(exec >&- 2>&-; sleep 60) & exit 0");
	assert_int_equal(run_folder(d, (struct program_folder){.timeout_ms = 30000}, &t), 0);
	assert_true(clock_monotonic_ms() - began < 15000);
}

static void endless_output_is_bounded(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a",
		"yes 'some line' | head -n 1000000; head -c 50000000 /dev/zero; echo; "
		"echo the end; exit 1");
	assert_int_equal(run_folder(d, (struct program_folder){.timeout_ms = 60000}, &t), -EIO);
	assert_string_equal(t.err.msg, "The test hook a failed with status 1: the end");
	assert_non_null(
		strstr(buf_str(&t.notes), "test hook a: 999801 more lines were left out\n"));
	assert_true(t.notes.len_bytes < (PROGRAM_FOLDER_LINES_MAX + 10) * 300);
}

static void output_is_shown_as_text(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "a", "printf 'red \\033[31m\\000 \\377\\303\\244\\r\\n'; exit 1");
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), -EIO);
	assert_string_equal(t.failed.last_line, "red  [31m  ?\xc3\xa4");
}

static void the_environment_is_known(void **state)
{
	static const char *const env[] = {"OTA_HOOK=test", "OTA_URL=http://a b\"'$(x)", NULL};
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	assert_int_equal(setenv("SECRET", "daemon", 1), 0);
	put(d, "a", "tr '\\0' '\\n' < /proc/$$/environ");
	put(d, "b", "pwd; echo \"$# [$(cat)]\"");
	assert_int_equal(run_folder(d, (struct program_folder){.env = env}, &t), 0);
	assert_non_null(strstr(buf_str(&t.notes),
		"test hook a: PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
		"test hook a: LANG=C\n"
		"test hook a: OTA_HOOK=test\n"
		"test hook a: OTA_URL=http://a b\"'$(x)\n"
		"test hook a ended well"));
	assert_non_null(strstr(buf_str(&t.notes), "test hook b: /\ntest hook b: 0 []\n"));
}

/* As a power cut may leave it. */
static void an_empty_program_fails(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put_mode(d, "a", "", 0755);
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), -ENOEXEC);
	assert_string_equal(sentence(d, &t), "The test hook a did not start: it is empty");
	assert_int_equal(t.failed.end, PROGRAM_NOT_RUN);
}

static void what_does_not_start_is_told_with_the_reason(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{"#!/bin/sh\r\nexit 0\r\n",
                 "its lines end with CR LF, as on Windows; a script's must end with LF"       },
		{"#!/usr/bin/pyton3\n",     "its interpreter \"/usr/bin/pyton3\" is not there"},
		{"\x7f"
		 "ELF",    "Cannot run DIR/a: Exec format error"             },
	};
	struct tmp_dir *d = *state;
	char want[200];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_TOLD struct told t = {0};

		put_mode(d, "a", cases[i].text, 0755);
		assert_true(run_folder(d, (struct program_folder){0}, &t) < 0);
		snprintf(want, sizeof(want), "The test hook a did not start: %s", cases[i].said);
		assert_string_equal(sentence(d, &t), want);
		assert_int_equal(t.failed.end, PROGRAM_NOT_RUN);
	}
}

static bool is_said(void *ctx)
{
	struct told *t = ctx;

	return strstr(buf_str(&t->notes), "started") != NULL;
}

static void it_ends_when_it_is_not_wanted_any_more(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};
	uint64_t began = clock_monotonic_ms();

	put(d, "a", "echo started; sleep 100");
	put(d, "b", "");
	assert_int_equal(run_folder(d, (struct program_folder){.stop = is_said, .go_on = true}, &t),
		-ECANCELED);
	assert_string_equal(t.err.msg, "The test hook a was stopped by request");
	assert_string_equal(buf_str(&t.results), "a 4 0\n");
	assert_true(clock_monotonic_ms() - began < 20000);
	/* From the start. */
	assert_int_equal(run_folder(d, (struct program_folder){.stop = is_said}, &t), -ECANCELED);
	assert_string_equal(t.err.msg, "The test hook a was not started any more");
}

/* ---- trust ---- */

static void expect_refusal(struct tmp_dir *d, const char *expected)
{
	AUTO_TOLD struct told t = {0};

	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), -EPERM);
	assert_string_equal(sentence(d, &t), expected);
	assert_string_equal(buf_str(&t.results), "");
}

static void what_others_may_write_is_refused(void **state)
{
	struct tmp_dir *d = *state;

	put(d, "a", "");
	put(d, "b", "");
	assert_int_equal(fchmodat(d->fd, "b", 0775, 0), 0);
	expect_refusal(d, "DIR/b is refused: others than root may write to it");
	assert_int_equal(fchmodat(d->fd, "b", 0757, 0), 0);
	expect_refusal(d, "DIR/b is refused: others than root may write to it");
	assert_int_equal(fchmodat(d->fd, "b", 04755, 0), 0);
	expect_refusal(d, "DIR/b is refused: it would change its user or group");
	assert_int_equal(fchmodat(d->fd, "b", 02755, 0), 0);
	expect_refusal(d, "DIR/b is refused: it would change its user or group");
	assert_int_equal(fchmodat(d->fd, "b", 0755, 0), 0);
	assert_int_equal(fchmod(d->fd, 0720), 0);
	expect_refusal(d, "DIR is refused: others than root may write to it");
	/* There others could add programs. */
	assert_int_equal(fchmod(d->fd, 01777), 0);
	expect_refusal(d, "DIR is refused: others than root may write to it");
}

static void links_stay_in_the_folder(void **state)
{
	struct tmp_dir *d = *state;
	AUTO_TOLD struct told t = {0};

	put(d, "common.sh", "basename \"$0\"");
	assert_int_equal(symlinkat("common.sh", d->fd, "a"), 0);
	assert_int_equal(symlinkat("common.sh", d->fd, "b"), 0);
	assert_int_equal(run_folder(d, (struct program_folder){0}, &t), 0);
	assert_string_equal(buf_str(&t.results), "a 0 0\nb 0 0\n");
	assert_non_null(strstr(buf_str(&t.notes), "test hook b: b\n"));

	assert_int_equal(symlinkat("/bin/true", d->fd, "c"), 0);
	expect_refusal(d, "DIR/c is refused: it is a link that leaves the folder");
	assert_int_equal(unlinkat(d->fd, "c", 0), 0);
	assert_int_equal(symlinkat("..", d->fd, "c"), 0);
	expect_refusal(d, "DIR/c is refused: it is a link that leaves the folder");
	assert_int_equal(unlinkat(d->fd, "c", 0), 0);
	assert_int_equal(symlinkat("a", d->fd, "c"), 0);
	expect_refusal(d, "DIR/c is refused: it is a link to no regular file");
	assert_int_equal(unlinkat(d->fd, "c", 0), 0);
	assert_int_equal(symlinkat("gone", d->fd, "c"), 0);
	expect_refusal(d, "DIR/c is refused: it is a link to no regular file");
	assert_int_equal(unlinkat(d->fd, "c", 0), 0);
	assert_int_equal(unlinkat(d->fd, "b", 0), 0);
	assert_int_equal(fchmodat(d->fd, "common.sh", 0777, 0), 0);
	expect_refusal(d, "DIR/a is refused: others than root may write to it");
}

static void the_way_to_the_folder_is_looked_at(void **state)
{
	struct tmp_dir *d = *state;
	struct tmp_dir below;
	AUTO_TOLD struct told t = {0};
	char path[128];

	assert_int_equal(mkdirat(d->fd, "x", 0755), 0);
	assert_int_equal(mkdirat(d->fd, "x/hooks", 0755), 0);
	snprintf(below.path, sizeof(below.path), "%.40s/x/hooks", d->path);
	below.fd = openat(d->fd, "x/hooks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(&below, "a", "");
	assert_int_equal(run_folder(&below, (struct program_folder){0}, &t), 0);
	assert_int_equal(fchmodat(d->fd, "x", 0775, 0), 0);
	expect_refusal(&below,
		"DIR is refused: others than root could exchange a folder on the way to it");
	/* As in /tmp, nobody else can. */
	assert_int_equal(fchmodat(d->fd, "x", 01777, 0), 0);
	assert_int_equal(run_folder(&below, (struct program_folder){0}, &t), 0);
	assert_int_equal(symlinkat("x", d->fd, "y"), 0);
	snprintf(path, sizeof(path), "%s/y/hooks", d->path);
	assert_int_equal(run_folder(d, (struct program_folder){.dir = path}, &t), -EPERM);
	assert_string_equal(
		sentence(d, &t), "DIR/y/hooks is refused: a link or no folder is on the way to it");
	snprintf(path, sizeof(path), "%s/x/hooks/a", d->path);
	assert_int_equal(run_folder(d, (struct program_folder){.dir = path}, &t), -EPERM);
	assert_string_equal(sentence(d, &t),
		"DIR/x/hooks/a is refused: a link or no folder is on the way to it");
	close(below.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(no_folder_or_an_empty_one_is_nothing_to_do),
		tmp_dir_test(programs_run_in_the_order_of_the_bytes_of_their_names),
		tmp_dir_test(what_is_no_program_is_left_out_and_named),
		tmp_dir_test(many_strange_names_are_only_counted),
		tmp_dir_test(too_many_programs_are_refused),
		tmp_dir_test(a_failure_is_told_with_the_last_thing_said_and_ends_it),
		tmp_dir_test(the_others_can_be_run_all_the_same),
		tmp_dir_test(a_signal_is_told),
		tmp_dir_test(a_program_that_hangs_is_ended),
		tmp_dir_test(a_program_that_ignores_the_request_is_killed),
		tmp_dir_test(closing_the_output_does_not_save_from_the_limit),
		tmp_dir_test(what_is_left_in_the_background_is_not_waited_for),
		tmp_dir_test(endless_output_is_bounded),
		tmp_dir_test(output_is_shown_as_text),
		tmp_dir_test(the_environment_is_known),
		tmp_dir_test(an_empty_program_fails),
		tmp_dir_test(what_does_not_start_is_told_with_the_reason),
		tmp_dir_test(it_ends_when_it_is_not_wanted_any_more),
		tmp_dir_test(what_others_may_write_is_refused),
		tmp_dir_test(links_stay_in_the_folder),
		tmp_dir_test(the_way_to_the_folder_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
