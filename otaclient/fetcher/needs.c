/*
 * needs: one question, one answer. Contract: needs.h.
 *
 * A name may take the resolver's time; the fetcher waits for it, and so does the thread that it works for.
 */
#include "otaclient/fetcher/needs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/net/http.h"

enum {
	HOST_MAX_BYTES = 253, /* of a name in the DNS */
	ADDRESSES_MAX = 8,
};

static void addrinfo_freep(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static int address_put(const struct addrinfo *a, struct buf *ret_text)
{
	char text[INET6_ADDRSTRLEN];
	const char *comma = ret_text->len_bytes > 0 ? "," : "";

	if (a->ai_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)a->ai_addr;

		return inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text))
			       ? buf_printf(ret_text, "%s%s", comma, text)
			       : -errno;
	}
	if (a->ai_family == AF_INET6) {
		const struct sockaddr_in6 *v6 =
			(const struct sockaddr_in6 *)(const void *)a->ai_addr;

		return inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text))
			       ? buf_printf(ret_text, "%s[%s]", comma, text)
			       : -errno;
	}
	return 0;
}

static int look_up(const char *host, struct buf *ret_text)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	CLEANUP(addrinfo_freep) struct addrinfo *list = NULL;
	unsigned n = 0;
	int r = 0;

	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return -EHOSTUNREACH;
	for (const struct addrinfo *a = list; a && n < ADDRESSES_MAX && r == 0; a = a->ai_next, n++)
		r = address_put(a, ret_text);
	return r == 0 && ret_text->len_bytes == 0 ? -EHOSTUNREACH : r;
}

static int answer(int socket, int r, const char *addresses, int fd)
{
	const struct packet_head head = {.type = PACKET_ANSWER, .r = r};
	const char *const text[PACKET_TEXTS] = {[ANSWER_ADDRESSES] = addresses};

	return packet_send(socket, &head, text, fd, false);
}

static int answer_name(int socket, const char *host)
{
	AUTO_BUF struct buf addresses = {0};
	int r;

	if (!host || !host[0] || strlen(host) > HOST_MAX_BYTES)
		return -EBADMSG;
	r = look_up(host, &addresses);
	return answer(socket, r, r == 0 ? buf_str(&addresses) : NULL, -1);
}

/* Streams of the Internet only: no other socket of this machine is the fetcher's business. */
static int answer_socket(int socket_fd, uint32_t family)
{
	AUTO_CLOSE int fd = -1;

	if (family != AF_INET && family != AF_INET6)
		return -EBADMSG;
	fd = socket((int)family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	return answer(socket_fd, fd < 0 ? -errno : 0, NULL, fd);
}

int needs_answer(int socket, struct packet *packet)
{
	AUTO_CLOSE int fd = -1; /* none is expected */
	int r = packet_receive(socket, false, packet, &fd);

	if (r < 0)
		return r;
	switch (packet->head.type) {
	case PACKET_NAME:
		return answer_name(socket, packet->text[NAME_HOST]);
	case PACKET_SOCKET:
		return answer_socket(socket, packet->head.flags);
	default:
		return -EBADMSG;
	}
}
