/*
 * test_http_url: which URLs are asked for, and how they look in a sentence.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/net/http_url.h"

static void http_and_https_urls_are_fine(void **state)
{
	static const char *const urls[] = {"http://host", "HTTPS://host:8443/a%20b?x=1&y#z",
		"http://user:p%40w@host/", "http://10.0.0.1:80//dbl//slash/../dot",
		"https://[::1]:1/"};

	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct ota_err err = {0};

		if (http_url_check(urls[i], &err) < 0)
			fail_msg("%s", err.msg);
	}
}

static void other_urls_are_refused(void **state)
{
	/* clang-format off */
	static const struct {
		const char *url, *sentence;
	} rows[] = {
		{"",                     "The URL \"\" begins with neither http:// nor https://"},
		{"host",                 "The URL \"host\" begins with neither http:// nor https://"},
		{"ftp://host/",          "The URL \"ftp://host/\" begins with neither http:// nor https://"},
		{"http:/host",           "The URL \"http:/host\" begins with neither http:// nor https://"},
		{"http://",              "The URL \"http://\" has no host"},
		{"http://user@/",        "The URL \"http:///\" has no host"},
		{"http://:80/",          "The URL \"http://:80/\" has no host"},
		{"http://host/a b",      "The URL has the byte 0x20 at position 13, which no URL may have"},
		{"http://host/\n",       "The URL has the byte 0x0a at position 12, which no URL may have"},
		{"http://host/\x7f",     "The URL has the byte 0x7f at position 12, which no URL may have"},
		{"http://host/\xc3\xa9", "The URL has the byte 0xc3 at position 12, which no URL may have"},
		{"http://host:0x50/",    "The URL \"http://host:0x50/\" is malformed: Port number was not a "
					 "decimal number between 0 and 65535"},
		{"http://[::1/",         "The URL \"http://[::1/\" is malformed: Bad IPv6 address"},
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ota_err err = {0};

		if (http_url_check(rows[i].url, &err) != -EINVAL)
			fail_msg("%s was taken", rows[i].url);
		assert_string_equal(err.msg, rows[i].sentence);
		assert_int_equal(err.code, OTA_E_INVALID_REQUEST);
	}
}

static void a_long_url_is_refused(void **state)
{
	static char url[HTTP_URL_MAX_BYTES + 2] = "http://host/";
	char shown[HTTP_URL_TEXT_MAX], want[OTA_ERR_MSG_MAX];
	struct ota_err err = {0};

	memset(url + 12, 'a', sizeof(url) - 13);
	assert_int_equal(http_url_check(url, &err), -EINVAL);
	snprintf(want, sizeof(want), "The URL %s is longer than 16384 bytes",
		http_url_text(url, shown));
	assert_string_equal(err.msg, want);
	url[HTTP_URL_MAX_BYTES] = '\0';
	assert_int_equal(http_url_check(url, &err), 0);
}

static void a_proxy_is_asked_by_http(void **state)
{
	AUTO_FREE char *plain = http_url_for_request("HTTPS://host:8443/a", true);
	AUTO_FREE char *same = http_url_for_request("https://host/a", false);
	AUTO_FREE char *http = http_url_for_request("http://host/a", true);

	assert_string_equal(plain, "http://host:8443/a");
	assert_string_equal(same, "https://host/a");
	assert_string_equal(http, "http://host/a");
}

static void a_host_is_the_same_on_any_port(void **state)
{
	assert_true(http_url_same_host("http://host/a", "https://HOST:8443/b"));
	assert_true(http_url_same_host("http://u:p@host", "http://host?x"));
	assert_true(http_url_same_host("http://[::1]:1/", "http://[::1]/"));
	assert_false(http_url_same_host("http://host/", "http://host.example/"));
	assert_false(http_url_same_host("http://host.example/", "http://host/"));
	assert_false(http_url_same_host("http://a@evil/", "http://a/"));
	assert_false(http_url_same_host("http://[::1]/", "http://[::2]/"));
}

static void an_origin_is_scheme_host_and_port(void **state)
{
	/* URL, its origin */
	static const char *const pairs[][2] = {
		{"http://host",                     "http://host"          },
		{"HTTPS://Host:8443/a/b?x#y",       "https://Host:8443"    },
		{"http://u:p%40w@host:80?x=a@evil", "http://host:80"       },
		{"https://[fd00::1]:443/a:b@c",     "https://[fd00::1]:443"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		AUTO_FREE char *origin = http_url_origin(pairs[i][0]);

		assert_string_equal(origin, pairs[i][1]);
	}
}

static void sentences_have_no_secrets_and_keep_both_ends(void **state)
{
	char text[HTTP_URL_TEXT_MAX], url[600] = "https://user:secret@host/";

	assert_string_equal(
		http_url_text("https://u:secret@host/a?sig=secret", text), "https://host/a");
	assert_string_equal(http_url_text("no url", text), "no url");
	memset(url + strlen(url), 'a', 500);
	strcat(url, "end");
	http_url_text(url, text);
	assert_int_equal(strncmp(text, "https://host/aaa", 16), 0);
	assert_non_null(strstr(text, "..."));
	assert_string_equal(text + strlen(text) - 6, "aaaend");
	assert_true(strlen(text) < HTTP_URL_TEXT_MAX);
}

static void a_field_value_has_no_line_end(void **state)
{
	assert_true(http_text_is_field_value("a=1; b=\"2\""));
	assert_true(http_text_is_field_value(""));
	assert_false(http_text_is_field_value("a\r\nb"));
	assert_false(http_text_is_field_value("a\n"));
	assert_false(http_text_is_field_value("\x7f"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_and_https_urls_are_fine),
		cmocka_unit_test(other_urls_are_refused),
		cmocka_unit_test(a_long_url_is_refused),
		cmocka_unit_test(a_proxy_is_asked_by_http),
		cmocka_unit_test(a_host_is_the_same_on_any_port),
		cmocka_unit_test(an_origin_is_scheme_host_and_port),
		cmocka_unit_test(sentences_have_no_secrets_and_keep_both_ends),
		cmocka_unit_test(a_field_value_has_no_line_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
