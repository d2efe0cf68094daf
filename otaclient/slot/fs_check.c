/*
 * fs_check: e2fsck beside other work. Contract: fs_check.h.
 *
 * Threads: what e2fsck said belongs to the thread until it has ended.
 */
#include "otaclient/slot/fs_check.h"

#include <errno.h>

#include "common/base/run.h"

enum {
	TIMEOUT_MS = 15 * 60 * 1000, /* a full check of a large slot on slow flash */
};

static void *check(void *ctx)
{
	struct fs_check *c = ctx;
	const char *const argv[] = {"e2fsck", "-fn", c->device, NULL};

	c->r = run_tool(
		&(struct run_args){
			.argv = argv,
			.timeout_ms = TIMEOUT_MS,
			.ret_status = &c->status,
			.stop = c->stop,
			.stop_ctx = c->stop_ctx,
		},
		&c->err);
	return NULL;
}

void fs_check_start(struct fs_check *c, const char *device, bool (*stop)(void *ctx), void *stop_ctx)
{
	*c = (struct fs_check){.device = device, .stop = stop, .stop_ctx = stop_ctx, .status = -1};
	c->runs = pthread_create(&c->thread, NULL, check, c) == 0;
	if (!c->runs)
		check(c);
}

int fs_check_end(struct fs_check *c, int *ret_status, struct ota_err *err)
{
	if (c->runs)
		pthread_join(c->thread, NULL);
	c->runs = false;
	if (c->r < 0) {
		*err = c->err;
		return c->r;
	}
	if (c->status <= 0)
		return 0;
	*ret_status = c->status;
	return -EUCLEAN;
}
