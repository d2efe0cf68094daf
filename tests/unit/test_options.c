/*
 * test_options: the proxy's command line, and that its help and its manual say what it takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "otaproxy/options.h"

enum {
	ARGS_MAX = 24,
	WORD_MAX = 32,
};

/* The words of one call, as main() gets them. */
#define parse(o, err, ...) \
	parse_list((const char *const[]){"otaproxy", ##__VA_ARGS__, NULL}, (o), (err))

static int parse_list(const char *const *words, struct options *o, struct ota_err *err)
{
	static char copies[ARGS_MAX][WORD_MAX], *argv[ARGS_MAX];
	int argc = 0;

	for (; words[argc]; argc++) {
		assert_true(argc < ARGS_MAX - 1 && strlen(words[argc]) < WORD_MAX);
		argv[argc] = strcpy(copies[argc], words[argc]);
	}
	argv[argc] = NULL;
	optind = 0; /* of the C library: begin anew */
	opterr = 0;
	return options_parse(argc, argv, o, err);
}

static void without_options_all_is_default(void **state)
{
	struct options o;
	struct ota_err err = {0};

	assert_int_equal(parse(&o, &err), 0);
	assert_string_equal(o.listen_addr, "0.0.0.0");
	assert_string_equal(o.cache_dir, "/ota-cache");
	assert_int_equal(o.port, 8082);
	assert_int_equal(o.log_level, LOG_LEVEL_INFO);
	assert_int_equal(o.marks.soft_pct, RECLAIM_SOFT_PCT);
	assert_int_equal(o.marks.hard_pct, RECLAIM_HARD_PCT);
	assert_null(o.upper_proxy);
	assert_null(o.tls_ca);
	assert_null(o.origins);
	assert_null(o.externals[0]);
	assert_null(o.user);
	assert_false(o.https || o.no_cache || o.wipe);
	assert_int_equal(o.wish, OPTIONS_RUN);
}

static void every_option_has_its_field(void **state)
{
	struct options o;
	struct ota_err err = {0};

	assert_int_equal(
		parse(&o, &err, "--listen", "::1", "--port", "0", "--cache-dir", "/c",
			"--upper-proxy", "http://up:1", "--tls-ca=/etc/passwd", "--origins=/o",
			"--external=/x", "--external", "/y", "--soft-mark=2", "--hard-mark=100",
			"--user=1:2", "--https", "--wipe", "--log-level=debug"),
		0);
	assert_string_equal(o.listen_addr, "::1");
	assert_int_equal(o.port, 0);
	assert_string_equal(o.cache_dir, "/c");
	assert_string_equal(o.upper_proxy, "http://up:1");
	assert_string_equal(o.tls_ca, "/etc/passwd");
	assert_string_equal(o.origins, "/o");
	assert_string_equal(o.externals[0], "/x");
	assert_string_equal(o.externals[1], "/y");
	assert_null(o.externals[2]);
	assert_int_equal(o.marks.soft_pct, 2);
	assert_int_equal(o.marks.hard_pct, 100);
	assert_string_equal(o.user, "1:2");
	assert_true(o.https && o.wipe && !o.no_cache);
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(parse(&o, &err, "--upper-proxy", "HTTP://[::1]:8082/"), 0);
	assert_int_equal(parse(&o, &err, "--port", "65535", "--no-cache"), 0);
	assert_int_equal(o.port, 65535);
	assert_true(o.no_cache && !o.wipe);
}

static void wrong_usage_is_told(void **state)
{
	/* clang-format off */
	static const struct {
		const char *words[6];
		const char *sentence;
	} cases[] = {
		{{"otaproxy", "--port", "65536"}, "there is no port \"65536\""},
		{{"otaproxy", "--port", "-1"}, "there is no port \"-1\""},
		{{"otaproxy", "--port", "+1"}, "there is no port \"+1\""},
		{{"otaproxy", "--port", "8082x"}, "there is no port \"8082x\""},
		{{"otaproxy", "--port", ""}, "there is no port \"\""},
		{{"otaproxy", "--port", "99999999999999999999"},
			"there is no port \"99999999999999999999\""},
		{{"otaproxy", "--soft-mark", "1"},
			"a mark is a percentage from 2 to 100, not \"1\""},
		{{"otaproxy", "--hard-mark", "101"},
			"a mark is a percentage from 2 to 100, not \"101\""},
		{{"otaproxy", "--soft-mark", "90", "--hard-mark", "89"},
			"the hard mark (89) must not be below the soft mark (90)"},
		{{"otaproxy", "--soft-mark", "90"},
			"the hard mark (80, the default) must not be below the soft mark (90)"},
		{{"otaproxy", "--hard-mark", "70"},
			"the hard mark (70) must not be below the soft mark (75, the default)"},
		{{"otaproxy", "--external=/x", "--no-cache"},
			"--external and --no-cache exclude each other"},
		{{"otaproxy", "--tls-ca", "/no-such-file"},
			"cannot read the certificates in \"/no-such-file\": No such file or directory"},
		{{"otaproxy", "--tls-ca", "/etc"},
			"the certificates must be in a regular file, not \"/etc\""},
		{{"otaproxy", "--upper-proxy", "http://x"},
			"the upper proxy must be http://host:port, not \"http://x\""},
		{{"otaproxy", "--upper-proxy", "http://x:0"},
			"the upper proxy must be http://host:port, not \"http://x:0\""},
		{{"otaproxy", "--upper-proxy", "http://x:1/path"},
			"the upper proxy must be http://host:port, not \"http://x:1/path\""},
		{{"otaproxy", "--upper-proxy", "http://u:p@x:1"},
			"the upper proxy must be http://host:port, not \"http://u:p@x:1\""},
		{{"otaproxy", "--log-level", "loud"}, "there is no log level \"loud\""},
		{{"otaproxy", "--wipe", "--no-cache"}, "--wipe and --no-cache exclude each other"},
		{{"otaproxy", "--upper-proxy", "https://x"},
			"the upper proxy must be http://host:port, not \"https://x\""},
		{{"otaproxy", "--https", "more"}, "unexpected argument \"more\""},
		{{"otaproxy", "--external=a", "--external=b", "--external=c"},
			"there is one --external too many, \"c\""},
		{{"otaproxy", "--port"}, ""}, /* getopt_long() tells these */
		{{"otaproxy", "--colour"}, ""},
		{{"otaproxy", "-x"}, ""},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct options o = {.port = 1};
		struct ota_err err = {0};

		assert_int_equal(parse_list(cases[i].words, &o, &err), -EINVAL);
		assert_string_equal(err.msg, cases[i].sentence);
		assert_int_equal(o.port, 1); /* untouched */
	}
}

static void who_asks_for_help_gets_it_whatever_follows(void **state)
{
	struct options o;
	struct ota_err err = {0};

	assert_int_equal(parse(&o, &err, "-h"), 0);
	assert_int_equal(o.wish, OPTIONS_SHOW_HELP);
	assert_int_equal(parse(&o, &err, "--wipe", "--no-cache", "--help", "--port", "x"), 0);
	assert_int_equal(o.wish, OPTIONS_SHOW_HELP);
	assert_int_equal(parse(&o, &err, "--version", "more"), 0);
	assert_int_equal(o.wish, OPTIONS_SHOW_VERSION);
}

static void the_help_has_name_default_and_text_in_columns(void **state)
{
	static const char *const lines[] = {
		"  --listen ADDR        address to serve on (default 0.0.0.0)\n",
		"  --no-cache           keep nothing\n",
		"  --origins FILE       only these servers may be asked: one scheme://host[:port] "
		"a "
		"line;\n"
		"                       without a file there yet, none\n",
		"  --hard-mark PCT      used space, or inodes, above which nothing is written "
		"(default "
		"80)\n",
		"  --log-level L        error, warning, info or debug (default info)\n",
		"  -h, --help  --version\n",
	};
	AUTO_BUF struct buf help = {0};

	assert_int_equal(options_print_help(&help), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (!strstr(buf_str(&help), lines[i]))
			fail_msg("The help has no line %s", lines[i]);
}

static void the_manual_lists_what_the_table_prints(void **state)
{
	AUTO_BUF struct buf want = {0}, have = {0};

	assert_int_equal(buf_puts(&want, "\n.SH OPTIONS\n"), 0);
	assert_int_equal(options_print_manual(&want), 0);
	assert_int_equal(buf_puts(&want, ".SH EXIT STATUS\n"), 0);
	assert_int_equal(file_read(AT_FDCWD, SOURCE_DIR "/docs/man/otaproxy.8", 1 << 16, &have), 0);
	if (!strstr(buf_str(&have), buf_str(&want)))
		fail_msg("docs/man/otaproxy.8 should have: %s", buf_str(&want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_options_all_is_default),
		cmocka_unit_test(every_option_has_its_field),
		cmocka_unit_test(wrong_usage_is_told),
		cmocka_unit_test(who_asks_for_help_gets_it_whatever_follows),
		cmocka_unit_test(the_help_has_name_default_and_text_in_columns),
		cmocka_unit_test(the_manual_lists_what_the_table_prints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
