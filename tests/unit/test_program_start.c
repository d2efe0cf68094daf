/*
 * program_start: what is sure not to start is known by its first bytes, and nothing else is.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/hooks/program_start.h"
#include "tests/unit/tmp_dir.h"

/* Why a file with these bytes would not start; "" if it may. */
static const char *why_of(void **state, const void *bytes, size_t len)
{
	struct tmp_dir *d = *state;
	static char why[PROGRAM_START_WHY_MAX];
	AUTO_CLOSE int fd = openat(d->fd, "p", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	return program_start_fails(d->fd, "p", why) ? why : "";
}
#define WHY(text) why_of(state, text, sizeof(text) - 1)

static void a_script_with_its_interpreter_may_start(void **state)
{
	struct tmp_dir *d = *state;
	char why[PROGRAM_START_WHY_MAX];

	assert_string_equal(WHY("#!/bin/sh\nexit 0\n"), "");
	assert_string_equal(WHY("#! \t/bin/sh -e\nexit 0\n"), "");
	assert_string_equal(WHY("#!/bin/sh"), "");
	assert_string_equal(WHY("#!bin/sh\n"), ""); /* they start in "/" */
	assert_string_equal(WHY("#!/bin/sh\n\0\xff"), "");
	assert_int_equal(symlinkat("p", d->fd, "link"), 0);
	assert_false(program_start_fails(d->fd, "link", why));
}

static void a_script_without_its_interpreter_does_not(void **state)
{
	assert_string_equal(
		WHY("#!/usr/bin/pyton3\n"), "its interpreter \"/usr/bin/pyton3\" is not there");
	assert_string_equal(WHY("#!/usr \n"), "its interpreter \"/usr\" is not there");
	assert_string_equal(WHY("#!/etc/passwd\n"), "its interpreter \"/etc/passwd\" is not there");
	assert_string_equal(WHY("#!/a\x01\xff"), "its interpreter \"/a\\x01\\xFF\" is not there");
	assert_string_equal(WHY("#! \n/bin/sh\n"), "it names no interpreter behind #!");
	assert_string_equal(WHY("#!"), "it names no interpreter behind #!");
}

static void lines_of_another_system_are_named_as_such(void **state)
{
	static const char crlf[] =
		"its lines end with CR LF, as on Windows; a script's must end with LF";

	assert_string_equal(WHY("#!/bin/sh\r\nexit 0\r\n"), crlf);
	assert_string_equal(WHY("#!/usr/bin/env python3\r\n"), crlf);
	/* What stands there otherwise is the script's own affair. */
	assert_string_equal(WHY("#!/bin/sh\nprintf 'a\r\n'\n"), "");
}

static void text_is_no_program(void **state)
{
	assert_string_equal(WHY(""), "it is empty");
	assert_string_equal(WHY("exit 0\n"), "it is a script without a #! line");
	assert_string_equal(WHY("\xef\xbb\xbf#!/bin/sh\n"), "it is a script without a #! line");
}

static void what_the_kernel_may_know_is_left_to_it(void **state)
{
	struct tmp_dir *d = *state;
	char long_line[400] = "#!/", why[PROGRAM_START_WHY_MAX];

	assert_string_equal(WHY("\x7f"
				"ELF\x02\x01\x01"),
		"");
	assert_string_equal(WHY("\0asm\x01"), "");
	memset(long_line + 3, 'a', sizeof(long_line) - 3);
	assert_string_equal(why_of(state, long_line, sizeof(long_line)), "");
	assert_false(program_start_fails(d->fd, "not-there", why));
}

#define start_test(f) cmocka_unit_test_setup_teardown(f, tmp_dir_setup, tmp_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		start_test(a_script_with_its_interpreter_may_start),
		start_test(a_script_without_its_interpreter_does_not),
		start_test(lines_of_another_system_are_named_as_such),
		start_test(text_is_no_program),
		start_test(what_the_kernel_may_know_is_left_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
