/*
 * authority: a server's name and port as a request spells them, checked and brought into one
 * spelling, so that two that mean the same server compare equal. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	AUTHORITY_HOST_MAX = 254,                        /* DNS: 253 characters; NUL */
	AUTHORITY_LABEL_MAX_BYTES = 63,                  /* DNS */
	AUTHORITY_TEXT_MAX = AUTHORITY_HOST_MAX + 2 + 6, /* with "[]" and ":65535" */
	AUTHORITY_ORIGIN_MAX = AUTHORITY_TEXT_MAX + 8,   /* with "https://" */
};

struct authority {
	/* Lower case. An IPv6 address stands without its brackets in the system's own spelling, one
	 * that only wraps an IPv4 address as that. */
	char host[AUTHORITY_HOST_MAX];
	bool is_ipv6;
	uint16_t port; /* 0 = none was given */
};

/*
 * Read "host", "host:port" or "[address]:port". -EINVAL for all else: user names, empty labels and
 * a dot at the end, ports that are none, and numbers that only some resolvers take for an IPv4
 * address ("127.1", "0x7f000001"), since nobody could tell whom they name.
 */
int authority_parse(const char *text, size_t len_bytes, struct authority *ret_authority);

/* The port that is meant. */
uint16_t authority_port(const struct authority *a, bool https);

/* Forget a port that the scheme has anyway. */
void authority_normalise(struct authority *a, bool https);

/* The same server under one scheme? */
bool authority_equal(const struct authority *a, const struct authority *b, bool https);

/* "scheme://host[:port]", the port only where it is not the scheme's own. */
const char *authority_origin(
	const struct authority *a, bool https, char ret_text[AUTHORITY_ORIGIN_MAX]);
