/*
 * packet: one sendmsg() and one recvmsg() each. Contract: packet.h.
 */
#include "otaclient/fetcher/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base/cleanup.h"

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void control_put(struct msghdr *msg, union control *control, int fd)
{
	memset(control, 0, sizeof(*control));
	msg->msg_control = control;
	msg->msg_controllen = sizeof(*control);
	control->head.cmsg_level = SOL_SOCKET;
	control->head.cmsg_type = SCM_RIGHTS;
	control->head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control->head), &fd, sizeof(fd));
}

int packet_send(int socket, const struct packet_head *head, const char *const text[PACKET_TEXTS],
	int fd, bool wait)
{
	struct packet_head sent = *head;
	struct iovec parts[1 + PACKET_TEXTS] = {
		{&sent, sizeof(sent)}
        };
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 1};
	union control control;
	size_t total = sizeof(sent);
	ssize_t n;

	for (size_t i = 0; i < PACKET_TEXTS; i++) {
		size_t len = text && text[i] ? strlen(text[i]) + 1 : 0;

		sent.text_bytes[i] = (uint32_t)len;
		total += len;
		if (len > 0)
			parts[msg.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)text[i], len};
	}
	if (total > sizeof(sent) + PACKET_MAX_BYTES)
		return -EMSGSIZE;
	if (fd >= 0)
		control_put(&msg, &control, fd);
	do
		n = sendmsg(socket, &msg, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno; /* it has died before it read */
	return 0;
}

/* All texts lie in the bytes that came, and each ends there. */
static int texts_find(struct packet *p, size_t n_bytes)
{
	const char *at = p->bytes;

	for (size_t i = 0; i < PACKET_TEXTS; i++) {
		size_t len = p->head.text_bytes[i];

		p->text[i] = NULL;
		if (len > n_bytes)
			return -EBADMSG;
		if (len == 0)
			continue;
		if (strnlen(at, len) != len - 1)
			return -EBADMSG;
		p->text[i] = at;
		at += len;
		n_bytes -= len;
	}
	return n_bytes == 0 ? 0 : -EBADMSG;
}

/* The one descriptor that may come; of more none is kept. */
static int control_get(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fds[sizeof(union control) / sizeof(int)];
	size_t n;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return -1;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	if (n == 1)
		return fds[0];
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return -1;
}

int packet_receive(int socket, bool wait, struct packet *ret_packet, int *ret_fd)
{
	struct iovec parts[] = {
		{&ret_packet->head, sizeof(ret_packet->head) },
		{ret_packet->bytes, sizeof(ret_packet->bytes)},
	};
	union control control;
	struct msghdr msg = {.msg_iov = parts,
		.msg_iovlen = ARRAY_SIZE(parts),
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	AUTO_CLOSE int fd = -1;
	ssize_t n;
	int r;

	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	fd = control_get(&msg);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || (size_t)n < sizeof(ret_packet->head))
		return -EBADMSG;
	r = texts_find(ret_packet, (size_t)n - sizeof(ret_packet->head));
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
