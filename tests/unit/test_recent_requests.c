/*
 * recent_requests: for how long a request is known, and what makes two of them the same.
 */
#include "otaclient/api/recent_requests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
	T0 = 5000,
};
#define AUTO_LIST CLEANUP(list_freep)

static void list_freep(struct recent_requests **list)
{
	recent_requests_free(*list);
}

static void a_request_is_known_from_its_begin_for_its_time(void **state)
{
	AUTO_LIST struct recent_requests *list = recent_requests_new();

	(void)state;
	assert_false(recent_requests_has(list, API_UPDATE, "a", T0));
	assert_true(recent_requests_begin(list, API_UPDATE, "a", T0));
	assert_true(recent_requests_has(list, API_UPDATE, "a", T0));
	assert_false(recent_requests_begin(list, API_UPDATE, "a", T0));
	recent_requests_end(list, API_UPDATE, "a");
	assert_false(recent_requests_begin(list, API_UPDATE, "a", T0 + RECENT_REQUESTS_MS - 1));
	assert_false(recent_requests_has(list, API_UPDATE, "a", T0 + RECENT_REQUESTS_MS));
	assert_true(recent_requests_begin(list, API_UPDATE, "a", T0 + RECENT_REQUESTS_MS));
}

static void one_that_is_under_way_stays_known(void **state)
{
	AUTO_LIST struct recent_requests *list = recent_requests_new();
	char id[16];

	(void)state;
	assert_true(recent_requests_begin(list, API_UPDATE, "slow", T0));
	for (unsigned i = 0; i < 10 * RECENT_REQUESTS_MAX; i++) {
		snprintf(id, sizeof(id), "%u", i);
		assert_true(recent_requests_begin(list, API_UPDATE, id, T0 + i));
		recent_requests_end(list, API_UPDATE, id);
	}
	assert_true(recent_requests_has(list, API_UPDATE, "slow", T0 + 100 * RECENT_REQUESTS_MS));
	/* the oldest of the others have made room */
	assert_false(recent_requests_has(list, API_UPDATE, "0", T0 + 10 * RECENT_REQUESTS_MAX));
	assert_true(recent_requests_has(list, API_UPDATE, id, T0 + 10 * RECENT_REQUESTS_MAX));
}

static void an_abort_is_known_while_it_is_under_way_only(void **state)
{
	AUTO_LIST struct recent_requests *list = recent_requests_new();

	(void)state;
	assert_true(recent_requests_begin(list, API_ABORT, "a", T0));
	assert_true(recent_requests_has(list, API_ABORT, "a", T0 + 2 * RECENT_REQUESTS_MS));
	recent_requests_end(list, API_ABORT, "a");
	assert_false(recent_requests_has(list, API_ABORT, "a", T0));
	assert_true(recent_requests_begin(list, API_ABORT, "a", T0));
}

static void method_and_id_make_a_request(void **state)
{
	AUTO_LIST struct recent_requests *list = recent_requests_new();
	char id[3 * RECENT_REQUESTS_ID_MAX];

	(void)state;
	memset(id, 'x', sizeof(id));
	id[sizeof(id) - 1] = '\0';
	assert_true(recent_requests_begin(list, API_UPDATE, id, T0));
	assert_true(recent_requests_has(list, API_UPDATE, id, T0));
	assert_false(recent_requests_has(list, API_CLIENT_UPDATE, id, T0));
	assert_false(recent_requests_has(list, API_UPDATE, id + 1, T0));
	id[RECENT_REQUESTS_ID_MAX - 1] = 'y';
	assert_false(recent_requests_has(list, API_UPDATE, id, T0));
	assert_false(recent_requests_has(list, API_UPDATE, "", T0));
}

static void when_all_places_are_under_way_the_next_is_done_all_the_same(void **state)
{
	AUTO_LIST struct recent_requests *list = recent_requests_new();
	char id[16];

	(void)state;
	for (unsigned i = 0; i <= RECENT_REQUESTS_MAX; i++) {
		snprintf(id, sizeof(id), "%u", i);
		assert_true(recent_requests_begin(list, API_UPDATE, id, T0));
	}
	assert_false(recent_requests_has(list, API_UPDATE, id, T0));
	recent_requests_end(list, API_UPDATE, id);
	assert_true(recent_requests_has(list, API_UPDATE, "0", T0));
}

static void no_list_knows_nothing(void **state)
{
	(void)state;
	assert_true(recent_requests_begin(NULL, API_UPDATE, "a", T0));
	assert_true(recent_requests_begin(NULL, API_UPDATE, "a", T0));
	assert_false(recent_requests_has(NULL, API_UPDATE, "a", T0));
	recent_requests_end(NULL, API_UPDATE, "a");
	recent_requests_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_known_from_its_begin_for_its_time),
		cmocka_unit_test(one_that_is_under_way_stays_known),
		cmocka_unit_test(an_abort_is_known_while_it_is_under_way_only),
		cmocka_unit_test(method_and_id_make_a_request),
		cmocka_unit_test(when_all_places_are_under_way_the_next_is_done_all_the_same),
		cmocka_unit_test(no_list_knows_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
