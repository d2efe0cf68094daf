/*
 * The way that downloads take, and what the local proxy is told: the whole decision, from the text of proxy_info.yaml
 * on. Nothing is started: proxy_child_new() is the test's.
 */
#include "otaclient/own_proxy.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"

static struct own_proxy proxy; /* of the last choose(), with what it has read */
static struct settings settings;
static struct proxy_info info;
static struct proxy_child_config told;
static unsigned n_made;
static char log_text[2048];

int __wrap_proxy_child_new(const struct proxy_child_config *config, struct proxy_child **ret_child,
	struct ota_err *err);
int __wrap_proxy_child_new(const struct proxy_child_config *config, struct proxy_child **ret_child,
	struct ota_err *err)
{
	told = *config;
	n_made++;
	return 0;
}

static void keep_log(void *ctx, const struct log_entry *entry)
{
	snprintf(log_text, sizeof(log_text), "%s", entry->text);
}

/* @info_text: NULL: there is no such file. */
static const char *choose(const char *info_text, const char *settings_text)
{
	own_proxy_done(&proxy);
	proxy = (struct own_proxy){0};
	told = (struct proxy_child_config){0};
	n_made = 0;
	log_text[0] = '\0';
	settings_parse(
		settings_text, strlen(settings_text), "otaclient.yaml", NULL, NULL, &settings);
	if (info_text)
		proxy_info_parse(
			info_text, strlen(info_text), "proxy_info.yaml", NULL, NULL, &info);
	else
		proxy_info_load("/nowhere/proxy_info.yaml", NULL, NULL, &info);
	own_proxy_choose(&proxy, &info, &settings, settings.log_level);
	return proxy.url;
}

#define RUNS_ONE "{proxy_program: /bin/true, proxy_user: ''}"

static void downloads_take_the_way_of_the_table(void **state)
{
	/* clang-format off */
	static const struct {
		const char *proxy_info;
		const char *way;   /* of our own downloads; "" = straight to the server */
		unsigned n_made;
		const char *upper; /* what the local proxy asks; NULL = the server */
		bool no_cache, use_origins;
	} rows[] = {
		/* enable_local_ota_proxy × upper_ota_proxy */
		{"{enable_local_ota_proxy: true, upper_ota_proxy: 'http://192.168.20.11:8082'}",
			"http://127.0.0.1:8082", 1, "http://192.168.20.11:8082", true, false},
		{"{enable_local_ota_proxy: true}", "http://127.0.0.1:8082", 1, NULL, false, true},
		{"{enable_local_ota_proxy: false, upper_ota_proxy: 'http://192.168.20.11:8082'}",
			"http://192.168.20.11:8082", 0, NULL, false, false},
		{"{enable_local_ota_proxy: false}", "", 0, NULL, false, false},
		/* A server of https is asked by https, because the origin says so; gateway has no say. */
		{"{enable_local_ota_proxy: true, gateway: true}", "http://127.0.0.1:8082", 1, NULL, false, true},
		{"{enable_local_ota_proxy: true, gateway: false}", "http://127.0.0.1:8082", 1, NULL, false, true},
		{"{gateway: true}", "", 0, NULL, false, false},
		{"{enable_local_ota_proxy: true, enable_local_ota_proxy_cache: false}",
			"http://127.0.0.1:8082", 1, NULL, true, true},
		/* Without a file, or with a wrong one, the proxy runs. */
		{NULL, "http://127.0.0.1:8082", 1, NULL, false, true},
		{"{enable_local_ota_proxy: maybe}", "http://127.0.0.1:8082", 1, NULL, false, true},
		{"{}", "", 0, NULL, false, false},
	};
	/* clang-format on */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *way = choose(rows[i].proxy_info, RUNS_ONE);

		if (strcmp(way, rows[i].way) != 0 || n_made != rows[i].n_made)
			fail_msg("row %zu: %s, %u made", i, way, n_made);
		if (n_made == 0)
			continue;
		assert_int_equal(told.no_cache, rows[i].no_cache);
		assert_int_equal(told.use_origins, rows[i].use_origins);
		assert_false(told.https);
		if (rows[i].upper)
			assert_string_equal(told.upper_proxy, rows[i].upper);
		else
			assert_null(told.upper_proxy);
	}
}

static void the_proxy_is_told_what_the_files_say(void **state)
{
	choose("{enable_local_ota_proxy: true, local_ota_proxy_listen_addr: 192.168.20.1, "
	       "local_ota_proxy_listen_port: 9000, external_nfs_cache_mnt_point: /mnt/cache}",
		"{proxy_program: /bin/true, proxy_user: '', proxy_cache_dir: /data/cache, run_dir: "
		"/run/x, tls_ca: /ca.pem, log_level: debug}");
	assert_int_equal(n_made, 1);
	assert_string_equal(proxy.url, "http://192.168.20.1:9000");
	assert_string_equal(told.program, "/bin/true");
	assert_string_equal(told.listen_addr, "192.168.20.1");
	assert_int_equal(told.port, 9000);
	assert_string_equal(told.cache_dir, "/data/cache");
	assert_string_equal(told.run_dir, "/run/x");
	assert_string_equal(told.tls_ca, "/ca.pem");
	assert_string_equal(told.log_level, "debug");
	assert_string_equal(told.external_folder, "/mnt/cache");
	assert_true(told.external_disk);
	assert_null(told.user);
}

static void caches_beside_its_own_are_for_a_proxy_that_keeps(void **state)
{
	choose("{enable_local_ota_proxy: true, upper_ota_proxy: 'http://10.0.0.1:8082', "
	       "external_nfs_cache_mnt_point: /mnt/cache}",
		RUNS_ONE);
	assert_int_equal(n_made, 1);
	assert_null(told.external_folder);
	assert_false(told.external_disk);
	choose("{enable_local_ota_proxy: true}",
		"{proxy_program: /bin/true, proxy_user: '', proxy_external_disk: false}");
	assert_false(told.external_disk);
}

static void a_proxy_that_cannot_run_is_passed_by(void **state)
{
	assert_string_equal(
		choose("{enable_local_ota_proxy: true, upper_ota_proxy: 'http://10.0.0.1:8082'}",
			"{proxy_program: /bin/nothing}"),
		"http://10.0.0.1:8082");
	assert_int_equal(n_made, 0);
	assert_string_equal(log_text, "This ECU runs no proxy, downloads go through the upper one: "
				      "/bin/nothing cannot be executed: No such file or directory");
	assert_string_equal(choose(NULL, "{proxy_program: /bin/nothing}"), "");
	assert_string_equal(log_text,
		"This ECU runs no proxy, downloads go straight to the server: "
		"/bin/nothing cannot be executed: No such file or directory");
}

static int forget(void **state)
{
	own_proxy_done(&proxy);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(downloads_take_the_way_of_the_table),
		cmocka_unit_test(the_proxy_is_told_what_the_files_say),
		cmocka_unit_test(caches_beside_its_own_are_for_a_proxy_that_keeps),
		cmocka_unit_test(a_proxy_that_cannot_run_is_passed_by),
	};

	log_set_sink(keep_log, NULL);
	return cmocka_run_group_tests(tests, NULL, forget);
}
