/*
 * failing_alloc: memory that runs out at the Nth allocation. Linked into a test, it stands before the C library's
 * malloc() and its like, for the libraries as well as for us.
 *
 * The count is the whole process's; who allocates in several threads cannot say which one fails.
 */
#pragma once

#include <stdbool.h>

/*
 * From now on let the @nth allocation fail, 1 being the next: only it, or with @onwards all that follow as well.
 */
void failing_alloc_start(unsigned long nth, bool onwards);

/* No more failures. Was the Nth reached? */
bool failing_alloc_stop(void);

/* Each allocation fails for which @fails says so; nothing is counted then. It may allocate if it knows itself. */
void failing_alloc_ask(bool (*fails)(void));
