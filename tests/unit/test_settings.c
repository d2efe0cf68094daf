/*
 * settings: the keys of otaclient.yaml, their defaults, and the texts made from their table.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/config/settings.h"
#include "tests/unit/note_list.h"

static struct settings settings;
static struct note_list notes;

static int parse(const char *text)
{
	notes = (struct note_list){0};
	return settings_parse(
		text, strlen(text), "otaclient.yaml", note_list_add, &notes, &settings);
}

static void assert_is_default(void)
{
	enum log_level level;

	assert_string_equal(settings.tls_ca, "");
	assert_string_equal(settings.certs_dir, "/opt/ota/client/certs");
	assert_string_equal(settings.run_dir, "/run/otaclient");
	assert_string_equal(settings.scratch_dir, "/var/tmp");
	assert_string_equal(settings.proxy_program, "/usr/bin/otaproxy");
	assert_string_equal(settings.proxy_user, "otaproxy");
	assert_string_equal(settings.proxy_cache_dir, "/ota-cache");
	assert_true(settings.proxy_external_disk);
	assert_int_equal(settings.download_connections, 8);
	assert_int_equal(settings.inactivity_timeout_s, 600);
	assert_int_equal(settings.listen_port, 50051);
	assert_int_equal(settings.update_cooldown_s, 16);
	assert_int_equal(settings.boot_attempts, 1);
	assert_int_equal(settings.committed_attempts, 5);
	assert_int_equal(settings.children_wait_limit_s, 6 * 3600);
	assert_int_equal(log_level_from_text(settings.log_level, &level), 0);
	assert_int_equal(level, LOG_LEVEL_INFO);
}

static void without_a_file_all_is_default(void **state)
{
	notes = (struct note_list){0};
	assert_int_equal(
		settings_load("/nowhere/otaclient.yaml", note_list_add, &notes, &settings), 0);
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_is_default();
	assert_int_equal(parse(""), 0);
	assert_is_default();
}

static void every_key_is_read(void **state)
{
	assert_int_equal(parse("tls_ca: /etc/ssl/fleet.pem\n"
			       "certs_dir: /certs\n"
			       "run_dir: /run/x\n"
			       "scratch_dir: /scratch\n"
			       "proxy_program: /opt/otaproxy\n"
			       "proxy_user: \"\"\n"
			       "proxy_cache_dir: /data/cache\n"
			       "proxy_external_disk: no\n"
			       "download_connections: 1\n"
			       "inactivity_timeout_s: 86400\n"
			       "listen_port: 1024\n"
			       "update_cooldown_s: 0\n"
			       "boot_attempts: 3\n"
			       "committed_attempts: 0\n"
			       "children_wait_limit_s: 0\n"
			       "log_level: debug\n"),
		0);
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_string_equal(settings.tls_ca, "/etc/ssl/fleet.pem");
	assert_string_equal(settings.certs_dir, "/certs");
	assert_string_equal(settings.run_dir, "/run/x");
	assert_string_equal(settings.scratch_dir, "/scratch");
	assert_string_equal(settings.proxy_program, "/opt/otaproxy");
	assert_string_equal(settings.proxy_user, "");
	assert_string_equal(settings.proxy_cache_dir, "/data/cache");
	assert_false(settings.proxy_external_disk);
	assert_int_equal(settings.download_connections, 1);
	assert_int_equal(settings.inactivity_timeout_s, 86400);
	assert_int_equal(settings.listen_port, 1024);
	assert_int_equal(settings.update_cooldown_s, 0);
	assert_int_equal(settings.boot_attempts, 3);
	assert_int_equal(settings.committed_attempts, 0);
	assert_int_equal(settings.children_wait_limit_s, 0);
	assert_string_equal(settings.log_level, "debug");
}

static void a_wrong_key_keeps_its_default_and_the_others_count(void **state)
{
	assert_int_equal(parse("download_connections: 65\n"
			       "certs_dir: ''\n"
			       "log_level: loud\n"
			       "inactivity_timeout_s: 5\n"
			       "colour: blue\n"
			       "proxy_user: 12\n"
			       "listen_port: 1024\n"),
		-EBADMSG);
	assert_int_equal(notes.n_wrong, 5);
	assert_string_equal(notes.wrong[0],
		"otaclient.yaml, line 2: certs_dir must be an absolute path, not \"\"");
	assert_string_equal(notes.wrong[1],
		"otaclient.yaml, line 6: proxy_user must be a string (put it in quotes), not 12");
	assert_string_equal(notes.wrong[2], "otaclient.yaml, line 1: download_connections must be "
					    "a whole number from 1 to 64, not 65");
	assert_string_equal(notes.wrong[3], "otaclient.yaml, line 4: inactivity_timeout_s must be "
					    "a whole number from 10 to 86400 s, not 5");
	assert_string_equal(notes.wrong[4], "otaclient.yaml, line 3: log_level must be one of "
					    "error, warning, info, debug, not \"loud\"");
	assert_int_equal(notes.n_notices, 1);
	assert_string_equal(notes.notices[0],
		"otaclient.yaml, line 5: colour is not a known key and is ignored");
	assert_int_equal(settings.listen_port, 1024);
	settings.listen_port = 50051;
	assert_is_default();
}

static void a_broken_file_is_reported_and_all_is_default(void **state)
{
	assert_int_equal(parse("listen_port: [\n"), -EBADMSG);
	assert_int_equal(notes.n_wrong, 1);
	assert_is_default();
	assert_int_equal(parse("- 1\n"), -EBADMSG);
	assert_string_equal(notes.wrong[0],
		"otaclient.yaml, line 1: the file must be a map of keys and values");
	assert_is_default();
}

static void the_example_file_is_what_the_table_prints(void **state)
{
	AUTO_BUF struct buf want = {0};
	AUTO_BUF struct buf have = {0};

	assert_int_equal(settings_print_example(&want), 0);
	assert_int_equal(
		file_read(AT_FDCWD, SOURCE_DIR "/otaclient.yaml.example", 1 << 16, &have), 0);
	assert_string_equal(buf_str(&have), buf_str(&want));
}

static void the_manual_page_is_what_the_table_prints(void **state)
{
	AUTO_BUF struct buf want = {0};
	AUTO_BUF struct buf have = {0};

	assert_int_equal(settings_print_man(&want), 0);
	assert_int_equal(
		file_read(AT_FDCWD, SOURCE_DIR "/docs/man/otaclient.yaml.5", 1 << 16, &have), 0);
	assert_string_equal(buf_str(&have), buf_str(&want));
}

static int apply(const char *const *env)
{
	notes = (struct note_list){0};
	return settings_apply_env(env, note_list_add, &notes, &settings);
}

static void variables_override_the_file(void **state)
{
	const char *env[] = {"OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT=30", "HOME=/",
		"OTACLIENT_DEFAULT_LOG_LEVEL=WARNING", NULL};

	assert_int_equal(parse("inactivity_timeout_s: 100\nlisten_port: 1024\n"), 0);
	assert_int_equal(apply(env), 0);
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_int_equal(settings.inactivity_timeout_s, 30);
	assert_string_equal(settings.log_level, "warning");
	assert_int_equal(settings.listen_port, 1024);
}

static void a_wrong_variable_leaves_the_file_in_force(void **state)
{
	const char *env[] = {"OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT=9",
		"OTACLIENT_DEFAULT_LOG_LEVEL=CRITICAL", NULL};
	const char *empty[] = {"OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT=", NULL};

	assert_int_equal(parse("inactivity_timeout_s: 100\nlog_level: debug\n"), 0);
	assert_int_equal(apply(env), -EBADMSG);
	assert_int_equal(notes.n_wrong, 2);
	assert_string_equal(notes.wrong[0],
		"The environment: OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT must be a "
		"whole number from 10 to 86400 s, not \"9\"");
	assert_string_equal(notes.wrong[1],
		"The environment: OTACLIENT_DEFAULT_LOG_LEVEL must be one of "
		"error, warning, info, debug, not \"CRITICAL\"");
	assert_int_equal(settings.inactivity_timeout_s, 100);
	assert_string_equal(settings.log_level, "debug");
	assert_int_equal(apply(empty), -EBADMSG);
	assert_int_equal(settings.inactivity_timeout_s, 100);
}

static void a_boolean_in_the_environment_has_several_words(void **state)
{
	/* clang-format off */
	static const struct {
		const char *text;
		bool value;
	} rows[] = {
		{"false", false}, {"True", true}, {"0", false}, {"1", true}, {"NO", false}, {"on", true},
	};
	/* clang-format on */
	char text[96];
	const char *env[] = {text, NULL};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse(""), 0);
		settings.proxy_external_disk = !rows[i].value;
		snprintf(text, sizeof(text), "OTACLIENT_OTAPROXY_ENABLE_EXTERNAL_CACHE=%s",
			rows[i].text);
		assert_int_equal(apply(env), 0);
		assert_int_equal(settings.proxy_external_disk, rows[i].value);
	}
	snprintf(text, sizeof(text), "OTACLIENT_OTAPROXY_ENABLE_EXTERNAL_CACHE=2");
	assert_int_equal(apply(env), -EBADMSG);
	assert_string_equal(notes.wrong[0],
		"The environment: OTACLIENT_OTAPROXY_ENABLE_EXTERNAL_CACHE must "
		"be true or false, not \"2\"");
	assert_true(settings.proxy_external_disk);
}

static void other_variables_are_named_once_with_what_to_do_instead(void **state)
{
	const char *env[] = {"OTACLIENT_MAX_CONCURRENT_DOWNLOAD_TASKS=128", "OTACLIENT_COLOUR=blue",
		"OTACLIENT_FSTRIM_AT_OTA", NULL};

	assert_int_equal(parse(""), 0);
	assert_int_equal(apply(env), 0);
	assert_int_equal(notes.n_notices, 3);
	assert_string_equal(notes.notices[0],
		"The environment: OTACLIENT_MAX_CONCURRENT_DOWNLOAD_TASKS is ignored: "
		"download_connections of otaclient.yaml limits the connections");
	assert_string_equal(notes.notices[1],
		"The environment: OTACLIENT_COLOUR is not a known variable and is ignored");
	assert_string_equal(notes.notices[2],
		"The environment: OTACLIENT_FSTRIM_AT_OTA is ignored: "
		"fstrim.timer of the system trims the slots");
	assert_is_default();
}

static void the_example_with_all_keys_in_force_is_the_default(void **state)
{
	AUTO_BUF struct buf text = {0};

	assert_int_equal(settings_print_example(&text), 0);
	for (size_t i = 0; i + 1 < text.len_bytes; i++)
		if (text.data[i] == '\n' && text.data[i + 1] == '#' && text.data[i + 2] != ' ')
			text.data[i + 1] = ' ';
	assert_int_equal(parse(buf_str(&text)), 0);
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_is_default();
}

static void the_help_names_range_unit_and_default(void **state)
{
	AUTO_BUF struct buf help = {0};

	assert_int_equal(settings_print_help(&help), 0);
	assert_non_null(strstr(buf_str(&help),
		"  inactivity_timeout_s\n"
		"      A download in which nothing arrives for this long fails the update "
		"(10 to 86400 s; default 600)"
		"\n      OTACLIENT_DOWNLOAD_INACTIVE_TIMEOUT in the environment overrides it\n"));
	assert_non_null(strstr(buf_str(&help),
		"  log_level\n"
		"      Least important lines that are logged "
		"(error, warning, info, debug; default info)\n      "
		"OTACLIENT_DEFAULT_LOG_LEVEL in the environment overrides it\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_file_all_is_default),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(a_wrong_key_keeps_its_default_and_the_others_count),
		cmocka_unit_test(a_broken_file_is_reported_and_all_is_default),
		cmocka_unit_test(the_example_file_is_what_the_table_prints),
		cmocka_unit_test(the_manual_page_is_what_the_table_prints),
		cmocka_unit_test(variables_override_the_file),
		cmocka_unit_test(a_wrong_variable_leaves_the_file_in_force),
		cmocka_unit_test(a_boolean_in_the_environment_has_several_words),
		cmocka_unit_test(other_variables_are_named_once_with_what_to_do_instead),
		cmocka_unit_test(the_example_with_all_keys_in_force_is_the_default),
		cmocka_unit_test(the_help_names_range_unit_and_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
