/*
 * listeners: who listens on a TCP port, from the text of /proc/net/tcp and /proc/net/tcp6. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LISTENERS_TEXT_MAX_BYTES =
		16 << 20, /* a line is 150 bytes; a busy machine has some thousand */
};

/* An address to listen on. */
struct listen_address {
	bool v6;
	unsigned char bytes[16]; /* as on the wire; IPv4: the first four */
};

/* False: @text is no address. What stands behind a '%' is left out. */
bool listen_address_parse(const char *text, struct listen_address *ret);

/*
 * The first socket that listens on @port and keeps others from listening on @want: at the same address, or one of both
 * is that of all addresses. The socket's inode, or 0: there is none. @v6: the text is that of tcp6. Lines of another
 * form are passed over.
 */
uint64_t listeners_find(const char *text, size_t len_bytes, bool v6,
	const struct listen_address *want, uint16_t port);
