/*
 * test_proxy_server: a server that the system does not let begin. What it does once it has: integration/test_otaproxy.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "otaproxy/proxy_server.h"
#include "tests/unit/in_child.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

static int start(struct ota_err *ret_err)
{
	const struct proxy_server_config config = {.listen_addr = "127.0.0.1"};
	struct proxy_server *server = NULL;
	struct proxy proxy = {0};

	return proxy_server_start(&config, &proxy, &server, ret_err);
}

static int start_without_another_descriptor(void *ctx)
{
	struct ota_err err = {0};

	CHECK(refusal_call_with(SYS_fcntl, 1, F_DUPFD_CLOEXEC, EMFILE) == 0);
	CHECK(start(&err) == -EMFILE);
	CHECK(sentence_is(&err, "Cannot start the HTTP server: Too many open files"));
	return 0;
}

static int start_without_epoll(void *ctx)
{
	struct ota_err err = {0};

	CHECK(refusal_call(SYS_epoll_create1, ENFILE) == 0);
	CHECK(start(&err) == -EIO);
	CHECK(sentence_is(&err, "Cannot start the HTTP server: Too many open files in system"));
	return 0;
}

static void what_keeps_it_from_its_start_is_said(void **state)
{
	struct ota_err err = {0};

	assert_int_equal(in_child(start_without_another_descriptor, NULL), 0);
	assert_int_equal(in_child(start_without_epoll, NULL), 0);
	no_threads = true;
	assert_int_equal(start(&err), -EAGAIN);
	no_threads = false;
	assert_sentence(&err, "Cannot start a thread: Resource temporarily unavailable");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_keeps_it_from_its_start_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
