/*
 * service: the gRPC server that fleet agents, otactl and parent ECUs ask. Contract: service.h.
 *
 * Threads: the one that runs the service takes events from the one completion queue and answers Status there; two
 * lanes (call_lane) do the calls that may wait. A call belongs to whoever works on it: it is handed to a lane, and
 * comes back with the event of its answer. The queue cannot wait for a file descriptor, and shutting a server down is
 * nothing that a signal handler may do; so one more thread waits for the byte that api_service_stop() writes, and
 * shuts the server down.
 *
 * A fork does not disturb the server as long as the child execs: every socket is close-on-exec.
 */
#include "otaclient/api/service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaclient/api/answers.h"
#include "otaclient/api/call_lane.h"
#include "otaclient/api/grpc_door.h"

enum {
	STREAMS_MAX = 64,     /* calls at once in one connection; an agent makes one */
	STOP_GRACE_MS = 1000, /* calls that have begun may end by themselves, answers may go out */
};

struct api_service {
	struct api_config config;
	struct answerer answerer;
	grpc_server *server;
	grpc_completion_queue *queue;
	uint16_t port;
	int stop_fd;  /* eventfd: stop, please */
	int ended_fd; /* eventfd: the server has shut down */
	bool down;    /* shutdown has come to its end */
	bool out_of_memory; /* no call is awaited any more */
	atomic_bool ending; /* no call is begun any more, and this ECU accepts nothing */
	struct call_lane *updates, *others;
};

enum call_state {
	CALL_AWAITED,
	CALL_RECEIVING,
	CALL_ANSWERING,
};

/*
 * One call, from before it arrives until its answer is out. Its address is its tag in the queue. Whoever starts a batch
 * has stored the state before, and whoever gets its event reads it first: by that the rest is handed over.
 */
struct call {
	atomic_int state; /* enum call_state */
	enum api_method method;
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
	grpc_byte_buffer *message, *answer;
	struct wire_request request; /* what @message says; not for Status */
	int cancelled;
};

static void call_free(struct call *c)
{
	if (!c)
		return;
	if (c->call)
		grpc_call_unref(c->call);
	grpc_byte_buffer_destroy(c->message);
	wire_request_done(&c->request);
	grpc_byte_buffer_destroy(c->answer);
	grpc_call_details_destroy(&c->details);
	grpc_metadata_array_destroy(&c->metadata);
	free(c);
}

/* Let one more call come in. */
static void await_call(struct api_service *s)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c) {
		/* There is always one call waiting, so this is a server that will never answer again. */
		s->out_of_memory = true;
		api_service_stop(s);
		return;
	}
	grpc_call_details_init(&c->details);
	grpc_metadata_array_init(&c->metadata);
	if (grpc_server_request_call(s->server, &c->call, &c->details, &c->metadata, s->queue,
		    s->queue, c) != GRPC_CALL_OK)
		call_free(c);
}

/* @answer NULL: an error with @details. */
static void send_answer(struct call *c, const struct buf *answer, grpc_status_code code,
	const char *details)
{
	grpc_slice text = grpc_slice_from_copied_string(details);
	grpc_call *call = c->call;
	grpc_op ops[4] = {0};
	size_t n = 0;

	ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
	if (answer) {
		c->answer = grpc_door_message(answer);
		ops[n].op = GRPC_OP_SEND_MESSAGE;
		ops[n++].data.send_message.send_message = c->answer;
	}
	ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	ops[n].data.send_status_from_server.status = code;
	ops[n++].data.send_status_from_server.status_details = &text;
	ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	ops[n++].data.recv_close_on_server.cancelled = &c->cancelled;
	atomic_store(&c->state, CALL_ANSWERING);
	/* From here on the event may come, and nothing of the call is ours. */
	if (grpc_call_start_batch(call, ops, n, c, NULL) != GRPC_CALL_OK)
		call_free(c);
	grpc_slice_unref(text);
}

static void receive(struct call *c)
{
	grpc_op op;

	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_MESSAGE;
	for (int m = 0; m < API_METHOD_COUNT; m++) {
		if (grpc_slice_str_cmp(c->details.method, api_method_path((enum api_method)m)) != 0)
			continue;
		c->method = (enum api_method)m;
		atomic_store(&c->state, CALL_RECEIVING);
		op.data.recv_message.recv_message = &c->message;
		if (grpc_call_start_batch(c->call, &op, 1, c, NULL) != GRPC_CALL_OK)
			call_free(c);
		return;
	}
	send_answer(c, NULL, GRPC_STATUS_UNIMPLEMENTED, "The API has no such method");
}

static grpc_status_code status_of(int r)
{
	switch (r) {
	case -EBADMSG:
	case -E2BIG:
		return GRPC_STATUS_INVALID_ARGUMENT;
	case -EAGAIN:
		return GRPC_STATUS_UNAVAILABLE;
	default:
		return GRPC_STATUS_INTERNAL;
	}
}

/* @bytes or the error is the answer. */
static void send_result(struct call *c, int r, const struct buf *bytes, const struct ota_err *err)
{
	char *peer;

	if (r == 0) {
		send_answer(c, bytes, GRPC_STATUS_OK, "");
		return;
	}
	/* "Not yet" is no failure of anything. */
	if (r != -EAGAIN) {
		peer = grpc_call_get_peer(c->call);
		log_warning(
			"Call %s from %s refused: %s", api_method_path(c->method), peer, err->msg);
		gpr_free(peer);
	}
	send_answer(c, NULL, status_of(r), err->msg);
}

static void answer(struct api_service *s, struct call *c)
{
	AUTO_BUF struct buf bytes = {0};
	struct ota_err err = {0};
	int r;

	if (c->method == API_STATUS)
		r = answer_status(&s->answerer, &bytes, &err);
	else if (c->method == API_FORECAST)
		r = answer_forecast(&s->answerer, &c->request, &bytes, &err);
	else
		r = answer_request(&s->answerer, c->method, &c->request, &bytes, &err);
	send_result(c, r, &bytes, &err);
}

/* In a lane: whoever has given up meanwhile does not mean it any more. */
static void answer_in_time(void *ctx, void *item)
{
	struct api_service *s = ctx;
	struct call *c = item;

	if (atomic_load(&s->ending))
		send_answer(c, NULL, GRPC_STATUS_UNAVAILABLE, "otaclient ends; nothing was done");
	else if (gpr_time_cmp(gpr_now(GPR_CLOCK_REALTIME),
			 gpr_convert_clock_type(c->details.deadline, GPR_CLOCK_REALTIME)) >= 0)
		send_answer(c, NULL, GRPC_STATUS_DEADLINE_EXCEEDED,
			"The time of the call is over; nothing was done");
	else
		answer(s, c);
}

static int read_request(struct call *c, struct ota_err *err)
{
	AUTO_BUF struct buf bytes = {0};
	int r = grpc_door_bytes(c->message, &bytes);

	if (r < 0)
		return ota_err_wrap(err, r, "Cannot read the message");
	return wire_request_decode(c->method, bytes.data, bytes.len_bytes, &c->request, err);
}

/* A copy does not wait: the first may be waiting for the answer to it. */
static void take_up_request(struct api_service *s, struct call *c)
{
	struct call_lane *lane =
		c->method == API_UPDATE || c->method == API_CLIENT_UPDATE ? s->updates : s->others;
	struct ota_err err = {0};
	int r = read_request(c, &err);

	if (r < 0)
		send_result(c, r, NULL, &err);
	else if (answer_is_copy(&s->answerer, c->method, &c->request))
		answer(s, c);
	else if (call_lane_add(lane, c) < 0)
		send_answer(c, NULL, GRPC_STATUS_RESOURCE_EXHAUSTED,
			"Too many calls are waiting to be answered; this one has been ignored");
}

/* The message is here: answer it, or see to it that it is answered. */
static void take_up(struct api_service *s, struct call *c)
{
	if (!c->message)
		send_answer(c, NULL, GRPC_STATUS_INVALID_ARGUMENT, "The call has no message");
	else if (c->method == API_STATUS)
		answer(s, c);
	else
		take_up_request(s, c);
}

static void handle(struct api_service *s, struct call *c, bool success)
{
	switch ((enum call_state)atomic_load(&c->state)) {
	case CALL_AWAITED:
		if (success) {
			await_call(s);
			receive(c);
		} else {
			call_free(c); /* the server shuts down */
		}
		break;
	case CALL_RECEIVING:
		take_up(s, c);
		break;
	case CALL_ANSWERING:
		call_free(c);
		break;
	}
}

static void tell(int fd)
{
	const uint64_t one = 1;
	int saved = errno;

	/* A counter that is full is told already. */
	if (write(fd, &one, sizeof(one)) < 0)
		errno = saved;
}

static gpr_timespec next_tick(const struct api_service *s)
{
	return s->config.tick ? gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
					gpr_time_from_millis(API_TICK_MS, GPR_TIMESPAN))
			      : gpr_inf_future(GPR_CLOCK_MONOTONIC);
}

/* Take events until the server has shut down. */
static void serve(struct api_service *s)
{
	while (!s->down) {
		grpc_event e = grpc_completion_queue_next(s->queue, next_tick(s), NULL);

		if (s->config.tick)
			s->config.tick(s->config.tick_ctx);
		if (e.type == GRPC_OP_COMPLETE && e.tag == s)
			s->down = true;
		else if (e.type == GRPC_OP_COMPLETE)
			handle(s, e.tag, e.success);
	}
}

/* True: the server has shut down. */
static bool wait_for_end(struct api_service *s)
{
	struct pollfd ended = {.fd = s->ended_fd, .events = POLLIN};

	while (poll(&ended, 1, STOP_GRACE_MS) < 0 && errno == EINTR)
		;
	return (ended.revents & POLLIN) != 0;
}

/*
 * What is under way gets its answer, and what the answer says is what the machine does: from @ending on this ECU
 * accepts nothing, and calls are cancelled only when all have been decided.
 */
static void *wait_for_stop(void *arg)
{
	struct api_service *s = arg;
	uint64_t count;

	while (read(s->stop_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	atomic_store(&s->ending, true);
	grpc_server_shutdown_and_notify(s->server, s->queue, s);
	if (wait_for_end(s))
		return NULL;
	if (s->config.tree && s->config.tree->stop)
		s->config.tree->stop(s->config.tree->ctx);
	call_lane_drain(s->updates);
	call_lane_drain(s->others);
	if (!wait_for_end(s))
		grpc_server_cancel_all_calls(s->server);
	return NULL;
}

int api_service_run(struct api_service *s, struct ota_err *err)
{
	pthread_t waiter;
	int r = pthread_create(&waiter, NULL, wait_for_stop, s);

	if (r != 0)
		return ota_err_set(err, -r, OTA_E_STARTUP_FAILED,
			"Cannot start a thread for the API: %s", strerror(r));
	await_call(s);
	serve(s);
	tell(s->ended_fd);
	pthread_join(waiter, NULL);
	return s->out_of_memory ? ota_err_no_memory(err, "the next call of the API") : 0;
}

void api_service_stop(struct api_service *s)
{
	tell(s->stop_fd);
}

uint16_t api_service_port(const struct api_service *s)
{
	return s->port;
}

/* gRPC only says that it could not listen; the kernel says why. */
static int why_not_listening(const char *ip, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	bool is_v4 = inet_pton(AF_INET, ip, &v4.sin_addr) == 1;
	const int on = 1;
	AUTO_CLOSE int fd = -1;

	if (!is_v4 && inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1)
		return -EINVAL;
	fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		    is_v4 ? sizeof(v4) : sizeof(v6)) < 0 ||
		listen(fd, 1) < 0)
		return -errno;
	return -EIO; /* it would work now */
}

static int listen_on(struct api_service *s, struct ota_err *err)
{
	grpc_server_credentials *plain = grpc_insecure_server_credentials_create();
	char address[128];
	int port, r;

	grpc_door_address(s->config.listen_ip, s->config.port, address, sizeof(address));
	port = grpc_server_add_http2_port(s->server, address, plain);
	grpc_server_credentials_release(plain);
	if (port > 0) {
		s->port = (uint16_t)port;
		return 0;
	}
	r = why_not_listening(s->config.listen_ip, s->config.port);
	return ota_err_set(err, r, OTA_E_STARTUP_FAILED, "Cannot listen on %s for the API: %s",
		address,
		r == -EADDRINUSE ? "another program, perhaps another otaclient, has this port"
				 : strerror(-r));
}

int api_service_start(const struct api_config *config, struct status *status,
	const struct request_handler *handler, struct api_service **ret_service, struct ota_err *err)
{
	AUTO_API_SERVICE struct api_service *s = calloc(1, sizeof(*s));
	/* A port that two servers share would hand each call to either of them. */
	grpc_arg args[] = {
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_ALLOW_REUSEPORT}, {.integer = 0}},
		{GRPC_ARG_INTEGER, (char[]){GRPC_ARG_MAX_CONCURRENT_STREAMS}, {.integer = STREAMS_MAX}},
	};
	const grpc_channel_args channel_args = {ARRAY_SIZE(args), args};
	int r;

	if (!s)
		return ota_err_no_memory(err, "the API");
	grpc_door_open();
	s->config = *config;
	s->answerer = (struct answerer){
		.config = &s->config, .status = status, .handler = handler, .ending = &s->ending};
	s->ended_fd = -1;
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->stop_fd >= 0)
		s->ended_fd = eventfd(0, EFD_CLOEXEC);
	if (s->ended_fd < 0)
		return ota_err_set(err, -errno, OTA_E_STARTUP_FAILED,
			"Cannot start the API: no event descriptor: %s", strerror(errno));
	if (config->tree) {
		s->answerer.recent = recent_requests_new();
		if (!s->answerer.recent)
			return ota_err_no_memory(err, "the requests that the API remembers");
	}
	s->server = grpc_server_create(&channel_args, NULL);
	s->queue = grpc_completion_queue_create_for_next(NULL);
	grpc_server_register_completion_queue(s->server, s->queue, NULL);
	r = listen_on(s, err);
	if (r < 0)
		return r;
	r = call_lane_new(answer_in_time, s, &s->updates);
	if (r == 0)
		r = call_lane_new(answer_in_time, s, &s->others);
	if (r < 0)
		return ota_err_set(err, r, OTA_E_STARTUP_FAILED,
			"Cannot start the API's threads: %s", strerror(-r));
	grpc_server_start(s->server);
	*ret_service = TAKE_PTR(s);
	return 0;
}

/* Calls that ended together with the server still have their last event in the queue. */
static void drain(grpc_completion_queue *queue)
{
	for (;;) {
		grpc_event e = grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME),
			NULL);

		if (e.type == GRPC_QUEUE_SHUTDOWN)
			return;
		if (e.type == GRPC_OP_COMPLETE)
			call_free(e.tag);
	}
}

/* Objects may be half built: a server that was never started is shut down like any other. */
void api_service_free(struct api_service *s)
{
	if (!s)
		return;
	/* What they still have is answered before the last events are taken. */
	call_lane_free(s->updates);
	call_lane_free(s->others);
	s->config.tick = NULL; /* what it looks at may be gone */
	if (s->server) {
		if (!s->down)
			grpc_server_shutdown_and_notify(s->server, s->queue, s);
		serve(s);
		grpc_completion_queue_shutdown(s->queue);
		drain(s->queue);
		grpc_server_destroy(s->server);
		grpc_completion_queue_destroy(s->queue);
	}
	closep(&s->stop_fd);
	closep(&s->ended_fd);
	recent_requests_free(s->answerer.recent);
	grpc_door_close();
	free(s);
}

void api_service_freep(struct api_service **s)
{
	api_service_free(*s);
}
