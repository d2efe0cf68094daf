/*
 * progress: one line on a terminal that shows how far long work has come; silent elsewhere. Any thread may add.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;                  /* "Reading" */
	uint64_t total_files, total_bytes; /* 0 = not known */
	atomic_uint_fast64_t files, bytes;
	uint64_t started_ms, shown_ms;
	bool tty;
	pthread_mutex_t lock; /* of shown_ms and the terminal */
};

void progress_start(
	struct progress *p, const char *what, uint64_t total_files, uint64_t total_bytes);
void progress_add(struct progress *p, uint64_t files, uint64_t bytes); /* NULL is fine */
void progress_end(struct progress *p); /* takes the line off the terminal */
