/*
 * run: external tools, by argument vector and with a time limit. There is no shell anywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct run_args {
	/* argv[0] is looked up in @env's PATH when it has no '/'; NULL-terminated */
	const char *const *argv;
	const char *root;       /* run inside this root directory (chroot); NULL = ours */
	const char *dir;        /* working directory, inside @root; NULL = ours */
	const char *const *env; /* whole environment, NULL-terminated; NULL = PATH, LC_ALL=C only */
	uint32_t timeout_ms;    /* the tool is killed after this; 0 = RUN_TIMEOUT_DEFAULT_MS */
	uint32_t grace_ms;      /* then it is asked first, and killed this much later; 0 = at once */
	bool end_group;         /* what it leaves running in its process group is killed */
	struct buf *out;        /* stdout is appended, as far as it fits; NULL = discarded */
	int *ret_status;        /* the exit status 0…255; NULL = anything but 0 is a failure */
	int *ret_signal;        /* with -EINTR: which one; NULL = not wanted */

	/* Gets stdout and stderr as one stream, as it comes, in place of @out; NULL = not wanted. */
	void (*output)(void *ctx, const char *data, size_t len_bytes);
	void *output_ctx;

	/* Asked several times a second: is the tool to be ended before its time? NULL = never. */
	bool (*stop)(void *ctx);
	void *stop_ctx;
};

enum {
	RUN_TIMEOUT_DEFAULT_MS = 60 * 1000,
	RUN_STOP_GRACE_MS = 2000,       /* between the request to end and the kill */
	RUN_OUTPUT_MAX_BYTES = 4 << 20, /* grub-mkconfig of a large machine prints some 50 kB */
	/* Read once the tool has ended: the most that a pipe may still hold. */
	RUN_AFTER_END_MAX_BYTES = 1 << 20,
};

/*
 * Run a tool to its end, stdin from /dev/null. What it leaves running in the background is not
 * waited for. A file that is neither a program nor a script with an interpreter is not run, if it is
 * named with a path. Returns 0, or with a sentence that names the tool and the end of what it said
 * on stderr:
 *   -ENOENT     there is no such tool
 *   -EIO        it ended with another status than 0 (only without ret_status)
 *   -EINTR      it was ended by a signal
 *   -ETIMEDOUT  it was killed after timeout_ms, with what it had started
 *   -ECANCELED  stop() said so: it was asked to end (SIGTERM), and killed if it did not
 *   -EFBIG      args->out would be longer than RUN_OUTPUT_MAX_BYTES
 */
int run_tool(const struct run_args *args, struct ota_err *err);
