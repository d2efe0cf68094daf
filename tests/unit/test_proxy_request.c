/*
 * test_proxy_request: what is done about a request, from what came over the wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/proxy_request.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

enum {
	FIELDS_MAX = 8,
};

/* A test's request: target, and fields as "name", "value" pairs. */
struct bench {
	struct proxy_received in;
	struct proxy_field fields[FIELDS_MAX];
	struct proxy_rules rules;
	struct proxy_request q;
};

static bool is_proxy_local(void *ctx, const char *host, uint16_t port)
{
	return port == 8082 && (strcmp(host, "proxy.local") == 0 || strcmp(host, "fe80::1") == 0);
}

static void setup_bench(struct bench *b, const char *target, const char *host)
{
	*b = (struct bench){
		.in = {.method = "GET",
                       .target = target,
                       .version = "HTTP/1.1",
                       .local_address = "10.0.0.1:8082"},
		.rules = {.pseudonym = "otaproxy-1", .is_self = is_proxy_local},
	};
	b->in.fields = b->fields;
	if (host)
		b->fields[b->in.n_fields++] = (struct proxy_field){"host", host};
}

static void add_field(struct bench *b, const char *name, const char *value)
{
	assert_true(b->in.n_fields < FIELDS_MAX);
	b->fields[b->in.n_fields++] = (struct proxy_field){name, value};
}

static void decide(struct bench *b)
{
	proxy_request_done(&b->q);
	assert_int_equal(proxy_request_read(&b->in, &b->rules, &b->q), 0);
}

static void assert_fetched(struct bench *b, const char *url)
{
	decide(b);
	if (b->q.kind != PROXY_FETCH)
		fail_msg("%s: %u %s", b->in.target, b->q.http_status, b->q.sentence);
	assert_string_equal(b->q.url, url);
}

static void assert_refused(struct bench *b, unsigned http_status, const char *sentence)
{
	decide(b);
	if (b->q.kind != PROXY_REFUSE)
		fail_msg("%s was not refused", b->in.target);
	assert_string_equal(b->q.sentence, sentence);
	assert_int_equal(b->q.http_status, http_status);
	proxy_request_done(&b->q);
}

static void a_url_is_fetched_byte_for_byte(void **state)
{
	static const struct {
		const char *target, *host, *url;
	} cases[] = {
		{"http://h/a",                       "h",        "http://h/a"             },
		{"http://h",                         "h",        "http://h/"              },
		{"http://h?x=1",                     "h",        "http://h/?x=1"          },
		{"HTTP://H:80/A",                    "h",        "http://h/A"             },
		{"http://h/",                        " H:80\t",  "http://h/"              },
		{"http://h:8080/",                   "H:8080",   "http://h:8080/"         },
		{"https://h/a",                      "h:443",    "http://h/a"             },
		{"http://[::1]:1/",                  "[0::1]:1", "http://[::1]:1/"        },
		{"/a%20b?x=1&y=2",                   "h",        "http://h/a%20b?x=1&y=2" },
		{"/p%2Fq/%2e%2E/.././/plus+x~!*'()", "h:8080",
                 "http://h:8080/p%2Fq/%2e%2E/.././/plus+x~!*'()"                          },
		{"//evil/x",                         "h",        "http://h//evil/x"       },
		{"/http://evil/?@",                  "h",        "http://h/http://evil/?@"},
		{"http://h/@x",                      "h",        "http://h/@x"            },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench b;

		setup_bench(&b, cases[i].target, cases[i].host);
		assert_fetched(&b, cases[i].url);
		assert_false(b.q.head || b.q.never_stale || b.q.close);
		assert_int_equal(strncmp(b.q.url, b.q.origin, strlen(b.q.origin)), 0);
		proxy_request_done(&b.q);
	}
}

static void a_head_wants_no_body(void **state)
{
	struct bench b;

	setup_bench(&b, "http://h/a", "h");
	b.in.method = "HEAD";
	add_field(&b, "Range", "bytes=0-1");
	assert_fetched(&b, "http://h/a");
	assert_true(b.q.head);
	assert_int_equal(b.q.range.form, PROXY_RANGE_NONE);
	proxy_request_done(&b.q);
}

static void other_methods_are_refused(void **state)
{
	static const char *const methods[] = {"POST", "CONNECT", "OPTIONS", "get", ""};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		struct bench b;

		setup_bench(&b, "h:443", "h");
		b.in.method = methods[i];
		decide(&b);
		assert_true(b.q.close);
		assert_refused(&b, 400, "Only GET and HEAD are served here");
	}
}

static void other_versions_are_refused(void **state)
{
	struct bench b;

	setup_bench(&b, "/", "h");
	b.in.version = "HTTP/2.0";
	assert_refused(&b, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here");
}

static void a_request_whose_end_is_not_certain_ends_the_connection(void **state)
{
	static const struct {
		const char *name, *value, *sentence;
	} cases[] = {
		{"Content-Length",    "1",       "A request may have no body here"  },
		{"Content-Length",    "+0",      "A request may have no body here"  },
		{"Content-Length",    "",        "A request may have no body here"  },
		{"transfer-encoding", "chunked", "A request may have no body here"  },
		{"HOST",              "h",       "There is more than one Host field"},
		{"Content-Length ",   "0",       "A header field is malformed"      },
		{"",                  "x",       "A header field is malformed"      },
		{"X",                 "a\r\nb",  "A header field is malformed"      },
	};
	struct bench b;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		setup_bench(&b, "/", "h");
		add_field(&b, cases[i].name, cases[i].value);
		decide(&b);
		assert_true(b.q.close);
		assert_refused(&b, 400, cases[i].sentence);
	}
	setup_bench(&b, "/", "h");
	add_field(&b, "Content-Length", "0");
	assert_fetched(&b, "http://h/");
	add_field(&b, "content-length", "0");
	assert_refused(&b, 400, "There is more than one Content-Length field");
	setup_bench(&b, "/", "h");
	b.in.malformed = true;
	decide(&b);
	assert_true(b.q.close);
	assert_refused(&b, 400, "The header is malformed");
	b.in.too_many_fields = true;
	decide(&b);
	assert_true(b.q.close);
	assert_refused(&b, 431, "There are too many header fields");
	setup_bench(&b, "/a b", "h");
	decide(&b);
	assert_true(b.q.close);
}

static void a_wrong_target_or_host_is_refused(void **state)
{
	static const struct {
		const char *target, *host, *sentence;
	} cases[] = {
		{"/",               NULL,    "There is no Host field"                           },
		{"http://h/",       NULL,    "There is no Host field"                           },
		{"/",               "",      "The Host field is malformed"                      },
		{"/",               "a@h",   "The Host field is malformed"                      },
		{"/",               "h, h",  "The Host field is malformed"                      },
		{"/",               "h/x",   "The Host field is malformed"                      },
		{"/",               "h:0",   "The Host field is malformed"                      },
		{"http://h/",       "g",     "The Host field is another than the URL's"         },
		{"http://h/",       "h:443", "The Host field is another than the URL's"         },
		{"https://h/",      "h:80",  "The Host field is another than the URL's"         },
		{"http://u:p@h/",   "h",     "The URL has a user name, which it may not have"   },
		{"http://h\\@g/",   "h",     "The URL has a user name, which it may not have"   },
		{"http://h\\g/",    "h",     "The host or port of the URL is malformed"         },
		{"http:///x",       "h",     "The host or port of the URL is malformed"         },
		{"http://h:99999/", "h",     "The host or port of the URL is malformed"         },
		{"http://h%41/",    "h",     "The host or port of the URL is malformed"         },
		{"",                "h",     "The URL is neither a path nor http:// or https://"},
		{"*",               "h",     "The URL is neither a path nor http:// or https://"},
		{"h:80",            "h",     "The URL is neither a path nor http:// or https://"},
		{"file:///x",       "h",     "The URL is neither a path nor http:// or https://"},
		{"http:/h",         "h",     "The URL is neither a path nor http:// or https://"},
		{"/a b",            "h",     "The URL has a character that must be encoded"     },
		{"/a\tb",           "h",     "The URL has a character that must be encoded"     },
		{"/a\r\nX: y",      "h",     "The URL has a character that must be encoded"     },
		{"/a#b",            "h",     "The URL has a character that must be encoded"     },
		{"/\x7f",           "h",     "The URL has a character that must be encoded"     },
		{"/\xc3\xa9",       "h",     "The URL has a character that must be encoded"     },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench b;

		setup_bench(&b, cases[i].target, cases[i].host);
		assert_refused(&b, 400, cases[i].sentence);
	}
}

static void what_is_too_long_is_refused(void **state)
{
	static char target[PROXY_TARGET_MAX_BYTES + 2], value[PROXY_HEADER_MAX_BYTES + 1];
	struct bench b;

	memset(target, 'a', sizeof(target) - 1);
	target[0] = '/';
	setup_bench(&b, target, "h");
	decide(&b);
	assert_true(b.q.close);
	assert_refused(&b, 414, "The URL is too long");
	target[PROXY_TARGET_MAX_BYTES] = '\0';
	decide(&b);
	assert_int_equal(b.q.kind, PROXY_FETCH);
	assert_int_equal(http_url_check(b.q.url, NULL), 0);
	memset(value, 'a', sizeof(value) - 1);
	add_field(&b, "X", value);
	assert_refused(&b, 431, "The header fields are too long");
	b.fields[1].name = "Cookie";
	value[PROXY_SECRET_MAX_BYTES + 1] = '\0';
	assert_refused(&b, 431, "The Cookie field is too long");
	value[PROXY_SECRET_MAX_BYTES] = '\0';
	decide(&b);
	assert_int_equal(b.q.kind, PROXY_FETCH);
	assert_int_equal(strlen(b.q.cookie), PROXY_SECRET_MAX_BYTES);
	proxy_request_done(&b.q);
}

static void the_status_page_is_our_own_root(void **state)
{
	static const char *const hosts[] = {
		"10.0.0.1:8082", "[::ffff:10.0.0.1]:8082", "Proxy.Local:8082", "[FE80::1]:8082"};
	struct bench b;

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		setup_bench(&b, "/", hosts[i]);
		decide(&b);
		assert_int_equal(b.q.kind, PROXY_STATUS_PAGE);
		b.in.target = "/index.html";
		assert_refused(&b, 400, "This is a proxy, which has no files of its own");
		b.in.target = "/?";
		assert_refused(&b, 400, "This is a proxy, which has no files of its own");
	}
	setup_bench(&b, "/", "10.0.0.1:8083");
	assert_fetched(&b, "http://10.0.0.1:8083/");
	b.in.local_address = NULL;
	b.rules.is_self = NULL;
	b.fields[0].value = "10.0.0.1:8082";
	assert_fetched(&b, "http://10.0.0.1:8082/");
	proxy_request_done(&b.q);
}

static void a_loop_is_refused(void **state)
{
	struct bench b;

	setup_bench(&b, "http://proxy.local:8082/", "proxy.local:8082");
	assert_refused(&b, 508, "The request goes in a loop: it asks this proxy for itself");
	setup_bench(&b, "http://h/", "h");
	add_field(&b, "Via", "1.1 otaproxy-12, 1.1 x (y)");
	assert_fetched(&b, "http://h/");
	add_field(&b, "via", "1.0 other,1.1 OTAPROXY-1 (c)");
	assert_refused(&b, 508, "The request goes in a loop: it was here before");
}

static void whom_it_has_passed_is_handed_on(void **state)
{
	struct bench b;

	setup_bench(&b, "http://h/", "h");
	add_field(&b, "Via", "1.1 x (y)");
	add_field(&b, "Via", "1.0 z");
	assert_fetched(&b, "http://h/");
	assert_string_equal(b.q.via.text, "1.1 x, 1.0 z");
	for (unsigned i = 0; i < 5; i++)
		add_field(&b, "Via", "1.1 a, 1.1 b, 1.1 c");
	assert_refused(&b, 508, "The request has passed too many proxies");
}

static struct origins *list_of(const char *text)
{
	struct origins *o = NULL;

	assert_int_equal(origins_parse(text, strlen(text), "list", &o, NULL), 0);
	return o;
}

static void only_listed_servers_are_asked_and_as_the_list_says(void **state)
{
	AUTO_ORIGINS struct origins *list = list_of("https://s\nhttp://p:8080\nhttps://t:8443\n");
	struct bench b;

	setup_bench(&b, "http://s/a", "s");
	b.rules.origins = list;
	assert_fetched(&b, "https://s/a");
	assert_string_equal(b.q.origin, "https://s");
	b.in.target = "https://p:8080/a";
	b.fields[0].value = "p:8080";
	b.rules.https = true;
	assert_fetched(&b, "http://p:8080/a");
	b.in.target = "/a";
	b.fields[0].value = "other";
	assert_refused(&b, 403, "The server other is none of those that may be asked here");
	b.fields[0].value = "s:8080";
	assert_refused(&b, 403, "The server s is none of those that may be asked here");
	b.fields[0].value = "t:8443";
	assert_fetched(&b, "https://t:8443/a");
	proxy_request_done(&b.q);
}

static void an_upper_proxy_is_asked_by_http(void **state)
{
	AUTO_ORIGINS struct origins *list = list_of("https://s\nhttps://t:8443\n");
	struct bench b;

	setup_bench(&b, "/a", "s");
	b.rules.has_upper = true;
	b.rules.https = true;
	assert_fetched(&b, "http://s/a");
	assert_string_equal(b.q.origin, "https://s");
	b.rules.origins = list;
	assert_fetched(&b, "http://s/a");
	assert_string_equal(b.q.origin, "https://s");
	b.fields[0].value = "t:8443";
	assert_fetched(&b, "http://t:8443/a");
	proxy_request_done(&b.q);
}

static void before_the_list_is_known_a_client_is_asked_to_come_again(void **state)
{
	struct origins unknown = {.known = false};
	struct bench b;

	setup_bench(&b, "/a", "s");
	b.rules.origins = &unknown;
	decide(&b);
	assert_true(b.q.retry_later);
	assert_false(b.q.close);
	assert_refused(&b, 503, "Which servers may be asked is not known yet");
	setup_bench(&b, "/", "10.0.0.1:8082");
	b.rules.origins = &unknown;
	decide(&b);
	assert_int_equal(b.q.kind, PROXY_STATUS_PAGE);
}

static void without_a_list_the_scheme_is_configured(void **state)
{
	struct bench b;

	setup_bench(&b, "http://h:8080/a", "h:8080");
	b.rules.https = true;
	assert_fetched(&b, "https://h:8080/a");
	b.in.target = "/a";
	b.fields[0].value = "h:443";
	assert_fetched(&b, "https://h/a");
	proxy_request_done(&b.q);
}

static void the_names_of_signed_metadata_are_never_stale(void **state)
{
	static const struct {
		const char *target;
		bool never_stale;
	} cases[] = {
		{"/metadata.jwt",         true },
		{"/a/b/index.jwt?x=/y",   true },
		{"/a%2Foci-layout",       true },
		{"/%6detadata%2ejwt",     true },
		{"/%6Detadata.jw%74",     true },
		{"http://h/metadata.jwt", true },
		{"/metadata.jwt/",        false},
		{"/metadata.jwt/x",       false},
		{"/xmetadata.jwt",        false},
		{"/metadata.jwtx",        false},
		{"/metadata.jwt%00",      false},
		{"/metadata.jw",          false},
		{"/metadata.jwt%2",       false},
		{"/x?/metadata.jwt",      false},
		{"/Metadata.jwt",         false},
		{"http://h?metadata.jwt", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench b;

		setup_bench(&b, cases[i].target, "h");
		decide(&b);
		assert_int_equal(b.q.kind, PROXY_FETCH);
		if (b.q.never_stale != cases[i].never_stale)
			fail_msg("%s", cases[i].target);
		proxy_request_done(&b.q);
	}
}

static void a_range_is_one_or_none(void **state)
{
	static const struct {
		const char *text;
		struct proxy_range range;
	} cases[] = {
		{"bytes=0-9",                   {PROXY_RANGE_BETWEEN, 0, 9, 0}      },
		{" Bytes=5-5 ",                 {PROXY_RANGE_BETWEEN, 5, 5, 0}      },
		{"bytes=7-",                    {PROXY_RANGE_FROM, 7, 0, 0}         },
		{"bytes=-3",                    {PROXY_RANGE_SUFFIX, 0, 0, 3}       },
		{"bytes=-0",                    {PROXY_RANGE_SUFFIX, 0, 0, 0}       },
		{"bytes=18446744073709551615-", {PROXY_RANGE_FROM, UINT64_MAX, 0, 0}},
		{"bytes=18446744073709551616-", {0}                                 },
		{"bytes=9-0",                   {0}				 },
		{"bytes=0-1,3-4",               {0}                                 },
		{"bytes=0-1,",                  {0}                                 },
		{"bytes=-",                     {0}				 },
		{"bytes=",                      {0}				 },
		{"bytes=+1-2",                  {0}                                 },
		{"bytes= 1-2",                  {0}                                 },
		{"bytes=1-2 3",                 {0}                                 },
		{"bytes=--1",                   {0}				 },
		{"bytes",                       {0}				 },
		{"items=0-1",                   {0}				 },
		{"",			    {0}				 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench b;

		setup_bench(&b, "/", "h");
		add_field(&b, "Range", cases[i].text);
		assert_fetched(&b, "http://h/");
		if (memcmp(&b.q.range, &cases[i].range, sizeof(b.q.range)) != 0)
			fail_msg("%s", cases[i].text);
		assert_null(b.q.if_range);
		proxy_request_done(&b.q);
	}
}

static void a_range_may_have_one_condition(void **state)
{
	char text[PROXY_IF_RANGE_MAX_BYTES + 2];
	struct bench b;

	setup_bench(&b, "/", "h");
	add_field(&b, "If-Range", " \"abc\" ");
	assert_fetched(&b, "http://h/");
	assert_null(b.q.if_range);
	add_field(&b, "Range", "bytes=1-");
	assert_fetched(&b, "http://h/");
	assert_string_equal(b.q.if_range, "\"abc\"");
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	b.fields[1].value = text;
	assert_fetched(&b, "http://h/");
	assert_null(b.q.if_range);
	assert_int_equal(b.q.range.form, PROXY_RANGE_NONE);
	b.fields[1].value = "\"abc\"";
	add_field(&b, "Range", "bytes=1-");
	assert_fetched(&b, "http://h/");
	assert_int_equal(b.q.range.form, PROXY_RANGE_NONE);
	b.fields[3].name = "If-Range";
	assert_fetched(&b, "http://h/");
	assert_int_equal(b.q.range.form, PROXY_RANGE_NONE);
	proxy_request_done(&b.q);
}

static void secrets_are_handed_on_when_they_are_clear(void **state)
{
	struct bench b;

	setup_bench(&b, "/", "h");
	assert_fetched(&b, "http://h/");
	assert_null(b.q.authorization);
	assert_null(b.q.cookie);
	add_field(&b, "authorization", " Bearer x ");
	add_field(&b, "COOKIE", "a=1; b=2");
	assert_fetched(&b, "http://h/");
	assert_string_equal(b.q.authorization, "Bearer x");
	assert_string_equal(b.q.cookie, "a=1; b=2");
	add_field(&b, "Cookie", "c=3");
	assert_refused(&b, 400, "There is more than one Cookie field");
	b.fields[3] = (struct proxy_field){"Authorization", "Bearer y"};
	assert_refused(&b, 400, "There is more than one Authorization field");
	b.fields[3] = (struct proxy_field){"X", "y"};
	b.fields[2].value = "a\tb";
	assert_refused(&b, 400, "The Cookie field has control characters");
}

static void the_cache_is_told_what_the_client_wants(void **state)
{
	struct bench b;

	setup_bench(&b, "/", "h");
	add_field(&b, "OTA-File-Cache-Control", "retry_caching,file_sha256=" HEX_A);
	add_field(&b, "ota-file-cache-control", "file_compression_alg=zst");
	assert_fetched(&b, "http://h/");
	assert_true(b.q.cache_control.retry_caching && b.q.cache_control.has_digest);
	assert_int_equal(b.q.cache_control.alg, CACHE_ALG_ZST);
	b.fields[2].value = "file_sha256=x";
	assert_refused(&b, 400, "The file_sha256 of ota-file-cache-control is not 64 hex digits");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_url_is_fetched_byte_for_byte),
		cmocka_unit_test(a_head_wants_no_body),
		cmocka_unit_test(other_methods_are_refused),
		cmocka_unit_test(other_versions_are_refused),
		cmocka_unit_test(a_request_whose_end_is_not_certain_ends_the_connection),
		cmocka_unit_test(a_wrong_target_or_host_is_refused),
		cmocka_unit_test(what_is_too_long_is_refused),
		cmocka_unit_test(the_status_page_is_our_own_root),
		cmocka_unit_test(a_loop_is_refused),
		cmocka_unit_test(whom_it_has_passed_is_handed_on),
		cmocka_unit_test(only_listed_servers_are_asked_and_as_the_list_says),
		cmocka_unit_test(an_upper_proxy_is_asked_by_http),
		cmocka_unit_test(before_the_list_is_known_a_client_is_asked_to_come_again),
		cmocka_unit_test(without_a_list_the_scheme_is_configured),
		cmocka_unit_test(the_names_of_signed_metadata_are_never_stale),
		cmocka_unit_test(a_range_is_one_or_none),
		cmocka_unit_test(a_range_may_have_one_condition),
		cmocka_unit_test(secrets_are_handed_on_when_they_are_clear),
		cmocka_unit_test(the_cache_is_told_what_the_client_wants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
