/*
 * processes: who runs on the machine, as far as /proc tells.
 */
#pragma once

#include <stdint.h>

#include "otaclient/doctor/machine.h"

enum {
	PROCESS_NAME_MAX = 64,
};

struct process {
	unsigned pid;                /* 0 = none */
	char name[PROCESS_NAME_MAX]; /* of its program's file; else what it calls itself */
};

/* The process @pid; its pid is 0 if there is none. */
void process_find(const struct machine *m, unsigned pid, struct process *ret);

/* The first that has the socket @inode open. Only root sees those of others. */
void process_find_by_socket(const struct machine *m, uint64_t inode, struct process *ret);

/* Call @fn for each process there is, until it returns true. */
void process_each(
	const struct machine *m, bool (*fn)(void *ctx, const struct process *p), void *ctx);

/* Has one of the words that it was started with @part in it? */
bool process_was_called_with(const struct machine *m, unsigned pid, const char *part);
