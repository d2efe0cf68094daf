/*
 * test_authority: which servers' names are taken, and which of them mean the same server.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaproxy/authority.h"

static struct authority authority_of(const char *text)
{
	struct authority a = {0};

	if (authority_parse(text, strlen(text), &a) < 0)
		fail_msg("%s was refused", text);
	return a;
}

static void each_server_has_one_spelling(void **state)
{
	static const struct {
		const char *text, *origin;
	} cases[] = {
		{"host",                  "http://host"             },
		{"HOST.Example:8080",     "http://host.example:8080"},
		{"a_b-c.d:80",            "http://a_b-c.d"          },
		{"host:00080",            "http://host"             },
		{"10.0.0.1:65535",        "http://10.0.0.1:65535"   },
		{"[::1]:8082",            "http://[::1]:8082"       },
		{"[0:0:0:0:0:0:0:1]",     "http://[::1]"            },
		{"[FE80::A]",             "http://[fe80::a]"        },
		{"[::ffff:10.0.0.1]:443", "http://10.0.0.1:443"     },
		{"1st.example",           "http://1st.example"      },
		{"0xy",                   "http://0xy"              },
	};
	char text[AUTHORITY_ORIGIN_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct authority a = authority_of(cases[i].text);

		assert_string_equal(authority_origin(&a, false, text), cases[i].origin);
	}
}

static void what_names_no_server_is_refused(void **state)
{
	static const char *const texts[] = {"", ":80", "host:", "host:0", "host:65536",
		"host:123456", "host:8x", "host:+1", "host: 1", "host:1:2", "user@host", "a b",
		"a/b", "a\\b", "a%41", "a\xc3\xa9", ".host", "host.", "a..b", "a,b", "[::1", "[]",
		"[::1]x", "[::1]:", "[fe80::1%1]", "[10.0.0.1]", "::1", "127.1", "2130706433",
		"0x7f000001", "0x7f.1", "010.0.0.1", "1.2.3.256", "host.0x", "host.1"};
	struct authority a = {.port = 7};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (authority_parse(texts[i], strlen(texts[i]), &a) != -EINVAL)
			fail_msg("%s was taken", texts[i]);
	assert_int_equal(authority_parse("a\0b", 3, &a), -EINVAL);
	assert_int_equal(authority_parse("[::1\0]", 6, &a), -EINVAL);
	assert_int_equal(a.port, 7);
}

static void names_are_as_long_as_dns_has_them(void **state)
{
	char name[AUTHORITY_HOST_MAX + 1];
	struct authority a;

	memset(name, 'a', sizeof(name));
	assert_int_equal(authority_parse(name, AUTHORITY_LABEL_MAX_BYTES, &a), 0);
	assert_int_equal(authority_parse(name, AUTHORITY_LABEL_MAX_BYTES + 1, &a), -EINVAL);
	for (size_t i = 50; i < sizeof(name); i += 50)
		name[i] = '.';
	assert_int_equal(authority_parse(name, 253, &a), 0);
	assert_int_equal(authority_parse(name, 254, &a), -EINVAL);
}

static void the_longest_origin_fits(void **state)
{
	struct authority a = {.port = 65535, .is_ipv6 = true};
	char text[AUTHORITY_ORIGIN_MAX];

	memset(a.host, 'a', sizeof(a.host) - 1);
	assert_int_equal(strlen(authority_origin(&a, true, text)), AUTHORITY_ORIGIN_MAX - 1);
	assert_string_equal(text + strlen(text) - 7, "]:65535");
}

static void a_port_not_given_is_the_schemes(void **state)
{
	struct authority none = authority_of("Host"), https = authority_of("host:443");

	assert_true(authority_equal(&none, &https, true));
	assert_false(authority_equal(&none, &https, false));
	assert_int_equal(authority_port(&none, false), 80);
	assert_int_equal(authority_port(&https, false), 443);
	authority_normalise(&https, false);
	assert_int_equal(https.port, 443);
	authority_normalise(&https, true);
	assert_int_equal(https.port, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_server_has_one_spelling),
		cmocka_unit_test(what_names_no_server_is_refused),
		cmocka_unit_test(names_are_as_long_as_dns_has_them),
		cmocka_unit_test(the_longest_origin_fits),
		cmocka_unit_test(a_port_not_given_is_the_schemes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
