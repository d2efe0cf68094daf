/*
 * proxy_server: connections, and what is fetched for them, in a few equal threads. Contract: proxy_server.h.
 *
 * A loop is one thread with one HTTP server and one fetcher, which share nothing with those of the others but the
 * port. A fetch runs in the thread of the client that asked first, so that it needs no other thread's help between
 * the question and the answer; who reads along may be in another, and wakes that one.
 *
 * A connection's exchange runs in the thread of the connection. It sleeps by being suspended, which is done from its
 * own callbacks only; it is woken by MHD_resume_connection() from any thread. Whoever wakes has seen under a lock of
 * its own that the connection sleeps, so that none is resumed that was not suspended.
 *
 * The library takes more for a request than we do: continued lines, whose rest it appends to the field's name, NUL
 * characters, which end a text early, and lone LFs. We have no other look at the bytes than through its pointers; but
 * as all of them point into one buffer, the lengths of what we are told must fill it without a gap.
 */
#include "otaproxy/proxy_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "otaproxy/hop.h"

enum {
	LOOPS = 2,
	WAIT_MS = 1000,
	FIELDS_MAX = 128, /* more are refused with the bytes that they take */
	CONNECTION_MEMORY_BYTES =
		64 * 1024, /* the header's 32 KiB twice, and what the library puts beside it */
	BLOCK_BYTES = 64 * 1024,
	BACKLOG = 512,
	PORT_TEXT_MAX = 6,
};

struct loop {
	struct proxy_server *server;
	struct MHD_Daemon *daemon;
	struct fetcher *fetcher;
	pthread_t thread;
	bool runs;
};

static _Thread_local struct loop *this_loop; /* NULL: another kind of thread */

struct proxy_server {
	struct proxy *proxy;
	struct loop loops[LOOPS];
	atomic_bool stop;
	uint16_t port;
};

/* One request on a connection. */
struct visit {
	struct loop *loop;
	struct MHD_Connection *connection;
	struct exchange *exchange; /* NULL: not received yet */
	char *target;              /* as it came */
	uint64_t sent_bytes;       /* of a flight's body */
};

/* ---- sleep and wake ---- */

static void on_sleep(void *ctx)
{
	struct visit *v = ctx;

	MHD_suspend_connection(v->connection);
}

static void on_wake(void *ctx)
{
	struct visit *v = ctx;

	MHD_resume_connection(v->connection);
	/* The library looks for it in its next run. */
	if (v->loop == this_loop)
		fetcher_yield(v->loop->fetcher);
	else
		fetcher_wakeup(v->loop->fetcher);
}

/* ---- what came ---- */

struct field_list {
	struct proxy_field fields[FIELDS_MAX];
	size_t n;
	bool overflow;
	bool has_gap;     /* there are bytes that we are not told of */
	const char *next; /* where the next line must begin */
};

static enum MHD_Result add_field(
	void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct field_list *list = ctx;

	if (list->n == FIELDS_MAX) {
		list->overflow = true;
		return MHD_NO;
	}
	if (!value || name != list->next)
		list->has_gap = true;
	if (value)
		list->next = value + strlen(value) + strlen("\r\n");
	list->fields[list->n++] = (struct proxy_field){.name = name, .value = value ? value : ""};
	return MHD_YES;
}

/* Does the header consist of @received's texts and nothing else? */
static bool is_seamless(struct MHD_Connection *connection, const struct proxy_received *received,
	const struct field_list *list)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	const char *target = received->method + strlen(received->method) + strlen(" ");

	return !list->has_gap &&
	       received->version == target + strlen(received->target) + strlen(" ") && info &&
	       received->method + info->header_size == list->next + strlen("\r\n");
}

/* What @fd is bound to, as numbers in text. */
static bool bound_to(int fd, char host[INET6_ADDRSTRLEN], char port[PORT_TEXT_MAX])
{
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	} at = {0};
	socklen_t len = sizeof(at);

	return getsockname(fd, &at.any, &len) == 0 &&
	       getnameinfo(&at.any, len, host, INET6_ADDRSTRLEN, port, PORT_TEXT_MAX,
		       NI_NUMERICHOST | NI_NUMERICSERV) == 0;
}

/* "ip:port" that the connection came to, malloc'ed; NULL = not known. */
static char *local_address(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	char host[INET6_ADDRSTRLEN], port[PORT_TEXT_MAX];
	char *address;

	if (!info || !bound_to(info->connect_fd, host, port) ||
		asprintf(&address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port) < 0)
		return NULL;
	return address;
}

/* Found out once for all requests of a connection; it stays with it. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **address,
	enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		*address = local_address(connection);
	else
		free(TAKE_PTR(*address));
}

static int receive(struct visit *v, const char *method, const char *version)
{
	const struct flight_sleeper sleeper = {.sleep = on_sleep, .wake = on_wake, .ctx = v};
	struct field_list list = {.next = version + strlen(version) + strlen("\r\n")};
	const union MHD_ConnectionInfo *address =
		MHD_get_connection_info(v->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct proxy_received received = {
		.method = method, .target = v->target, .version = version, .fields = list.fields};

	v->exchange = exchange_new(v->loop->server->proxy, v->loop->fetcher, &sleeper);
	if (!v->exchange)
		return -ENOMEM;
	MHD_get_connection_values(v->connection, MHD_HEADER_KIND, add_field, &list);
	received.n_fields = list.n;
	received.too_many_fields = list.overflow;
	received.malformed = !list.overflow && !is_seamless(v->connection, &received, &list);
	received.local_address = address ? address->socket_context : NULL;
	return exchange_receive(v->exchange, &received);
}

/* ---- what goes ---- */

static ssize_t read_flight(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct visit *v = ctx;
	ssize_t n = exchange_read(v->exchange, pos, buf, max);

	if (n > 0)
		v->sent_bytes += (uint64_t)n;
	if (n == -ENODATA)
		return MHD_CONTENT_READER_END_OF_STREAM;
	return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

static struct MHD_Response *file_response(struct exchange *x, const struct reply *reply)
{
	struct MHD_Response *response;
	int fd;

	if (reply->size_bytes == 0)
		return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	fd = exchange_take_file(x);
	response = MHD_create_response_from_fd_at_offset64(reply->size_bytes, fd, reply->offset);
	if (!response)
		close(fd);
	return response;
}

static struct MHD_Response *make_response(struct visit *v, const struct reply *reply)
{
	switch (reply->kind) {
	case REPLY_TEXT:
		/* Borrowed: the exchange outlives the response. */
		return MHD_create_response_from_buffer(
			reply->text.len_bytes, reply->text.data, MHD_RESPMEM_PERSISTENT);
	case REPLY_FILE:
		return file_response(v->exchange, reply);
	case REPLY_MEMORY:
		return MHD_create_response_from_buffer(
			reply->size_bytes, reply->data, MHD_RESPMEM_PERSISTENT);
	case REPLY_FLIGHT:
		break;
	}
	return MHD_create_response_from_callback(
		reply->size_bytes == UINT64_MAX ? MHD_SIZE_UNKNOWN : reply->size_bytes, BLOCK_BYTES,
		read_flight, v, NULL);
}

static enum MHD_Result send_reply(struct visit *v)
{
	const struct reply *reply = exchange_reply(v->exchange);
	struct MHD_Response *response = make_response(v, reply);
	enum MHD_Result r = MHD_YES;

	if (!response)
		return MHD_NO;
	for (unsigned i = 0; i < reply->n_fields && r == MHD_YES; i++)
		r = MHD_add_response_header(
			response, reply->fields[i].name, reply->fields[i].value);
	if (r == MHD_YES && reply->close)
		r = MHD_add_response_header(response, "Connection", "close");
	if (r == MHD_YES)
		r = MHD_queue_response(v->connection, reply->status, response);
	MHD_destroy_response(response);
	return r;
}

/* ---- the library's callbacks ---- */

/* The request line has come. What it returns is the visit from here on. */
static void *on_target(void *ctx, const char *target, struct MHD_Connection *connection)
{
	struct visit *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->loop = ctx;
	v->connection = connection;
	v->target = strdup(target);
	if (!v->target) {
		free(v);
		return NULL;
	}
	return v;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *upload, size_t *upload_size,
	void **visit)
{
	struct visit *v = *visit;

	if (!v)
		return MHD_NO;
	*upload_size = 0; /* nothing of a client's body is looked at */
	if (!v->exchange) {
		if (receive(v, method, version) < 0)
			return MHD_NO;
		/*
		 * Now, before a body, is the only time to refuse one. All else waits for the next call: an answer
		 * before the library has seen that there is no body would end the connection.
		 */
		if (!exchange_ends_connection(v->exchange))
			return MHD_YES;
	}
	switch (exchange_run(v->exchange)) {
	case EXCHANGE_SLEEPS:
		return MHD_YES;
	case EXCHANGE_READY:
		return send_reply(v);
	case EXCHANGE_FAILED:
		break;
	}
	return MHD_NO;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **visit,
	enum MHD_RequestTerminationCode code)
{
	struct visit *v = *visit;

	if (!v)
		return;
	if (v->exchange) {
		const struct reply *reply = exchange_reply(v->exchange);
		bool whole = (reply->kind == REPLY_FILE || reply->kind == REPLY_MEMORY) &&
			     code == MHD_REQUEST_TERMINATED_COMPLETED_OK &&
			     !exchange_is_head(v->exchange);

		counters_add(v->loop->server->proxy->counters, COUNTER_CLIENT_BYTES,
			whole ? reply->size_bytes : v->sent_bytes);
	}
	exchange_free(v->exchange);
	free(v->target);
	free(v);
	*visit = NULL;
}

static void on_library_log(void *ctx, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void on_library_log(void *ctx, const char *fmt, va_list ap)
{
	char line[256];
	size_t len;

	vsnprintf(line, sizeof(line), fmt, ap);
	len = strcspn(line, "\r\n");
	line[len] = '\0';
	log_debug("HTTP server: %s", line);
}

/* ---- start and stop ---- */

static int listen_on(const struct proxy_server_config *config, struct ota_err *err)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(config->port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(config->port)};
	bool v4 = inet_pton(AF_INET, config->listen_addr, &in.sin_addr) == 1;
	AUTO_CLOSE int fd = -1;
	int on = 1;

	if (!v4 && inet_pton(AF_INET6, config->listen_addr, &in6.sin6_addr) != 1)
		return ota_err_set(err, -EINVAL, OTA_E_UNSPECIFIC, "%s is no address to listen on",
			config->listen_addr);
	fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6,
			v4 ? sizeof(in) : sizeof(in6)) < 0 ||
		listen(fd, BACKLOG) < 0)
		return ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
			"Cannot listen on %s, port %u: %s", config->listen_addr, config->port,
			strerror(errno));
	return TAKE_FD(fd);
}

static void *loop_thread(void *arg)
{
	struct loop *l = arg;

	this_loop = l;
	while (!atomic_load(&l->server->stop)) {
		MHD_UNSIGNED_LONG_LONG wait_ms;

		MHD_run(l->daemon);
		if (MHD_get_timeout(l->daemon, &wait_ms) != MHD_YES)
			wait_ms = WAIT_MS;
		fetcher_run(l->fetcher, (uint32_t)MIN_OF(wait_ms, (MHD_UNSIGNED_LONG_LONG)WAIT_MS));
	}
	fetcher_end(l->fetcher);
	return NULL;
}

/* Takes @listen_fd, but on failure. */
static int start_daemon(struct loop *l, int listen_fd, struct ota_err *err)
{
	const union MHD_DaemonInfo *info;

	l->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
		0, NULL, NULL, on_request, l, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_LISTEN_SOCKET, listen_fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)PROXY_CONNECTIONS_MAX / LOOPS,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PROXY_CONNECTIONS_PER_ADDRESS / LOOPS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)PROXY_IDLE_TIMEOUT_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, l, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
		MHD_OPTION_END);
	info = l->daemon ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) /* the library has only errno to say why */
		return ota_err_set(err, -EIO, OTA_E_UNSPECIFIC, "Cannot start the HTTP server: %s",
			strerror(errno));
	fetcher_watch(l->fetcher, info->epoll_fd);
	return 0;
}

/* By the list as it is now. */
static unsigned refuse_hop(void *ctx, const char *url, struct ota_err *err)
{
	const struct proxy *proxy = ctx;
	struct proxy_rules rules = proxy->rules;
	AUTO_ORIGINS struct origins *origins = NULL;

	if (proxy->origins_file)
		rules.origins = origins = origins_file_get(proxy->origins_file, NULL);
	return hop_refuse(&rules, url, err);
}

static int start_loop(
	struct loop *l, const struct fetcher_config *config, int listen_fd, struct ota_err *err)
{
	AUTO_CLOSE int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 3);
	int r = fd < 0 ? ota_err_set(err, -errno, OTA_E_UNSPECIFIC,
				 "Cannot start the HTTP server: %s", strerror(errno))
		       : fetcher_new(config, &l->fetcher, err);

	if (r == 0)
		r = start_daemon(l, fd, err);
	if (l->daemon)
		TAKE_FD(fd); /* the library's */
	if (r < 0)
		return r;
	r = pthread_create(&l->thread, NULL, loop_thread, l);
	if (r != 0)
		return ota_err_set(
			err, -r, OTA_E_UNSPECIFIC, "Cannot start a thread: %s", strerror(r));
	l->runs = true;
	return 0;
}

int proxy_server_start(const struct proxy_server_config *config, struct proxy *proxy,
	struct proxy_server **ret_server, struct ota_err *err)
{
	struct proxy_server *s = calloc(1, sizeof(*s));
	struct fetcher_config fetcher = config->fetcher;
	AUTO_CLOSE int fd = listen_on(config, err);
	char host[INET6_ADDRSTRLEN], port[PORT_TEXT_MAX];
	int r = fd;

	if (!s)
		return ota_err_no_memory(err, "the HTTP server");
	s->proxy = proxy;
	fetcher.refuse_hop = refuse_hop;
	fetcher.hop_ctx = proxy;
	if (fd >= 0 && bound_to(fd, host, port))
		s->port = (uint16_t)strtoul(port, NULL, 10);
	for (unsigned i = 0; i < LOOPS && r >= 0; i++) {
		s->loops[i].server = s;
		r = start_loop(&s->loops[i], &fetcher, fd, err);
	}
	if (r < 0) {
		proxy_server_stop(s);
		proxy_server_free(s);
		return r;
	}
	*ret_server = s;
	return 0;
}

uint16_t proxy_server_port(const struct proxy_server *server)
{
	return server->port;
}

void proxy_server_stop(struct proxy_server *server)
{
	if (!server)
		return;
	atomic_store(&server->stop, true);
	for (unsigned i = 0; i < LOOPS; i++)
		if (server->loops[i].runs)
			fetcher_wakeup(server->loops[i].fetcher);
	for (unsigned i = 0; i < LOOPS; i++)
		if (server->loops[i].runs)
			pthread_join(server->loops[i].thread, NULL);
}

void proxy_server_free(struct proxy_server *server)
{
	if (!server)
		return;
	for (unsigned i = 0; i < LOOPS; i++) {
		if (server->loops[i].daemon)
			MHD_stop_daemon(server->loops[i].daemon);
		fetcher_free(server->loops[i].fetcher);
	}
	free(server);
}
