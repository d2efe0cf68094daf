/*
 * test_hop: which redirects a proxy follows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "otaproxy/hop.h"

static bool is_self(void *ctx, const char *host, uint16_t port)
{
	return strcmp(host, "10.0.0.1") == 0 && port == 8082;
}

static const struct proxy_rules open_rules = {.is_self = is_self};

static struct proxy_rules rules_with(const char *list, struct origins **origins)
{
	struct proxy_rules rules = open_rules;
	struct ota_err err = {0};

	if (origins_parse(list, strlen(list), "list", origins, &err) < 0)
		fail_msg("%s", err.msg);
	rules.origins = *origins;
	return rules;
}

static void assert_refused(
	const struct proxy_rules *rules, const char *url, unsigned status, const char *sentence)
{
	struct ota_err err = {0};

	assert_int_equal(hop_refuse(rules, url, &err), status);
	assert_int_equal(err.errnum, -EACCES);
	assert_string_equal(err.msg, sentence);
}

static void assert_followed(const struct proxy_rules *rules, const char *url)
{
	struct ota_err err = {0};

	if (hop_refuse(rules, url, &err) != 0)
		fail_msg("%s: %s", url, err.msg);
}

static void without_a_list_all_but_ourselves_is_followed(void **state)
{
	assert_followed(&open_rules, "http://anywhere/x");
	assert_followed(&open_rules, "https://10.0.0.1/x");
	assert_refused(&open_rules, "http://10.0.0.1:8082/x", 508,
		"The redirect to 10.0.0.1 is not followed: it leads in a loop, to this proxy");
	assert_refused(&open_rules, "https://10.0.0.1:8082?x", 508,
		"The redirect to 10.0.0.1 is not followed: it leads in a loop, to this proxy");
	assert_refused(&open_rules, "http://a@b/", 502,
		"The redirect to another server is not followed: it is not clear which one");
	assert_refused(&open_rules, "http://0x7f.1/", 502,
		"The redirect to another server is not followed: it is not clear which one");
}

static void with_a_list_only_its_servers_are_followed(void **state)
{
	static const char sentence[] = "The redirect to image.example is not followed: it is none "
				       "of the servers that may be asked here";
	AUTO_ORIGINS struct origins *o = NULL;
	struct proxy_rules rules =
		rules_with("http://image.example\nhttps://safe.example\nhttp://h:81\n", &o);

	assert_followed(&rules, "http://image.example/x");
	assert_followed(&rules, "http://IMAGE.example:80#x");
	assert_followed(&rules, "https://image.example/x"); /* better than what is allowed */
	assert_followed(&rules, "https://safe.example:443/");
	assert_followed(&rules, "http://h:81/");
	assert_refused(&rules, "http://image.example:81/x", 403, sentence);
	assert_refused(&rules, "http://safe.example/", 403,
		"The redirect to safe.example is not followed: it is none of the servers that may "
		"be asked here");
	assert_refused(&rules, "http://h/", 403,
		"The redirect to h is not followed: it is none of the servers that may be asked "
		"here");
	assert_refused(&rules, "http://10.0.0.1:8082/", 508,
		"The redirect to 10.0.0.1 is not followed: it leads in a loop, to this proxy");
}

static void an_upper_proxy_knows_the_scheme(void **state)
{
	AUTO_ORIGINS struct origins *o = NULL;
	struct proxy_rules rules = rules_with("https://safe.example\n", &o);

	rules.has_upper = true;
	assert_followed(&rules, "http://safe.example/");
	assert_refused(&rules, "http://other.example/", 403,
		"The redirect to other.example is not followed: it is none of the servers that may "
		"be asked here");
}

static void while_the_list_is_not_known_none_is_followed(void **state)
{
	struct origins unknown = {0};
	struct proxy_rules rules = {.origins = &unknown};

	assert_refused(&rules, "http://h/", 503,
		"The redirect to h is not followed: which servers may be asked is not known yet");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_list_all_but_ourselves_is_followed),
		cmocka_unit_test(with_a_list_only_its_servers_are_followed),
		cmocka_unit_test(an_upper_proxy_knows_the_scheme),
		cmocka_unit_test(while_the_list_is_not_known_none_is_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
