/* grub_cfg: the frame that both slots share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "common/base/cleanup.h"

static void assert_bad(const char *text, size_t len, const char *why)
{
	struct grub_cfg_info info;
	struct ota_err err = {0};

	assert_int_equal(grub_cfg_check(text, len, &info, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, why));
}

static void a_frame_is_recognised_and_says_who_made_it(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct grub_cfg_info info;

	assert_int_equal(grub_cfg_wrap(" \n\nset x=1\n\n", 12, "4.0.0", "2.06-2ubuntu14", &b), 0);
	assert_string_equal(buf_str(&b), GRUB_CFG_HEADER
		"set x=1\n"
		"# ------ OTA managed metadata ------ #\n"
		"# otaclient_version: 4.0.0\n"
		"# grub_version: 2.06-2ubuntu14\n"
		"# checksum: "
		"sha256:2c9c4aea9b661fd5a5c42afaef6bb8f9d7b7787bc8036e7e6d7aa495aff038cf\n"
		"# ------ End of OTA managed metadata ------ #\n");
	assert_int_equal(grub_cfg_check(b.data, b.len_bytes, &info, NULL), 0);
	assert_string_equal(info.otaclient_version, "4.0.0");
	assert_string_equal(info.grub_version, "2.06-2ubuntu14");
	assert_false(info.has_hook);
}

static void the_hook_marks_a_frame_as_ours(void **state)
{
	AUTO_BUF struct buf b = {0};
	struct grub_cfg_info info;

	assert_int_equal(
		grub_cfg_wrap(grub_cfg_plain_frame, strlen(grub_cfg_plain_frame), "4.0.0", "x", &b),
		0);
	assert_int_equal(grub_cfg_check(b.data, b.len_bytes, &info, NULL), 0);
	assert_true(info.has_hook);
}

static void a_frame_of_another_release_is_told_apart(void **state)
{
	AUTO_BUF struct buf body = {0}, b = {0};
	struct grub_cfg_info info;

	assert_int_equal(buf_puts(&body, grub_cfg_plain_frame), 0);
	*strstr(body.data, "ota_spare") = 'O';
	assert_int_equal(grub_cfg_wrap(body.data, body.len_bytes, "4.0.0", "x", &b), 0);
	assert_int_equal(grub_cfg_check(b.data, b.len_bytes, &info, NULL), 0);
	assert_false(info.has_hook);
}

static void every_change_is_noticed(void **state)
{
	AUTO_BUF struct buf b = {0};
	size_t body;

	assert_int_equal(grub_cfg_wrap("set x=1", 7, "4.0.0", "2.06", &b), 0);
	for (size_t len = 0; len + 1 < b.len_bytes; len++)
		assert_bad(b.data, len, "It is not a whole managed grub.cfg");
	body = strlen(GRUB_CFG_HEADER) + 6;
	b.data[body] = '2';
	assert_bad(b.data, b.len_bytes, "its checksum is wrong");
	b.data[body] = '1';
	b.data[0] = ' ';
	assert_bad(b.data, b.len_bytes, "does not begin with the two lines");
	b.data[0] = '#';
	*strstr(b.data, "# grub_version") = 'x';
	assert_bad(b.data, b.len_bytes, "lines that are no comments");
	*strstr(b.data, "x grub_version") = '#';
	memcpy(strstr(b.data, "4.0.0"), "     ", 5);
	assert_bad(b.data, b.len_bytes, "lacks a version");
}

#define PART(name, text) \
	"### BEGIN /etc/grub.d/" name " ###\n" text "### END /etc/grub.d/" name " ###\n"

static void the_hooks_part_moves_before_everything_that_prints_entries(void **state)
{
	AUTO_BUF struct buf in = {0}, want = {0};
	AUTO_BUF struct buf b = {0};
	struct ota_err err = {0};

	assert_int_equal(
		buf_printf(&in,
			"# head\n" PART("00_header", "load_env\n") "\n" PART("09_odd",
				"menuentry 'x' { }\n") PART("30_ota", "%s") PART("40_custom", ""),
			grub_cfg_hook_output),
		0);
	assert_int_equal(
		buf_printf(&want,
			"# head\n" PART("00_header", "load_env\n") PART("30_ota", "%s") "\n" PART(
				"09_odd", "menuentry 'x' { }\n") PART("40_custom", ""),
			grub_cfg_hook_output),
		0);
	assert_int_equal(grub_cfg_hook_first(in.data, in.len_bytes, &b, &err), 0);
	assert_string_equal(buf_str(&b), buf_str(&want));
	assert_int_equal(grub_cfg_hook_first("x", 1, &b, &err), -ENOENT);
	assert_string_equal(
		err.msg, "grub-mkconfig printed nothing of the hook /etc/grub.d/30_ota");
}

static void the_committed_file_sets_the_default(void **state)
{
	AUTO_BUF struct buf b = {0};

	assert_int_equal(grub_cfg_committed("ota-slot_b", &b), 0);
	assert_string_equal(buf_str(&b), GRUB_CFG_HEADER "set default=\"ota-slot_b\"\n");
}

static void the_hook_is_a_shell_script_that_prints_the_hook(void **state)
{
	assert_memory_equal(grub_cfg_hook_script, "#!/bin/sh\n", 10);
	assert_non_null(strstr(grub_cfg_hook_script, grub_cfg_hook_output));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_is_recognised_and_says_who_made_it),
		cmocka_unit_test(the_hook_marks_a_frame_as_ours),
		cmocka_unit_test(a_frame_of_another_release_is_told_apart),
		cmocka_unit_test(every_change_is_noticed),
		cmocka_unit_test(the_hooks_part_moves_before_everything_that_prints_entries),
		cmocka_unit_test(the_committed_file_sets_the_default),
		cmocka_unit_test(the_hook_is_a_shell_script_that_prints_the_hook),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
