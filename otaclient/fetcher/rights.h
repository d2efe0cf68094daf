/*
 * rights: what the fetcher's process gives up before it talks to anybody.
 */
#pragma once

#include "common/base/err.h"

/*
 * Another user, no capabilities, no file, no socket, no other program: only what is open now and what the daemon hands
 * over. Before any thread; cannot be undone. 0 or -errno with the sentence; then the process is to end.
 */
int rights_give_up(struct ota_err *err);
