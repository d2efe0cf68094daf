/*
 * unary: one call to a gRPC server. Contract: unary.h.
 */
#include "otaclient/api/unary.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "otaclient/api/grpc_door.h"
#include "otaclient/status/text.h"

enum {
	GIVE_UP_POLL_MS = 50,
};

/* A call and what comes back from it. */
struct exchange {
	grpc_completion_queue *queue;
	grpc_call *call;
	grpc_byte_buffer *request, *answer;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
};
#define AUTO_EXCHANGE CLEANUP(exchange_done)

static void exchange_done(struct exchange *x)
{
	if (x->call)
		grpc_call_unref(x->call);
	if (x->queue) {
		grpc_completion_queue_shutdown(x->queue);
		grpc_completion_queue_destroy(x->queue); /* a queue for pluck needs no drain */
	}
	grpc_byte_buffer_destroy(x->request);
	grpc_byte_buffer_destroy(x->answer);
	grpc_metadata_array_destroy(&x->initial);
	grpc_metadata_array_destroy(&x->trailing);
	grpc_slice_unref(x->details);
}

static gpr_timespec in_ms(uint32_t ms)
{
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

/* No proxy and no look-ups that are not needed to reach a neighbour; nothing shared with earlier calls. */
grpc_channel *unary_channel(const char *address)
{
	grpc_arg args[] = {
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_ENABLE_HTTP_PROXY},                 {.integer = 0}},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION},
                 {.integer = 1}									},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL},         {.integer = 1}},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_ENABLE_RETRIES},                    {.integer = 0}},
	};
	const grpc_channel_args channel_args = {ARRAY_SIZE(args), args};
	grpc_channel_credentials *plain = grpc_insecure_credentials_create();
	grpc_channel *channel = grpc_channel_create(address, plain, &channel_args);

	grpc_channel_credentials_release(plain);
	return channel;
}

/* The library wraps the kernel's words in its own; people need the last of them. */
static const char *last_words(const char *details)
{
	const char *colon = NULL;

	if (strncmp(details, "failed to connect", 17) != 0 &&
		strncmp(details, "DNS resolution", 14) != 0)
		return details;
	for (const char *p = details; (p = strstr(p, ": ")); p += 2)
		colon = p;
	return colon ? colon + 2 : details;
}

static int error_of(
	const struct exchange *x, const char *address, const char *method, struct ota_err *err)
{
	static const struct {
		grpc_status_code status;
		int errnum;
	} rows[] = {
		{GRPC_STATUS_UNAVAILABLE,       -EAGAIN    },
		{GRPC_STATUS_DEADLINE_EXCEEDED, -ETIMEDOUT },
		{GRPC_STATUS_INVALID_ARGUMENT,  -EINVAL    },
		{GRPC_STATUS_UNIMPLEMENTED,     -EOPNOTSUPP},
	};
	AUTO_FREE char *details = strndup(
		(const char *)GRPC_SLICE_START_PTR(x->details), GRPC_SLICE_LENGTH(x->details));
	int errnum = -EIO;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].status == x->status)
			errnum = rows[i].errnum;
	if (errnum == -ETIMEDOUT)
		return ota_err_set(err, errnum, OTA_E_NETWORK, "%s did not answer %s in time",
			address, method);
	if (details)
		text_repair(details);
	return ota_err_set(err, errnum, OTA_E_NETWORK, "%s did not answer %s: %s%s", address,
		method, errnum == -EOPNOTSUPP ? "UNIMPLEMENTED, " : "",
		details && details[0] ? last_words(details) : "no reason given");
}

/* Send the request, take the answer: one batch of operations, one event. */
static bool start_batch(struct exchange *x)
{
	grpc_op ops[6] = {0};

	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[1].op = GRPC_OP_SEND_MESSAGE;
	ops[1].data.send_message.send_message = x->request;
	ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &x->initial;
	ops[4].op = GRPC_OP_RECV_MESSAGE;
	ops[4].data.recv_message.recv_message = &x->answer;
	ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[5].data.recv_status_on_client.trailing_metadata = &x->trailing;
	ops[5].data.recv_status_on_client.status = &x->status;
	ops[5].data.recv_status_on_client.status_details = &x->details;
	return grpc_call_start_batch(x->call, ops, ARRAY_SIZE(ops), x, NULL) == GRPC_CALL_OK;
}

/* True: somebody has given up. A call that is cancelled ends at once, and its event comes all the same. */
static bool wait_batch(struct exchange *x, const struct unary_call *call)
{
	bool given_up = false;
	grpc_event e;

	do {
		gpr_timespec until = call->give_up && !given_up
					     ? in_ms(GIVE_UP_POLL_MS)
					     : gpr_inf_future(GPR_CLOCK_MONOTONIC);

		e = grpc_completion_queue_pluck(x->queue, x, until, NULL);
		if (e.type == GRPC_QUEUE_TIMEOUT && call->give_up && call->give_up(call->ctx)) {
			grpc_call_cancel(x->call, NULL);
			given_up = true;
		}
	} while (e.type == GRPC_QUEUE_TIMEOUT);
	return given_up;
}

int unary_ask(const struct unary_call *call, struct buf *ret_answer, struct ota_err *err)
{
	AUTO_EXCHANGE struct exchange x = {
		.status = GRPC_STATUS_UNKNOWN, .details = grpc_empty_slice()};
	const char *method = strrchr(call->path, '/') + 1;
	bool given_up;
	int r;

	grpc_metadata_array_init(&x.initial);
	grpc_metadata_array_init(&x.trailing);
	x.queue = grpc_completion_queue_create_for_pluck(NULL);
	x.request = grpc_door_message(call->request);
	x.call = grpc_channel_create_call(call->channel, NULL, GRPC_PROPAGATE_DEFAULTS, x.queue,
		grpc_slice_from_static_string(call->path), NULL, in_ms(call->timeout_ms), NULL);
	given_up = start_batch(&x) && wait_batch(&x, call);
	if (given_up)
		return ota_err_set(err, -ECANCELED, OTA_E_NETWORK,
			"%s was not waited for to answer %s", call->address, method);
	if (x.status != GRPC_STATUS_OK || !x.answer)
		return error_of(&x, call->address, method, err);
	r = grpc_door_bytes(x.answer, ret_answer);
	return r < 0 ? ota_err_wrap(
			       err, r, "Cannot read the answer of %s to %s", call->address, method)
		     : 0;
}
