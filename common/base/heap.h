/*
 * heap: settings of malloc for a program that shares a small machine with others.
 */
#pragma once

/* Before there are threads. */
void heap_keep_small(void);
