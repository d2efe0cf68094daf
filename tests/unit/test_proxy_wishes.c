/*
 * proxy_wishes: what two who need the proxy make of it together. What the proxy is told is noted here.
 */
#include "otaclient/proxy/proxy_wishes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char told[4096]; /* "want; origins a b; drop; finish; " */
static int origins_result;

static void note(const char *text)
{
	strncat(told, text, sizeof(told) - strlen(told) - 1);
}

void proxy_child_want(struct proxy_child *c, bool wanted)
{
	note(wanted ? "want; " : "drop; ");
}

void proxy_child_finish(struct proxy_child *c)
{
	note("finish; ");
}

int proxy_child_origins(
	struct proxy_child *c, const char *const *origins, size_t n_origins, struct ota_err *err)
{
	note("origins");
	for (size_t i = 0; i < n_origins; i++) {
		note(" ");
		note(origins[i]);
	}
	note("; ");
	return origins_result;
}

static void assert_told(const char *text)
{
	assert_string_equal(told, text);
	told[0] = '\0';
}

static int add(struct proxy_wishes *w, enum proxy_wisher who, const char *origin)
{
	const char *const origins[] = {origin};

	return proxy_wishes_add(w, who, origins, origin ? 1 : 0, NULL);
}

static void the_servers_are_told_before_the_proxy_starts(void **state)
{
	AUTO_PROXY_WISHES struct proxy_wishes *w = proxy_wishes_new(NULL);

	(void)state;
	assert_int_equal(add(w, PROXY_FOR_UPDATE, "http://a"), 0);
	assert_told("origins http://a; want; ");
	proxy_wishes_drop(w, PROXY_FOR_UPDATE);
	assert_told("drop; ");
	/* what was named for an update that is over is not named again */
	assert_int_equal(add(w, PROXY_FOR_UPDATE, "http://b"), 0);
	assert_told("origins http://b; want; ");
}

static void nobody_takes_back_what_another_wants(void **state)
{
	AUTO_PROXY_WISHES struct proxy_wishes *w = proxy_wishes_new(NULL);

	(void)state;
	add(w, PROXY_FOR_CHILDREN, "http://a");
	add(w, PROXY_FOR_UPDATE, "http://b");
	assert_told("origins http://a; want; origins http://b http://a; want; ");
	proxy_wishes_drop(w, PROXY_FOR_UPDATE);
	proxy_wishes_finish(w);
	assert_told("");
	add(w, PROXY_FOR_CHILDREN, "http://c");
	assert_told("origins http://a http://c; want; ");
	proxy_wishes_drop(w, PROXY_FOR_CHILDREN);
	proxy_wishes_finish(w);
	assert_told("drop; finish; ");
}

static void a_wish_without_servers_leaves_the_list_as_it_is(void **state)
{
	AUTO_PROXY_WISHES struct proxy_wishes *w = proxy_wishes_new(NULL);

	(void)state;
	add(w, PROXY_FOR_CHILDREN, NULL);
	assert_told("want; ");
	add(w, PROXY_FOR_CHILDREN, "http://a");
	add(w, PROXY_FOR_CHILDREN, "http://a");
	add(w, PROXY_FOR_CHILDREN, NULL);
	assert_told("origins http://a; want; want; want; ");
	/* what the list had before is not known to whoever comes next */
	add(w, PROXY_FOR_UPDATE, "http://a");
	assert_told("origins http://a; want; ");
}

static void too_many_servers_are_an_error_and_the_wish_stands(void **state)
{
	AUTO_PROXY_WISHES struct proxy_wishes *w = proxy_wishes_new(NULL);
	char origin[32];
	struct ota_err err = {0};
	const char *const one_more[] = {"http://more"};

	(void)state;
	for (int i = 0; i < 64; i++) {
		snprintf(origin, sizeof(origin), "http://%d", i);
		assert_int_equal(add(w, PROXY_FOR_CHILDREN, origin), 0);
	}
	told[0] = '\0';
	assert_int_equal(proxy_wishes_add(w, PROXY_FOR_CHILDREN, one_more, 1, &err), -EINVAL);
	assert_string_equal(
		err.msg, "More than 64 servers are named, of which the proxy knows no more");
	assert_told("want; ");
	/* also when only both together are too many */
	assert_int_equal(proxy_wishes_add(w, PROXY_FOR_UPDATE, one_more, 1, &err), -EINVAL);
	assert_told("want; ");
}

static void a_list_that_cannot_be_written_is_an_error_and_the_wish_stands(void **state)
{
	AUTO_PROXY_WISHES struct proxy_wishes *w = proxy_wishes_new(NULL);

	(void)state;
	origins_result = -ENOSPC;
	assert_int_equal(add(w, PROXY_FOR_UPDATE, "http://a"), -ENOSPC);
	assert_told("origins http://a; want; ");
	origins_result = 0;
	/* the next one tries again */
	assert_int_equal(add(w, PROXY_FOR_UPDATE, "http://a"), 0);
	assert_told("origins http://a; want; ");
	proxy_wishes_drop(w, PROXY_FOR_UPDATE);
	assert_told("drop; ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_servers_are_told_before_the_proxy_starts),
		cmocka_unit_test(nobody_takes_back_what_another_wants),
		cmocka_unit_test(a_wish_without_servers_leaves_the_list_as_it_is),
		cmocka_unit_test(too_many_servers_are_an_error_and_the_wish_stands),
		cmocka_unit_test(a_list_that_cannot_be_written_is_an_error_and_the_wish_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
