/*
 * in_child: what a process can do only once, done in a child of the test's.
 */
#pragma once

#include <sys/wait.h>
#include <unistd.h>

/* Returns 0, or the number of the line whose check failed. */
typedef int in_child_fn(void *ctx);

#define CHECK(condition)                 \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

/* What @fn returned in the child; -1: it did not come to its end. */
static inline int in_child(in_child_fn *fn, void *ctx)
{
	int to[2], line = -1, got = -1, status = 0;
	pid_t pid;

	if (pipe(to) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		line = fn(ctx);
		_exit(write(to[1], &line, sizeof(line)) != sizeof(line));
	}
	close(to[1]);
	if (read(to[0], &line, sizeof(line)) == sizeof(line))
		got = line;
	close(to[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return -1;
	return got;
}
