/*
 * progress: files, bytes and rate on a terminal. Contract: progress.h.
 */
#include "metadata-gen/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/clock.h"

enum {
	SHOW_EVERY_MS = 250,
};

void progress_start(
	struct progress *p, const char *what, uint64_t total_files, uint64_t total_bytes)
{
	*p = (struct progress){
		.what = what,
		.total_files = total_files,
		.total_bytes = total_bytes,
		.started_ms = clock_monotonic_ms(),
		.tty = isatty(STDERR_FILENO) == 1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
}

static void show(struct progress *p, uint64_t now_ms)
{
	uint64_t files = atomic_load(&p->files), bytes = atomic_load(&p->bytes);
	double mb = (double)bytes / 1e6;
	double rate = mb * 1000 / (double)(now_ms - p->started_ms + 1);

	if (p->total_bytes > 0)
		fprintf(stderr,
			"\r\033[K%s: %" PRIu64 " of %" PRIu64 " files, %.0f of %.0f MB, %.0f MB/s",
			p->what, files, p->total_files, mb, (double)p->total_bytes / 1e6, rate);
	else
		fprintf(stderr, "\r\033[K%s: %" PRIu64 " files, %.0f MB, %.0f MB/s", p->what, files,
			mb, rate);
	fflush(stderr);
}

void progress_add(struct progress *p, uint64_t files, uint64_t bytes)
{
	uint64_t now_ms;

	if (!p)
		return;
	atomic_fetch_add(&p->files, files);
	atomic_fetch_add(&p->bytes, bytes);
	/* Whoever finds the terminal taken leaves it: the next one will show this too. */
	if (!p->tty || pthread_mutex_trylock(&p->lock) != 0)
		return;
	now_ms = clock_monotonic_ms();
	if (now_ms - p->shown_ms >= SHOW_EVERY_MS) {
		p->shown_ms = now_ms;
		show(p, now_ms);
	}
	pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p)
{
	if (p->tty)
		fputs("\r\033[K", stderr);
	pthread_mutex_destroy(&p->lock);
}
