/*
 * test_ignore_rules: which paths a rule file leaves out.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "metadata-gen/ignore_rules.h"

static bool ignored_as(const char *text, const char *path, bool is_file)
{
	AUTO_IGNORE_RULES struct ignore_rules *rules = NULL;

	assert_int_equal(ignore_rules_parse(text, strlen(text), &rules, NULL), 0);
	return ignore_rules_match(rules, path, is_file);
}

static bool ignored(const char *text, const char *path)
{
	return ignored_as(text, path, true);
}

static void a_name_matches_at_any_depth_with_all_below(void **state)
{
	assert_true(ignored("__pycache__", "/__pycache__"));
	assert_true(ignored("__pycache__", "/opt/a/__pycache__"));
	assert_true(ignored("__pycache__", "/opt/__pycache__/b/c.pyc"));
	assert_false(ignored("__pycache__", "/opt/__pycache__2"));
}

static void a_slash_before_the_end_anchors_at_the_root(void **state)
{
	assert_true(ignored("/tmp", "/tmp"));
	assert_true(ignored("/tmp", "/tmp/a/b"));
	assert_false(ignored("/tmp", "/var/tmp"));
	assert_true(ignored("boot/grub", "/boot/grub"));
	assert_false(ignored("boot/grub", "/usr/boot/grub"));
	assert_true(ignored("/boot/grub/", "/boot/grub/grub.cfg"));
}

static void a_leading_double_star_takes_the_anchor_off(void **state)
{
	assert_true(ignored("**/lib/a", "/lib/a"));
	assert_true(ignored("**/lib/a", "/usr/x/lib/a"));
	assert_false(ignored("**/lib/a", "/usr/lib/b"));
	assert_true(ignored("a/**/b", "/a/b"));
	assert_true(ignored("a/**/b", "/a/x/y/b"));
	assert_false(ignored("a/**/b", "/x/a/b"));
}

static void a_trailing_double_star_means_the_folder_too(void **state)
{
	assert_true(ignored_as("dir1/**", "/dir1", false));
	assert_true(ignored("dir1/**", "/dir1/a/b"));
	assert_false(ignored("dir1/**", "/x/dir1/a"));
}

static void a_trailing_slash_spares_files_of_that_name(void **state)
{
	assert_true(ignored_as("build/", "/src/build", false));
	assert_false(ignored_as("build/", "/src/build", true));
	assert_true(ignored_as("build/", "/src/build/file", true));
}

static void any_negative_rule_wins_whatever_the_order(void **state)
{
	assert_false(ignored("*.ignored\n!keep.ignored", "/opt/keep.ignored"));
	assert_false(ignored("!keep.ignored\n*.ignored", "/opt/keep.ignored"));
	assert_true(ignored("!keep.ignored\n*.ignored", "/opt/a.ignored"));
	assert_false(ignored("/opt\n!/opt/keep", "/opt/keep/deep/file"));
	assert_false(ignored("!only-negative", "/x"));
}

static void wildcards_stay_within_one_component(void **state)
{
	assert_true(ignored(
		"/boot/initrd.img-*.old-dkms", "/boot/initrd.img-5.15.0-1-generic.old-dkms"));
	assert_false(ignored("/a/*/c", "/a/b/b/c"));
	assert_true(ignored("/a/?", "/a/b"));
	assert_false(ignored("/a/?", "/a/bb"));
	assert_true(ignored("/a/[bc]", "/a/c"));
	assert_true(ignored("/a/[!bc]", "/a/d"));
	assert_false(ignored("/a/[!bc]", "/a/b"));
	assert_true(ignored("*", "/.hidden"));
	assert_false(ignored("{a,b}", "/a"));
}

static void one_question_mark_is_one_character_of_any_script(void **state)
{
	assert_true(ignored("/?", "/語"));
	assert_true(ignored("/[語]x", "/語x"));
}

static void a_backslash_takes_the_meaning_from_a_character(void **state)
{
	assert_true(ignored("/a\\*", "/a*"));
	assert_false(ignored("/a\\*", "/ab"));
	assert_true(ignored("\\!a", "/!a"));
	assert_true(ignored("\\#a", "/#a"));
	assert_true(ignored("a\\ ", "/a "));
	assert_false(ignored("a\\ ", "/a"));
}

static void blanks_comments_and_line_ends_are_no_part_of_a_rule(void **state)
{
	assert_true(ignored("  \t a  \r\n", "/a"));
	assert_false(ignored("# a\n\n   \n!\n", "/a"));
	assert_false(ignored("", "/a"));
	assert_true(ignored("x\na", "/a"));
}

static void a_slash_or_a_star_leaves_out_everything(void **state)
{
	assert_true(ignored("/", "/etc/hosts"));
	assert_true(ignored("*", "/etc/hosts"));
	assert_true(ignored("**", "/etc/hosts"));
}

static void many_double_stars_end_soon(void **state)
{
	assert_false(ignored("**/**/**/**/**/**/**/**/**/**/**/**/x",
		"/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"));
}

static void no_rules_leave_nothing_out(void **state)
{
	assert_false(ignore_rules_match(NULL, "/a", true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_matches_at_any_depth_with_all_below),
		cmocka_unit_test(a_slash_before_the_end_anchors_at_the_root),
		cmocka_unit_test(a_leading_double_star_takes_the_anchor_off),
		cmocka_unit_test(a_trailing_double_star_means_the_folder_too),
		cmocka_unit_test(a_trailing_slash_spares_files_of_that_name),
		cmocka_unit_test(any_negative_rule_wins_whatever_the_order),
		cmocka_unit_test(wildcards_stay_within_one_component),
		cmocka_unit_test(one_question_mark_is_one_character_of_any_script),
		cmocka_unit_test(a_backslash_takes_the_meaning_from_a_character),
		cmocka_unit_test(blanks_comments_and_line_ends_are_no_part_of_a_rule),
		cmocka_unit_test(a_slash_or_a_star_leaves_out_everything),
		cmocka_unit_test(many_double_stars_end_soon),
		cmocka_unit_test(no_rules_leave_nothing_out),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
