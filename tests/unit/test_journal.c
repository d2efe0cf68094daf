/*
 * journal: the fields that a line becomes, and when the journal is used at all. What would be sent is caught at
 * libsystemd's door.
 */
#include "otaclient/log/journal.h"

#include <fcntl.h>
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

#include "common/base/cleanup.h"

static char sent[4096]; /* "NAME=value|NAME=value|" */
static int send_result;
int __wrap_sd_journal_sendv(const struct iovec *fields, int n);

int __wrap_sd_journal_sendv(const struct iovec *fields, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++) {
		memcpy(sent + len, fields[i].iov_base, fields[i].iov_len);
		len += fields[i].iov_len;
		sent[len++] = '|';
	}
	sent[len] = '\0';
	return send_result;
}

/* JOURNAL_STREAM as systemd would set it for what stderr is now, @off by so many inodes. */
static void say_stderr_is_the_journal(unsigned off)
{
	char stream[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		(uintmax_t)st.st_ino + off);
	setenv("JOURNAL_STREAM", stream, 1);
}

static int setup(void **state)
{
	sent[0] = '\0';
	send_result = 0;
	unsetenv("JOURNAL_STREAM");
	log_set_journal(NULL);
	return 0;
}

static void an_event_has_its_fields(void **state)
{
	const struct log_event event = {
		.id = JOURNAL_UPDATE_FAILED,
		.session = "1790000000-2.0-00c0ffee",
		.phase = "PROCESSING_METADATA",
		.code = 7,
	};

	say_stderr_is_the_journal(0);
	journal_use();
	log_event(LOG_LEVEL_ERROR, &event, "No way");
	assert_non_null(strstr(sent, "MESSAGE=No way|PRIORITY=3|SYSLOG_IDENTIFIER=otaclient|"
				     "CODE_FILE="));
	assert_non_null(strstr(sent, "tests/unit/test_journal.c|CODE_LINE="));
	assert_null(strstr(sent, "=../"));
	assert_non_null(strstr(sent, "|CODE_FUNC=an_event_has_its_fields|"
				     "MESSAGE_ID=a08929a63ce247fea21d5811dd740e64|"
				     "OTA_SESSION=1790000000-2.0-00c0ffee|"
				     "OTA_PHASE=PROCESSING_METADATA|OTA_CODE=E007|"));
}

static void figures_are_fields_of_their_own(void **state)
{
	const struct log_number numbers[] = {
		{"OTA_DOWNLOAD_BYTES", UINT64_MAX},
                {"OTA_ABOUT_S",        0         }
        };
	const struct log_event event = {.id = JOURNAL_FORECAST,
		.session = "s",
		.phase = "CALCULATING_DELTA",
		.code = 210,
		.numbers = numbers,
		.n_numbers = 2};

	say_stderr_is_the_journal(0);
	journal_use();
	log_event(LOG_LEVEL_INFO, &event, "Much");
	assert_non_null(strstr(sent, "|OTA_PHASE=CALCULATING_DELTA|OTA_CODE=E210|"
				     "OTA_DOWNLOAD_BYTES=18446744073709551615|OTA_ABOUT_S=0|"));
}

static void what_is_not_known_has_no_field(void **state)
{
	const struct log_event event = {.id = JOURNAL_COMMITTED};

	say_stderr_is_the_journal(0);
	journal_use();
	log_event(LOG_LEVEL_INFO, &event, "Committed");
	assert_non_null(strstr(sent, "|MESSAGE_ID=" JOURNAL_COMMITTED "|"));
	assert_null(strstr(sent, "OTA_"));
	log_info("Well");
	assert_ptr_equal(strstr(sent, "MESSAGE=Well|"), sent);
	assert_null(strstr(sent, "MESSAGE_ID="));
}

static void the_longest_fields_fit(void **state)
{
	static char text[LOG_TEXT_MAX], session[2 * JOURNAL_FIELD_MAX];
	const struct log_event event = {.session = session};
	const struct log_entry from = {
		.file = "f.c", .function = "f", .text = text, .event = &event};
	struct journal_entry e;

	memset(text, 't', sizeof(text) - 1);
	memset(session, 's', sizeof(session) - 1);
	journal_entry_make(&from, &e);
	assert_int_equal(e.n, 7);
	assert_int_equal(e.fields[0].iov_len, strlen("MESSAGE=") + sizeof(text) - 1);
	assert_int_equal(e.fields[6].iov_len, JOURNAL_FIELD_MAX - 1);
}

/* A program under the journal that was started with its stderr in a file, say. */
static void an_inherited_stream_is_not_ours(void **state)
{
	say_stderr_is_the_journal(1);
	assert_false(journal_is_stderr());
	journal_use();
	log_info("To stderr");
	assert_string_equal(sent, "");
	setenv("JOURNAL_STREAM", "", 1);
	assert_false(journal_is_stderr());
	unsetenv("JOURNAL_STREAM");
	assert_false(journal_is_stderr());
}

/* The line is not lost when the journal is away, nor said twice when it is there. */
static void what_the_journal_does_not_take_goes_to_stderr(void **state)
{
	int pipe_fds[2], saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	char text[64];
	ssize_t n;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
	say_stderr_is_the_journal(0);
	journal_use();
	log_info("taken");
	send_result = -111;
	log_info("not taken");
	dup2(saved, STDERR_FILENO);
	n = read(pipe_fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "not taken\n"));
	assert_null(strstr(text, "\ntaken"));
	assert_int_not_equal(strncmp(text, "<6>taken", 8), 0);
	close(saved);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void identifiers_differ_and_have_their_form(void **state)
{
	static const char *const ids[] = {JOURNAL_UPDATE_BEGINS, JOURNAL_PHASE_BEGINS,
		JOURNAL_UPDATE_FAILED, JOURNAL_FLIPPED, JOURNAL_COMMITTED, JOURNAL_ROLLED_BACK,
		JOURNAL_TRIAL_FAILED, JOURNAL_FORECAST};

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_int_equal(strspn(ids[i], "0123456789abcdef"), 32);
		assert_int_equal(strlen(ids[i]), 32);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		TEST(an_event_has_its_fields),
		TEST(figures_are_fields_of_their_own),
		TEST(what_is_not_known_has_no_field),
		TEST(the_longest_fields_fit),
		TEST(an_inherited_stream_is_not_ours),
		TEST(what_the_journal_does_not_take_goes_to_stderr),
		TEST(identifiers_differ_and_have_their_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
