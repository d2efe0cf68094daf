/*
 * test_persistent_path: what every machine refuses to carry over, and what it does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/image/persistent_path.h"

static void paths_in_another_spelling_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "/", "etc/hosts", "/etc/d/", "//etc//hosts", "/etc/../etc/shadow", "/etc/./x"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_string_equal(persistent_path_refusal(bad[i]),
			"it is no absolute path in its plain spelling");
}

static void what_belongs_to_the_machine_is_refused(void **state)
{
	static const char *const bad[] = {
		"/boot", "/boot/x", "/dev/null", "/proc/self", "/sys", "/run/lock", "/lost+found"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_string_equal(persistent_path_refusal(bad[i]),
			"this folder belongs to the machine, not to a system");
	assert_string_equal(persistent_path_refusal("/.ota-meta"),
		"names that begin with /.ota- are the updater's own");
	assert_string_equal(
		persistent_path_refusal("/swapfile"), "a swap file holds nothing worth keeping");
	assert_string_equal(
		persistent_path_refusal("/swap.img"), "a swap file holds nothing worth keeping");
}

static void other_paths_may_be_kept(void **state)
{
	static const char *const good[] = {"/etc/hosts", "/bootstrap", "/var/boot", "/etc/.ota-x",
		"/var/swapfile", "/swapfiles"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_null(persistent_path_refusal(good[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_in_another_spelling_are_refused),
		cmocka_unit_test(what_belongs_to_the_machine_is_refused),
		cmocka_unit_test(other_paths_may_be_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
