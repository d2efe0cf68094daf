/*
 * via: the proxies that a request has passed, as its Via fields tell. Pure; the text is bytes from outside.
 */
#pragma once

#include <stddef.h>

enum {
	VIA_HOPS_MAX = 16, /* a vehicle's ECUs are three deep; what passed more goes in a circle */
	VIA_TEXT_MAX = 1024, /* with the NUL; 16 names of hosts as they are in practice */
};

struct via {
	char text
		[VIA_TEXT_MAX]; /* "1.1 name, 1.0 host:8080": no comments, nothing malformed; "" = none */
	size_t len_bytes;
	unsigned n_hops;
};

/* Append the entries of the field @value; what is none is left out. 0, or -E2BIG: more than there is room for. */
int via_add(struct via *v, const char *value);
