/*
 * test_service: an API that the system does not let begin. What it answers once it has: integration/test_api.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "otaclient/api/service.h"
#include "tests/unit/in_child.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

static int start(struct ota_err *ret_err)
{
	const struct api_config config = {.listen_ip = "127.0.0.1", .ecu_id = "main"};
	const struct request_handler handler = {0};
	AUTO_API_SERVICE struct api_service *service = NULL;

	return api_service_start(&config, NULL, &handler, &service, ret_err);
}

static int start_without_events(void *ctx)
{
	struct ota_err err = {0};

	CHECK(refusal_call(SYS_eventfd2, EMFILE) == 0);
	CHECK(start(&err) == -EMFILE);
	CHECK(sentence_is(&err, "Cannot start the API: no event descriptor: Too many open files"));
	return 0;
}

static void what_keeps_it_from_its_start_is_said(void **state)
{
	struct ota_err err = {0};
	int r;

	/* Before the library has threads that a child would miss. */
	assert_int_equal(in_child(start_without_events, NULL), 0);
	no_threads = true;
	r = start(&err);
	no_threads = false;
	assert_int_equal(r, -EAGAIN);
	assert_sentence(&err, "Cannot start the API's threads: Resource temporarily unavailable");
	assert_int_equal(err.code, OTA_E_STARTUP_FAILED);
	assert_int_equal(start(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_keeps_it_from_its_start_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
