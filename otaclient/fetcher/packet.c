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
	char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
};

static void control_put(struct msghdr *msg, union control *control, const int *fds, size_t n_fds)
{
	memset(control, 0, sizeof(*control));
	msg->msg_control = control;
	msg->msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	control->head.cmsg_level = SOL_SOCKET;
	control->head.cmsg_type = SCM_RIGHTS;
	control->head.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(&control->head), fds, n_fds * sizeof(int));
}

int packet_send_fds(int socket, const struct packet_head *head,
	const char *const text[PACKET_TEXTS], const int *fds, size_t n_fds, bool wait)
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
	if (n_fds > 0)
		control_put(&msg, &control, fds, n_fds);
	do
		n = sendmsg(socket, &msg, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno; /* it has died before it read */
	return 0;
}

int packet_send(int socket, const struct packet_head *head, const char *const text[PACKET_TEXTS],
	int fd, bool wait)
{
	return packet_send_fds(socket, head, text, &fd, fd >= 0 ? 1 : 0, wait);
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

static void close_all(int fds[PACKET_FDS_MAX])
{
	for (size_t i = 0; i < PACKET_FDS_MAX; i++) {
		closep(&fds[i]);
		fds[i] = -1;
	}
}

/* What came with the packet. There is no room for more, so more are not received. */
static void control_get(struct msghdr *msg, int ret_fds[PACKET_FDS_MAX])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	for (size_t i = 0; i < PACKET_FDS_MAX; i++)
		ret_fds[i] = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fds, CMSG_DATA(c),
			MIN_OF(c->cmsg_len - CMSG_LEN(0), PACKET_FDS_MAX * sizeof(int)));
}

int packet_receive_fds(
	int socket, bool wait, struct packet *ret_packet, int ret_fds[PACKET_FDS_MAX])
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
	ssize_t n;
	int r;

	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	control_get(&msg, ret_fds);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || (size_t)n < sizeof(ret_packet->head))
		r = -EBADMSG;
	else
		r = texts_find(ret_packet, (size_t)n - sizeof(ret_packet->head));
	if (r < 0)
		close_all(ret_fds);
	return r;
}

int packet_receive(int socket, bool wait, struct packet *ret_packet, int *ret_fd)
{
	int fds[PACKET_FDS_MAX] = {-1, -1};
	int r = packet_receive_fds(socket, wait, ret_packet, fds);

	if (r < 0)
		return r;
	if (fds[1] >= 0)
		close_all(fds);
	*ret_fd = fds[0];
	return 0;
}
