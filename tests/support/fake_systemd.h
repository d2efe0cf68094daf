/*
 * fake_systemd: the few calls of systemd's manager that unit_state makes, on a socket of its own, by a thread.
 *
 * What it answers is a table of the test's; the protocol is libsystemd's.
 */
#pragma once

#include <stddef.h>

struct fake_unit {
	const char *name;
	const char *load, *active, *sub;
	const char *job; /* NULL = none */
	unsigned n_restarts;      /* of a service */
	unsigned long long up_us; /* since when it is active, monotonic */
};

/* What is asked for and not in the table does not exist; a name without a dot is none. */
struct fake_systemd {
	const struct fake_unit *units; /* may be exchanged between two calls */
	size_t n_units;
	const char *running_job; /* unit; NULL = none */
	const char *fails;       /* the sentence of an error for every call; NULL = it answers */
	int never_answers;       /* it takes calls and says nothing */
};

/* Listens from here on; @f is read by a thread. Returns the D-Bus address. */
const char *fake_systemd_start(struct fake_systemd *f);
void fake_systemd_stop(void);
