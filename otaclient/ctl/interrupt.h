/*
 * interrupt: end at once when a signal says so, in the midst of a call too, but never in the midst of a page.
 *
 * A thread of its own takes SIGINT, SIGTERM and SIGHUP (unless they were ignored from the start), waits until
 * nobody holds it, says a sentence and ends the program.
 */
#pragma once

#include <stdint.h>

/* Before any other thread starts. @sentence stays the caller's; NULL = none. 0 or -errno. */
int interrupt_start(const char *sentence, int exit_code);

/* From now on this sentence. */
void interrupt_say(const char *sentence);

/* No end in between. Harmless when nothing was started. */
void interrupt_hold(void);
void interrupt_release(void);

/* Wait, but not longer than somebody reads @fd: then -EPIPE. */
int interrupt_pause_ms(int fd, int ms);
