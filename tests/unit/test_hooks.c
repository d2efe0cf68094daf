/*
 * hooks: which folder, which variables, whose fault, and those that nobody waits for.
 *
 * Elsewhere: what is run at all (test_program_folder), when in an update (integration/test_hooks.py).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
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
#include "common/base/file.h"
#include "common/base/log.h"
#include "otaclient/hooks/hooks.h"
#include "tests/unit/tmp_dir.h"

enum {
	PATIENCE_MS = 20000, /* for what takes far less */
};

static void put_bytes(struct tmp_dir *d, const char *hook, const char *name, const char *text)
{
	char path[128];
	AUTO_CLOSE int fd = -1;

	if (mkdirat(d->fd, hook, 0755) < 0)
		assert_int_equal(errno, EEXIST);
	snprintf(path, sizeof(path), "%s/%s", hook, name);
	fd = openat(d->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, 0755), 0);
}

static void put(struct tmp_dir *d, const char *hook, const char *name, const char *script)
{
	char text[512];

	snprintf(text, sizeof(text), "#!/bin/sh\ncd %s\n%s\n", d->path, script);
	put_bytes(d, hook, name, text);
}

static const char *content(struct tmp_dir *d, const char *name)
{
	static char text[4096];
	AUTO_BUF struct buf b = {0};

	assert_int_equal(file_read(d->fd, name, sizeof(text) - 1, &b), 0);
	snprintf(text, sizeof(text), "%s", buf_str(&b));
	return text;
}

static void wait_for(struct tmp_dir *d, const char *name)
{
	uint64_t until = clock_monotonic_ms() + PATIENCE_MS;

	while (faccessat(d->fd, name, F_OK, 0) < 0) {
		assert_true(clock_monotonic_ms() < until);
		clock_sleep_ms(5);
	}
}

static const uint64_t many_bytes = UINT64_MAX;
static const struct hook_facts all_facts = {
	.action = "update",
	.session = "1-v2-0a",
	.ecu_id = "main",
	.version = "v2",
	.from_version = "v1\nOTA_HOOK=evil",
	.url = "http://a b/'$(x)",
	.slot = "ota-slot_b",
	.from_slot = "ota-slot_a",
	.standby_root = "/run/x",
	.download_bytes = &many_bytes,
};

static void each_hook_has_its_folder_and_its_facts(void **state)
{
	static const char *const names[] = {
		"pre-update", "post-update", "pre-reboot", "post-commit"};
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	struct ota_err err = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		put(d, names[i], "a", "tr '\\0' '|' < /proc/$$/environ > env");
		assert_int_equal(
			hooks_run(&hooks, (enum hook)i, &(struct hook_facts){0}, NULL, NULL, &err),
			0);
		assert_non_null(strstr(content(d, "env"), names[i]));
		assert_null(strstr(content(d, "env"), "OTA_VERSION"));
	}
	assert_int_equal(hooks_run(&hooks, HOOK_PRE_UPDATE, &all_facts, NULL, NULL, &err), 0);
	assert_string_equal(content(d, "env"),
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|LANG=C|"
		"OTA_HOOK=pre-update|OTA_ACTION=update|OTA_SESSION=1-v2-0a|OTA_ECU_ID=main|"
		"OTA_VERSION=v2|OTA_FROM_VERSION=v1\nOTA_HOOK=evil|OTA_URL=http://a b/'$(x)|"
		"OTA_SLOT=ota-slot_b|OTA_FROM_SLOT=ota-slot_a|OTA_STANDBY_ROOT=/run/x|"
		"OTA_DOWNLOAD_BYTES=18446744073709551615|");
}

static void a_no_has_a_code_of_its_own(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	struct ota_err err = {0};

	put(d, "pre-reboot", "a", "echo not now; exit 1");
	assert_int_equal(hooks_check(&hooks, &err), 0);
	assert_int_equal(hooks_run(&hooks, HOOK_PRE_REBOOT, &all_facts, NULL, NULL, &err), -EIO);
	assert_int_equal(err.code, OTA_E_HOOK);
	assert_true(ota_code_is_recoverable(err.code));
	assert_string_equal(err.msg, "The pre-reboot hook a failed with status 1: not now");
}

static void what_would_be_refused_is_found_before(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	struct ota_err err = {0};
	char expected[128];

	put(d, "post-commit", "a", "");
	assert_int_equal(fchmodat(d->fd, "post-commit", 0777, 0), 0);
	assert_int_equal(hooks_check(&hooks, &err), -EPERM);
	assert_int_equal(err.code, OTA_E_HOOK);
	snprintf(expected, sizeof(expected),
		"%s/post-commit is refused: others than root may write to it", d->path);
	assert_string_equal(err.msg, expected);
}

static void what_would_not_start_is_found_before(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	struct ota_err err = {0};
	char expected[160];

	/* It may be the new system that mends this one. */
	put_bytes(d, "post-commit", "a", "#!/bin/tcsh\r\n");
	assert_int_equal(hooks_check(&hooks, &err), 0);
	put_bytes(d, "pre-reboot", "a", "#!/nonexistent/sh\n");
	assert_int_equal(hooks_check(&hooks, &err), -EPERM);
	assert_int_equal(err.code, OTA_E_HOOK);
	snprintf(expected, sizeof(expected),
		"%s/pre-reboot/a is refused: its interpreter \"/nonexistent/sh\" is not there",
		d->path);
	assert_string_equal(err.msg, expected);
}

static void a_folder_whose_path_is_too_long_is_refused(void **state)
{
	static char dir[PATH_MAX];
	const struct hooks hooks = {.dir = dir};
	struct ota_err err = {0};

	memset(dir, '/', sizeof(dir) - 1);
	assert_int_equal(hooks_check(&hooks, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.msg, "Cannot look at the hooks in ////"));
	err = (struct ota_err){0};
	assert_int_equal(
		hooks_run(&hooks, HOOK_PRE_UPDATE, &all_facts, NULL, NULL, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.msg, "Cannot run the hooks in ////"));
}

static void without_a_folder_nothing_is_run(void **state)
{
	const struct hooks none = {0};

	assert_int_equal(hooks_check(&none, NULL), 0);
	assert_int_equal(hooks_run(&none, HOOK_PRE_UPDATE, &all_facts, NULL, NULL, NULL), 0);
	assert_null(hooks_start(&none, HOOK_PRE_UPDATE, &all_facts));
	hooks_thread_free(NULL);
}

/* Under the log's lock. */
static void keep_line(void *ctx, const struct log_entry *entry)
{
	if (entry->level == LOG_LEVEL_WARNING)
		assert_int_equal(buf_printf(ctx, "%s\n", entry->text), 0);
}

static void those_that_nobody_waits_for_are_only_logged(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	AUTO_BUF struct buf warnings = {0};
	struct hook_facts facts = all_facts;
	char version[] = "v2";
	struct hooks_thread *t;

	facts.version = version;
	put(d, "post-commit", "a",
		"while ! [ -e go ]; do sleep 0.02; done; echo $OTA_VERSION > version");
	put(d, "post-commit", "b", "touch b; exit 1");
	put(d, "post-commit", "c", "touch c");
	log_set_sink(keep_line, &warnings);
	t = hooks_start(&hooks, HOOK_POST_COMMIT, &facts);
	assert_non_null(t);
	/* What it was told is its own. */
	memset(version, 'x', strlen(version));
	assert_int_equal(mkdirat(d->fd, "go", 0755), 0);
	wait_for(d, "b");
	/* The next one is run all the same: what has to be done after the commit is not one thing. */
	wait_for(d, "c");
	hooks_thread_free(t);
	log_set_sink(NULL, NULL);
	assert_string_equal(content(d, "version"), "v2\n");
	assert_string_equal(strtok(warnings.data, "\n"),
		"The post-commit hook b failed with status 1: it said nothing");
}

static void of_many_that_fail_each_is_logged(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	AUTO_BUF struct buf warnings = {0};
	struct hooks_thread *t;
	unsigned n = 0;
	char name[16];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%02u", i);
		put(d, "post-commit", name, "exit 1");
	}
	put(d, "post-commit", "last", "touch last; exit 1");
	log_set_limit(true);
	log_set_sink(keep_line, &warnings);
	t = hooks_start(&hooks, HOOK_POST_COMMIT, &all_facts);
	wait_for(d, "last");
	hooks_thread_free(t);
	log_set_sink(NULL, NULL);
	log_set_limit(false);
	for (const char *at = buf_str(&warnings); (at = strstr(at, " failed with status 1")); at++)
		n++;
	assert_in_range(n, 20, 21); /* the last one may still have been ended */
}

static void that_they_are_refused_is_logged(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path};
	AUTO_BUF struct buf warnings = {0};
	char expected[160];

	put(d, "post-commit", "a", "touch a");
	assert_int_equal(fchmodat(d->fd, "post-commit/a", 0757, 0), 0);
	log_set_sink(keep_line, &warnings);
	hooks_thread_free(hooks_start(&hooks, HOOK_POST_COMMIT, &all_facts));
	log_set_sink(NULL, NULL);
	snprintf(expected, sizeof(expected),
		"%s/post-commit/a is refused: others than root may write to it\n", d->path);
	assert_string_equal(buf_str(&warnings), expected);
	assert_int_equal(faccessat(d->fd, "a", F_OK, 0), -1);
}

static void they_end_with_the_daemon(void **state)
{
	struct tmp_dir *d = *state;
	const struct hooks hooks = {.dir = d->path, .timeout_ms = 100000};
	uint64_t began = clock_monotonic_ms();
	struct hooks_thread *t;

	put(d, "post-commit", "a", "trap '' TERM; touch started; while :; do sleep 1; done");
	put(d, "post-commit", "b", "touch b");
	t = hooks_start(&hooks, HOOK_POST_COMMIT, &all_facts);
	wait_for(d, "started");
	hooks_thread_free(t);
	assert_true(clock_monotonic_ms() - began < PATIENCE_MS);
	assert_int_equal(faccessat(d->fd, "b", F_OK, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		tmp_dir_test(each_hook_has_its_folder_and_its_facts),
		tmp_dir_test(a_no_has_a_code_of_its_own),
		tmp_dir_test(what_would_be_refused_is_found_before),
		tmp_dir_test(what_would_not_start_is_found_before),
		tmp_dir_test(a_folder_whose_path_is_too_long_is_refused),
		tmp_dir_test(without_a_folder_nothing_is_run),
		tmp_dir_test(those_that_nobody_waits_for_are_only_logged),
		tmp_dir_test(of_many_that_fail_each_is_logged),
		tmp_dir_test(that_they_are_refused_is_logged),
		tmp_dir_test(they_end_with_the_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
