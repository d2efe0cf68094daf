/*
 * listeners: read the kernel's lists of TCP sockets. Contract: listeners.h.
 *
 * A line is "sl local:port remote:port state queues timer retransmits uid timeout inode …". An address is one or four
 * words in hexadecimal, each in the byte order of this machine, although its bytes are the wire's.
 */
#include "otaclient/doctor/listeners.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/base/decimal.h"

enum {
	STATE_LISTEN = 0x0a,
	FIELD_LOCAL = 1,
	FIELD_STATE = 3,
	FIELD_INODE = 9,
	N_FIELDS = 10,
};

struct field {
	const char *at;
	size_t len;
};

/* "::ffff:192.168.0.2" is what a socket of IPv6 is told for an address of IPv4; gRPC's are such. */
static void unmap(struct listen_address *a)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (!a->v6 || memcmp(a->bytes, mapped, sizeof(mapped)) != 0)
		return;
	a->v6 = false;
	memmove(a->bytes, a->bytes + sizeof(mapped), 4);
}

bool listen_address_parse(const char *text, struct listen_address *ret)
{
	struct listen_address a = {.v6 = strchr(text, ':') != NULL};
	char bare[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");

	if (len >= sizeof(bare))
		return false;
	memcpy(bare, text, len);
	bare[len] = '\0';
	if (inet_pton(a.v6 ? AF_INET6 : AF_INET, bare, a.bytes) != 1)
		return false;
	unmap(&a);
	*ret = a;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* All of @len digits, of which there are at most eight. */
static bool read_hex(const char *at, size_t len, uint32_t *ret)
{
	uint32_t v = 0;

	if (len == 0 || len > 8)
		return false;
	for (size_t i = 0; i < len; i++) {
		int d = hex_digit(at[i]);

		if (d < 0)
			return false;
		v = v << 4 | (uint32_t)d;
	}
	*ret = v;
	return true;
}

/* "0100007F:1F90"; which of both kinds it is, @ret_address says. */
static bool read_local(
	const struct field *f, struct listen_address *ret_address, uint32_t *ret_port)
{
	size_t n_words = ret_address->v6 ? 4 : 1, colon = n_words * 8;

	if (f->len != colon + 5 || f->at[colon] != ':')
		return false;
	for (size_t i = 0; i < n_words; i++) {
		uint32_t word;

		if (!read_hex(f->at + 8 * i, 8, &word))
			return false;
		memcpy(ret_address->bytes + 4 * i, &word, 4);
	}
	unmap(ret_address);
	return read_hex(f->at + colon + 1, 4, ret_port);
}

static size_t split(const char *line, const char *end, struct field ret[N_FIELDS])
{
	size_t n = 0;

	while (line < end && n < N_FIELDS) {
		const char *at;

		while (line < end && *line == ' ')
			line++;
		at = line;
		while (line < end && *line != ' ')
			line++;
		if (line > at)
			ret[n++] = (struct field){at, (size_t)(line - at)};
	}
	return n;
}

static bool is_any(const struct listen_address *a)
{
	static const unsigned char zero[16];

	return memcmp(a->bytes, zero, a->v6 ? 16 : 4) == 0;
}

/* A socket for all addresses of IPv6 usually takes those of IPv4 as well. */
static bool collides(const struct listen_address *a, const struct listen_address *b)
{
	if (is_any(a) || is_any(b))
		return a->v6 == b->v6 || (a->v6 ? is_any(a) : is_any(b));
	return a->v6 == b->v6 && memcmp(a->bytes, b->bytes, a->v6 ? 16 : 4) == 0;
}

uint64_t listeners_find(const char *text, size_t len_bytes, bool v6,
	const struct listen_address *want, uint16_t port)
{
	const char *end = text + len_bytes;

	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text)), *stop = nl ? nl : end;
		struct listen_address its = {.v6 = v6};
		struct field f[N_FIELDS];
		uint32_t state, its_port;
		uint64_t inode;

		if (split(text, stop, f) == N_FIELDS &&
			read_local(&f[FIELD_LOCAL], &its, &its_port) && its_port == port &&
			read_hex(f[FIELD_STATE].at, f[FIELD_STATE].len, &state) &&
			state == STATE_LISTEN && collides(want, &its) &&
			decimal_parse(
				f[FIELD_INODE].at, f[FIELD_INODE].len, 1, UINT64_MAX, &inode) == 0)
			return inode;
		text = nl ? nl + 1 : end;
	}
	return 0;
}
