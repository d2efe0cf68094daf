/*
 * test_service: an API that the system does not let begin, or whose library does not let it read. What it answers else:
 * integration/test_api.py. On the loopback.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>

#include "common/base/cleanup.h"
#include "otaclient/api/peer.h"
#include "otaclient/api/service.h"
#include "tests/unit/in_child.h"
#include "tests/unit/no_threads.h"
#include "tests/unit/refusal.h"
#include "tests/unit/sentence.h"

enum {
	PATIENCE_MS = 20 * 1000, /* for what takes far less */
};

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

static void one_that_has_no_thread_to_stop_it_does_not_run(void **state)
{
	const struct api_config config = {.listen_ip = "127.0.0.1", .ecu_id = "main"};
	const struct request_handler handler = {0};
	AUTO_API_SERVICE struct api_service *service = NULL;
	struct ota_err err = {0};
	int r;

	assert_int_equal(api_service_start(&config, NULL, &handler, &service, &err), 0);
	no_threads = true;
	r = api_service_run(service, &err);
	no_threads = false;
	assert_int_equal(r, -EAGAIN);
	assert_sentence(
		&err, "Cannot start a thread for the API: Resource temporarily unavailable");
	assert_int_equal(err.code, OTA_E_STARTUP_FAILED);
}

/* How often the library gives the bytes of a message before it does not; -1 = always. */
static atomic_int n_readable = -1;

int __real_grpc_byte_buffer_reader_init(grpc_byte_buffer_reader *reader, grpc_byte_buffer *buffer);
int __wrap_grpc_byte_buffer_reader_init(grpc_byte_buffer_reader *reader, grpc_byte_buffer *buffer);
int __wrap_grpc_byte_buffer_reader_init(grpc_byte_buffer_reader *reader, grpc_byte_buffer *buffer)
{
	if (n_readable >= 0 && n_readable-- == 0)
		return 0;
	return __real_grpc_byte_buffer_reader_init(reader, buffer);
}

static void *serve(void *ctx)
{
	assert_int_equal(api_service_run(ctx, NULL), 0);
	return NULL;
}

static void a_message_whose_bytes_are_not_given_is_refused(void **state)
{
	const struct api_config config = {.listen_ip = "127.0.0.1", .ecu_id = "main"};
	const struct request_handler handler = {0};
	struct peer_address address = {.host = "127.0.0.1"};
	const struct wire_request request = {0};
	AUTO_API_SERVICE struct api_service *service = NULL;
	AUTO_WIRE_ANSWER struct wire_answer answer = {0};
	struct ota_err err = {0};
	pthread_t thread;

	assert_int_equal(api_service_start(&config, NULL, &handler, &service, &err), 0);
	address.port = api_service_port(service);
	assert_int_equal(pthread_create(&thread, NULL, serve, service), 0);
	peer_open();
	n_readable = 0; /* the server's */
	assert_int_equal(
		peer_ask(&address, API_ABORT, &request, PATIENCE_MS, &answer, &err), -EINVAL);
	assert_sentence(&err,
		"127.0.0.1:%u did not answer Abort: Cannot read the message: Bad message",
		(unsigned)address.port);
	n_readable = 1; /* the client's */
	err = (struct ota_err){0};
	assert_int_equal(
		peer_ask(&address, API_ABORT, &request, PATIENCE_MS, &answer, &err), -EBADMSG);
	assert_sentence(&err, "Cannot read the answer of 127.0.0.1:%u to Abort: Bad message",
		(unsigned)address.port);
	assert_int_equal(peer_ask(&address, API_ABORT, &request, PATIENCE_MS, &answer, NULL), 0);
	peer_close();
	api_service_stop(service);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_keeps_it_from_its_start_is_said),
		cmocka_unit_test(one_that_has_no_thread_to_stop_it_does_not_run),
		cmocka_unit_test(a_message_whose_bytes_are_not_given_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
