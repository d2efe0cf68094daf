/*
 * fs_check: a whole ext4, checked by e2fsck in a thread of its own, beside whoever reads it meanwhile.
 *
 * Changes nothing: to take a name away that leads nowhere would be mending, too. Nobody may write to the file system.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "common/base/err.h"

/* The caller's memory; all zero = none runs. It must stay where it is until the end. */
struct fs_check {
	const char *device; /* borrowed */
	bool (*stop)(void *ctx);
	void *stop_ctx;
	pthread_t thread;
	bool runs;
	int r, status;
	struct ota_err err;
};

/* @stop is asked from that thread; NULL = never. Without a thread to be had it is done before this returns. */
void fs_check_start(
	struct fs_check *c, const char *device, bool (*stop)(void *ctx), void *stop_ctx);

/*
 * Waits for it. 0; -EUCLEAN, *@ret_status being the exit status of e2fsck(8): the file system is not whole; or what
 * run_tool() says of one that could not be run to its end. None was started: 0.
 */
int fs_check_end(struct fs_check *c, int *ret_status, struct ota_err *err);
