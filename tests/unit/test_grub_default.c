/* grub_default: /etc/default/grub with the settings that two slots need. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "boot-controllers/grub/grub_cfg.h"
#include "boot-controllers/grub/grub_default.h"
#include "common/base/cleanup.h"

#define FORCED_REST                                                                      \
	"GRUB_TIMEOUT_STYLE=menu\nGRUB_DISABLE_SUBMENU=y\nGRUB_DISABLE_OS_PROBER=true\n" \
	"GRUB_DISABLE_RECOVERY=true\n"

static void assert_rewrite(const char *in, const char *want)
{
	AUTO_BUF struct buf out = {0}, again = {0};
	struct ota_err err = {0};

	assert_int_equal(grub_default_rewrite(in, strlen(in), &out, &err), 0);
	assert_string_equal(buf_str(&out), want);
	/* Its own output stays as it is. */
	assert_int_equal(grub_default_rewrite(out.data, out.len_bytes, &again, &err), 0);
	assert_string_equal(buf_str(&again), want);
}

static void assignments_stay_and_ours_are_forced(void **state)
{
	assert_rewrite("# If you change this file, run 'update-grub' afterwards\n"
		       "GRUB_DEFAULT=0\n"
		       "GRUB_TIMEOUT=10   # seconds\n"
		       "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
		       "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n"
		       "#GRUB_TERMINAL=console\n"
		       "if true; then\n"
		       "GRUB_SAVEDEFAULT=true\n"
		       "GRUB_CMDLINE_LINUX=''\n",
		GRUB_CFG_HEADER "GRUB_DEFAULT=saved\n"
				"GRUB_TIMEOUT=0\n"
				"GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
				"GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n"
				"GRUB_CMDLINE_LINUX=''\n" FORCED_REST);
}

static void the_last_assignment_wins(void **state)
{
	assert_rewrite("GRUB_GFXMODE=auto\n  export GRUB_X=1\nGRUB_GFXMODE=640x480", GRUB_CFG_HEADER
		"GRUB_GFXMODE=640x480\nGRUB_X=1\nGRUB_TIMEOUT_STYLE=menu\nGRUB_TIMEOUT=0\n"
		"GRUB_DISABLE_SUBMENU=y\nGRUB_DISABLE_OS_PROBER=true\n"
		"GRUB_DISABLE_RECOVERY=true\nGRUB_DEFAULT=saved\n");
}

static void a_value_may_go_over_lines(void **state)
{
	assert_rewrite(
		"GRUB_CMDLINE_LINUX=\"a \\\n b\nGRUB_DEFAULT=7\"\nGRUB_DEFAULT=3\nGRUB_TIMEOUT=1\n",
		GRUB_CFG_HEADER
		"GRUB_CMDLINE_LINUX=\"a \\\n b\nGRUB_DEFAULT=7\"\nGRUB_DEFAULT=saved\n"
		"GRUB_TIMEOUT=0\n" FORCED_REST);
}

static void a_value_reads_as_a_shell_has_it(void **state)
{
	static const char text[] = "A=\"x 'y' \\\"z\\\" \\q\"\nB='a\"b\\'\nC=plain # comment\nD=\n";
	static const char *const want[][2] = {
		{"A", "x 'y' \"z\" \\q"},
		{"B", "a\"b\\"         },
		{"C", "plain"          },
		{"D", ""               },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		AUTO_BUF struct buf v = {0};

		assert_int_equal(grub_default_value(text, strlen(text), want[i][0], &v), 0);
		assert_string_equal(buf_str(&v), want[i][1]);
	}
	assert_int_equal(grub_default_value(text, strlen(text), "E", &(struct buf){0}), -ENOENT);
}

static void what_is_no_text_is_refused(void **state)
{
	AUTO_BUF struct buf out = {0};
	struct ota_err err = {0};

	assert_int_equal(grub_default_rewrite("A=1\0B=2\n", 8, &out, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "/etc/default/grub is no text"));
	assert_int_equal(out.len_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(assignments_stay_and_ours_are_forced),
		cmocka_unit_test(the_last_assignment_wins),
		cmocka_unit_test(a_value_may_go_over_lines),
		cmocka_unit_test(a_value_reads_as_a_shell_has_it),
		cmocka_unit_test(what_is_no_text_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
