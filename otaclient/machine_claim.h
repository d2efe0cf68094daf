/*
 * machine_claim: one update daemon per machine, ours or the Python client, before anything is touched.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

/*
 * Take the lock and write our process id to where the Python client looks for one. 0, or E314 with a sentence, and
 * nothing is changed:
 *   -EWOULDBLOCK  another one of ours has the lock
 *   -EBUSY        the Python client runs
 * @ret_lock_fd: owned by the caller, machine_release().
 */
int machine_claim(int *ret_lock_fd, struct ota_err *err);

/* Nothing for a negative @lock_fd. */
void machine_release(int lock_fd);

/* Is it the Python client that was started by this command line, as /proc has it? Pure. */
bool machine_claim_is_python_client(const char *cmdline, size_t len_bytes);
