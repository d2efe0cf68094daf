/*
 * proxy_info: how an ECU reaches the image server, from files of every age.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/config/proxy_info.h"
#include "tests/unit/note_list.h"

static struct proxy_info info;
static struct note_list notes;

static void parse(const char *text)
{
	notes = (struct note_list){0};
	proxy_info_parse(text, strlen(text), "proxy_info.yaml", note_list_add, &notes, &info);
}

static void load(const char *path)
{
	notes = (struct note_list){0};
	proxy_info_load(path, note_list_add, &notes, &info);
}

static void assert_is_default(void)
{
	assert_false(info.loaded);
	assert_true(info.enable_local_ota_proxy);
	assert_true(info.enable_local_ota_proxy_cache);
	assert_string_equal(info.local_ota_proxy_listen_addr, "0.0.0.0");
	assert_int_equal(info.local_ota_proxy_listen_port, 8082);
	assert_string_equal(info.upper_ota_proxy, "");
	assert_string_equal(info.logging_server, "http://127.0.0.1:8083");
	assert_string_equal(info.logging_server_grpc, "http://127.0.0.1:8084");
	assert_string_equal(info.external_nfs_cache_mnt_point, "");
}

static void refuses(const char *text, const char *sentence)
{
	parse(text);
	if (notes.n_wrong != 1)
		fail_msg("%u sentences about:\n%s", notes.n_wrong, text);
	assert_string_equal(notes.wrong[0], sentence);
	assert_is_default();
}

static void client_proxy_is(const char *want)
{
	char url[CONF_URL_MAX];

	proxy_info_client_proxy(&info, url);
	assert_string_equal(url, want);
}

static void the_main_ecu_of_the_examples_loads(void **state)
{
	load(DATA_DIR "/examples/main-proxy_info.yaml");
	assert_int_equal(notes.n_wrong, 0);
	assert_int_equal(notes.n_notices, 1);
	assert_string_equal(notes.notices[0], DATA_DIR
		"/examples/main-proxy_info.yaml, line 3: gateway is ignored: an ECU without "
		"upper_ota_proxy asks the origin itself, with https");
	assert_true(info.loaded);
	assert_true(info.enable_local_ota_proxy);
	assert_true(proxy_info_use_cache(&info));
	client_proxy_is("http://127.0.0.1:8082");
}

static void the_secondary_ecu_of_the_examples_loads(void **state)
{
	load(DATA_DIR "/examples/secondary-a-proxy_info.yaml");
	assert_int_equal(notes.n_wrong, 0);
	assert_true(info.loaded);
	assert_string_equal(info.upper_ota_proxy, "http://192.168.20.1:8082");
	assert_true(info.enable_local_ota_proxy_cache);
	assert_false(proxy_info_use_cache(&info));
	client_proxy_is("http://127.0.0.1:8082");
}

static void the_file_in_the_root_of_the_tree_loads(void **state)
{
	const struct conf_key *keys;
	size_t n_keys;

	load(SOURCE_DIR "/proxy_info.yaml.example");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	keys = proxy_info_keys(&n_keys);
	assert_int_equal(n_keys, 10);
	note_list_assert_explained(SOURCE_DIR "/proxy_info.yaml.example", keys, n_keys);
}

/* Who accesses the server, and where: the table that integrators know, and the forms its rows are written in. */
static void downloads_go_the_way_of_the_table(void **state)
{
	/* clang-format off */
	static const struct {
		const char *text;
		bool local;
		const char *upper; /* that the local proxy asks; "" = the server */
		const char *way;   /* of this ECU's own downloads; "" = straight to the server */
		bool keeps;        /* the local proxy keeps what passes */
	} rows[] = {
		{"{enable_local_ota_proxy: true, upper_ota_proxy: \"http://192.168.20.11:8082\"}",
			true, "http://192.168.20.11:8082", "http://127.0.0.1:8082", false},
		{"enable_local_ota_proxy: true", true, "", "http://127.0.0.1:8082", true},
		{"{enable_local_ota_proxy: false, upper_ota_proxy: \"http://192.168.20.11:8082\"}",
			false, "http://192.168.20.11:8082", "http://192.168.20.11:8082", false},
		{"enable_local_ota_proxy: false", false, "", "", true},
		/* gateway changes nothing, whatever it says. */
		{"{enable_local_ota_proxy: true, gateway: true}", true, "", "http://127.0.0.1:8082", true},
		{"{enable_local_ota_proxy: true, gateway: false}", true, "", "http://127.0.0.1:8082", true},
		{"{enable_local_ota_proxy: true, gateway: maybe, upper_ota_proxy: \"http://10.0.0.1:8082\"}",
			true, "http://10.0.0.1:8082", "http://127.0.0.1:8082", false},
		{"{enable_local_ota_proxy: true, upper_ota_proxy: \"\"}", true, "", "http://127.0.0.1:8082", true},
		{"{enable_local_ota_proxy: true, enable_local_ota_proxy_cache: false}",
			true, "", "http://127.0.0.1:8082", false},
		{"{enable_local_ota_proxy: true, local_ota_proxy_listen_addr: localhost,"
			" local_ota_proxy_listen_port: 9000}", true, "", "http://127.0.0.1:9000", true},
		{"{enable_local_ota_proxy: true, local_ota_proxy_listen_addr: 192.168.20.1}",
			true, "", "http://192.168.20.1:8082", true},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		parse(rows[i].text);
		if (!info.loaded || info.enable_local_ota_proxy != rows[i].local ||
			proxy_info_use_cache(&info) != rows[i].keeps)
			fail_msg("%s", rows[i].text);
		assert_string_equal(info.upper_ota_proxy, rows[i].upper);
		client_proxy_is(rows[i].way);
	}
}

static void without_a_file_the_local_proxy_runs(void **state)
{
	load("/nowhere/proxy_info.yaml");
	assert_is_default();
	assert_int_equal(notes.n_wrong, 0);
	assert_string_equal(notes.notices[0],
		"Cannot read /nowhere/proxy_info.yaml: No such file or directory");
	client_proxy_is("http://127.0.0.1:8082");
}

static void a_file_without_the_key_has_no_local_proxy(void **state)
{
	parse("{}");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	assert_false(info.enable_local_ota_proxy);
	client_proxy_is("");
	parse("upper_ota_proxy: http://10.0.0.1:8082/\n");
	assert_false(info.enable_local_ota_proxy);
	client_proxy_is("http://10.0.0.1:8082/");
}

static void every_key_is_read(void **state)
{
	parse("format_version: 1\n"
	      "enable_local_ota_proxy: yes\n"
	      "enable_local_ota_proxy_cache: off\n"
	      "local_ota_proxy_listen_addr: 10.0.0.1\n"
	      "local_ota_proxy_listen_port: \"9000\"\n"
	      "upper_ota_proxy: http://[fe80::1]:443/\n"
	      "logging_server: http://log.local\n"
	      "logging_server_grpc: null\n"
	      "external_nfs_cache_mnt_point: /mnt/cache\n");
	assert_int_equal(notes.n_wrong + notes.n_notices, 0);
	assert_true(info.loaded);
	assert_true(info.enable_local_ota_proxy);
	assert_false(info.enable_local_ota_proxy_cache);
	assert_string_equal(info.upper_ota_proxy, "http://[fe80::1]:443/");
	assert_string_equal(info.logging_server, "http://log.local");
	assert_string_equal(info.logging_server_grpc, "");
	assert_string_equal(info.external_nfs_cache_mnt_point, "/mnt/cache");
	client_proxy_is("http://10.0.0.1:9000");
}

static void an_ipv6_address_gets_its_brackets(void **state)
{
	parse("{enable_local_ota_proxy: true, local_ota_proxy_listen_addr: \"::\"}");
	client_proxy_is("http://[::1]:8082");
	parse("{enable_local_ota_proxy: true, local_ota_proxy_listen_addr: \"fd00::5\"}");
	client_proxy_is("http://[fd00::5]:8082");
}

static void the_old_name_counts_unless_the_new_one_is_there(void **state)
{
	parse("enable_ota_proxy: true\n");
	assert_true(info.enable_local_ota_proxy);
	assert_string_equal(notes.notices[0], "proxy_info.yaml, line 1: enable_ota_proxy is the "
					      "old name of enable_local_ota_proxy");
	parse("enable_ota_proxy: true\nenable_local_ota_proxy: false\n");
	assert_false(info.enable_local_ota_proxy);
}

static void null_and_empty_switch_off(void **state)
{
	parse("{upper_ota_proxy: \"\", logging_server: null, external_nfs_cache_mnt_point: ~}");
	assert_int_equal(notes.n_wrong, 0);
	assert_string_equal(info.upper_ota_proxy, "");
	assert_string_equal(info.logging_server, "");
	assert_string_equal(info.external_nfs_cache_mnt_point, "");
}

static void wrong_values_discard_the_file(void **state)
{
	static const char *const bad_urls[] = {
		"10.0.0.1:8082",
		"ftp://10.0.0.1/",
		"http://",
		"http://:8082",
		"http://[fe80::1",
		"http://[]:1",
		"http://a:0",
		"http://a:65536",
		"http://a:80x",
		"http://user@a",
		"http://a b",
	};
	/* URLs, but none that the local proxy would take. */
	static const char *const bad_proxies[] = {
		"http://10.0.0.1",
		"http://10.0.0.1:",
		"http://10.0.0.1/",
		"http://[fe80::1]",
		"http://10.0.0.1:8082/x",
		"http://10.0.0.1:8082//",
		"http://10.0.0.1:8082?x",
		"http://10.0.0.1:8082#x",
	};
	char text[256], sentence[256];

	for (size_t i = 0; i < ARRAY_SIZE(bad_urls); i++) {
		snprintf(text, sizeof(text), "upper_ota_proxy: \"%s\"\n", bad_urls[i]);
		snprintf(sentence, sizeof(sentence),
			"proxy_info.yaml, line 1: upper_ota_proxy must be a URL such as "
			"http://192.168.20.1:8082, or null, not \"%s\"",
			bad_urls[i]);
		refuses(text, sentence);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_proxies); i++) {
		snprintf(text, sizeof(text), "upper_ota_proxy: \"%s\"\n", bad_proxies[i]);
		snprintf(sentence, sizeof(sentence),
			"proxy_info.yaml, line 1: upper_ota_proxy must be http://host:port, with "
			"nothing behind it, not \"%s\"",
			bad_proxies[i]);
		refuses(text, sentence);
	}
	refuses("upper_ota_proxy: https://10.0.0.1:8082\n",
		"proxy_info.yaml, line 1: upper_ota_proxy must be a URL that begins with http://, "
		"the only way to speak to a proxy, not \"https://10.0.0.1:8082\"");
	refuses("enable_local_ota_proxy: 1\n",
		"proxy_info.yaml, line 1: enable_local_ota_proxy must be true or false, not 1");
	refuses("enable_local_ota_proxy: \"true\"\n",
		"proxy_info.yaml, line 1: enable_local_ota_proxy must be true or false, not "
		"\"true\"");
	refuses("local_ota_proxy_listen_port: 65536\n",
		"proxy_info.yaml, line 1: local_ota_proxy_listen_port must be a whole number from "
		"1 to "
		"65535, not 65536");
	refuses("local_ota_proxy_listen_addr: [a]\n",
		"proxy_info.yaml, line 1: local_ota_proxy_listen_addr must be an IP address, not a "
		"list");
	refuses("external_nfs_cache_mnt_point: cache\n",
		"proxy_info.yaml, line 1: external_nfs_cache_mnt_point must be an absolute path, "
		"not \"cache\"");
	refuses("", "proxy_info.yaml, line 1: the file must be a map of keys and values");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_main_ecu_of_the_examples_loads),
		cmocka_unit_test(the_secondary_ecu_of_the_examples_loads),
		cmocka_unit_test(the_file_in_the_root_of_the_tree_loads),
		cmocka_unit_test(downloads_go_the_way_of_the_table),
		cmocka_unit_test(without_a_file_the_local_proxy_runs),
		cmocka_unit_test(a_file_without_the_key_has_no_local_proxy),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(an_ipv6_address_gets_its_brackets),
		cmocka_unit_test(the_old_name_counts_unless_the_new_one_is_there),
		cmocka_unit_test(null_and_empty_switch_off),
		cmocka_unit_test(wrong_values_discard_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
