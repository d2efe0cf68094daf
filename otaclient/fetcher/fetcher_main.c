/*
 * fetcher_main: the program that downloads for the daemon. It speaks TLS and HTTP and decompresses, and may do nothing
 * else: it has a user of its own, can open no file and no socket, and gets both from the daemon.
 *
 * The daemon starts it with two sockets: on descriptor 3 jobs come and results go (one thread, this one); on 4 it asks
 * for addresses and sockets, and waits for each answer. It ends with the daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/net/http.h"
#include "otaclient/fetcher/body.h"
#include "otaclient/fetcher/fetcher.h"
#include "otaclient/fetcher/packet.h"
#include "otaclient/fetcher/mapped_frame.h"
#include "otaclient/fetcher/rights.h"

enum {
	RUN_MS = 200,
	CAS_MAX_BYTES = 4 << 20, /* Debian's file has some 230 kB */
	/* libcurl's buffers, 128 KiB for each file, are not to be given back and faulted in again. */
	MALLOC_KEEP_BYTES = 2 << 20,
	MALLOC_MMAP_BYTES = 1 << 20, /* a window of zstd's is */
};

/* Where most systems have theirs, as one file. */
static const char *const system_cas[] = {
	"/etc/ssl/certs/ca-certificates.crt", /* Debian, Ubuntu, Alpine, Yocto */
	"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
	"/etc/ssl/ca-bundle.pem",             /* SUSE */
	"/etc/ssl/cert.pem",
};

struct fetcher_process {
	struct http_client *client;
	struct buf tls_cas;
	struct http_net net;
	struct packet packet; /* the one that came last on either socket */
	struct slot {
		struct body *body;
		bool busy;
	} slots[FETCHER_JOBS_MAX];
	uint64_t told_ms;    /* when progress was last told */
	struct ota_err told; /* trouble */
};

/* Without the daemon there is nobody to work for, and nothing to leave in order. */
_Noreturn static void give_up(void)
{
	_exit(1);
}

static void tell(const struct packet_head *head, const char *sentence)
{
	const char *const text[PACKET_TEXTS] = {[ANY_SENTENCE] = sentence};

	if (packet_send(FETCHER_JOBS_FD, head, text, -1, true) < 0)
		give_up();
}

/* ---- what the daemon does for us ---- */

/* The answer is in p->packet. 0 or -errno. */
static int ask(
	struct fetcher_process *p, const struct packet_head *head, const char *host, int *ret_fd)
{
	const char *const text[PACKET_TEXTS] = {[NAME_HOST] = host};

	if (packet_send(FETCHER_NEEDS_FD, head, text, -1, true) < 0 ||
		packet_receive(FETCHER_NEEDS_FD, true, &p->packet, ret_fd) < 0 ||
		p->packet.head.type != PACKET_ANSWER)
		give_up();
	return p->packet.head.r;
}

static int look_up(void *ctx, const char *host, char *ret_addresses, size_t size)
{
	struct fetcher_process *p = ctx;
	AUTO_CLOSE int none = -1;
	int r = ask(p, &(struct packet_head){.type = PACKET_NAME}, host, &none);

	if (r == 0)
		snprintf(ret_addresses, size, "%s",
			p->packet.text[ANSWER_ADDRESSES] ? p->packet.text[ANSWER_ADDRESSES] : "");
	return r;
}

static int open_socket(void *ctx, int family)
{
	int fd = -1;
	int r = ask(ctx, &(struct packet_head){.type = PACKET_SOCKET, .flags = (uint32_t)family},
		NULL, &fd);

	return r < 0 ? r : fd;
}

/* ---- jobs ---- */

static uint64_t take_wire_bytes(struct fetcher_process *p)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(p->slots); i++)
		if (p->slots[i].busy)
			n += body_take_wire_bytes(p->slots[i].body);
	return n;
}

static void slot_done(void *ctx, const struct http_result *result)
{
	struct slot *s = ctx;
	const struct packet_head head = {
		.type = PACKET_RESULT,
		.id = body_id(s->body),
		.r = result->r,
		.code = (uint32_t)result->err.code,
		.status = result->status,
		.retries = result->retries,
		.plain_bytes = body_plain_bytes(s->body),
		.wire_bytes = body_take_wire_bytes(s->body),
	};

	body_rest(s->body); /* before it is told: the daemon wants to be alone with the file */
	s->busy = false;
	tell(&head, result->r < 0 ? result->err.msg : NULL);
}

/* A free one, or the last one, if all are busy. */
static struct slot *free_slot(struct fetcher_process *p)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(p->slots) - 1 && p->slots[i].busy)
		i++;
	return &p->slots[i];
}

static void job_begin(struct fetcher_process *p, struct slot *s, const int fds[PACKET_FDS_MAX])
{
	struct http_result result = {.r = -ENOMEM};

	if (!s->body)
		s->body = body_new();
	if (!s->body)
		give_up();
	s->busy = true;
	if (body_set(s->body, &p->packet, fds) == 0)
		result.r = body_start(s->body, p->client, slot_done, s, &result.err);
	else
		ota_err_no_memory(&result.err, "the fetching of a file");
	if (result.r < 0)
		slot_done(s, &result);
}

static void take_jobs(struct fetcher_process *p)
{
	for (;;) {
		struct slot *s = free_slot(p);
		int fds[PACKET_FDS_MAX];
		int r = packet_receive_fds(FETCHER_JOBS_FD, false, &p->packet, fds);

		if (r == -EAGAIN)
			return;
		/* The daemon never asks for more than there are places, nor for nothing. */
		if (r < 0 || p->packet.head.type != PACKET_JOB || fds[0] < 0 || s->busy ||
			!p->packet.text[JOB_URL] ||
			!(p->packet.head.flags & JOB_IS_PATCH) != (fds[1] < 0))
			give_up();
		job_begin(p, s, fds);
	}
}

static void tell_sometimes(struct fetcher_process *p)
{
	struct ota_err trouble = http_client_trouble(p->client);
	uint64_t now = clock_monotonic_ms(), n;

	if (now < p->told_ms + RUN_MS)
		return;
	p->told_ms = now;
	n = take_wire_bytes(p);
	if (n > 0)
		tell(&(struct packet_head){.type = PACKET_PROGRESS, .wire_bytes = n}, NULL);
	if (trouble.errnum == 0 || strcmp(trouble.msg, p->told.msg) == 0)
		return;
	p->told = trouble;
	tell(&(struct packet_head){.type = PACKET_TROUBLE,
		     .r = trouble.errnum,
		     .code = (uint32_t)trouble.code},
		trouble.msg);
}

_Noreturn static void run(struct fetcher_process *p)
{
	struct ota_err err = {0};

	http_client_watch(p->client, FETCHER_JOBS_FD);
	for (;;) {
		take_jobs(p);
		if (http_client_run(p->client, RUN_MS, &err) < 0)
			give_up();
		tell_sometimes(p);
	}
}

/* ---- the start ---- */

/* Later no file can be read. A system without a list of CAs still fetches by http. */
static int read_cas(struct fetcher_process *p, const char *file, struct ota_err *err)
{
	int r;

	if (file) {
		r = file_read(AT_FDCWD, file, CAS_MAX_BYTES, &p->tls_cas);
		return r < 0 ? ota_err_set(err, r, OTA_E_NETWORK, "Cannot read the CAs in %s: %s",
				       file, file_read_why(r))
			     : 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(system_cas); i++) {
		r = file_read(AT_FDCWD, system_cas[i], CAS_MAX_BYTES, &p->tls_cas);
		if (r == 0)
			return 0;
		if (r == -ENOMEM) /* not to be taken for a system without */
			return ota_err_no_memory(err, "the system's CAs");
	}
	return buf_puts(&p->tls_cas, "\n") < 0 ? ota_err_no_memory(err, "the system's CAs") : 0;
}

static int start(struct fetcher_process *p, struct ota_err *err)
{
	const struct packet_head *head = &p->packet.head;
	struct http_config http = {.sigpipe_ignored = true, .tls_cas = &p->tls_cas, .net = &p->net};
	AUTO_CLOSE int none = -1;
	int r;

	if (packet_receive(FETCHER_JOBS_FD, true, &p->packet, &none) < 0 ||
		head->type != PACKET_CONFIG)
		give_up();
	p->net = (struct http_net){.look_up = look_up, .open_socket = open_socket, .ctx = p};
	http.proxy = p->packet.text[CONFIG_PROXY];
	http.cookies = p->packet.text[CONFIG_COOKIES];
	http.user_agent = p->packet.text[CONFIG_USER_AGENT];
	http.max_connections = head->max_connections;
	http.stall_timeout_ms = head->stall_timeout_ms;
	http.retry_base_ms = head->retry_base_ms;
	r = read_cas(p, p->packet.text[CONFIG_TLS_CA], err);
	if (r == 0)
		r = http_client_new(&http, &p->client, err);
	return r < 0 ? r : rights_give_up(err);
}

int main(int argc, char **argv)
{
	static struct fetcher_process p;
	struct ota_err err = {0};
	int r;

	if (argc != 1 || fcntl(FETCHER_JOBS_FD, F_GETFD) < 0 ||
		fcntl(FETCHER_NEEDS_FD, F_GETFD) < 0) {
		fprintf(stderr, "%s: is started by otaclient alone\n", argv[0]);
		return 2;
	}
	mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
	mallopt(M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES);
	signal(SIGPIPE, SIG_IGN);
	mapped_frame_catch_faults();
	r = start(&p, &err);
	tell(&(struct packet_head){.type = PACKET_READY, .r = r, .code = (uint32_t)err.code},
		r < 0 ? err.msg : NULL);
	if (r < 0)
		give_up();
	run(&p);
}
