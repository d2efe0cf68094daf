/*
 * proxy_process: the proxy as a process of its own, in a group of its own, that ends with the thread that started it.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * Run args[0], an absolute path; @args ends with NULL. The environment and the output are ours. It is killed when the
 * calling thread ends. 0, or what fork or exec failed with.
 */
int proxy_process_start(const char *const *args, pid_t *ret_pid);

/* How it ended, of waitpid()'s @status, in words that follow its name. */
void proxy_process_status_text(int status, char *ret_text, size_t size);
